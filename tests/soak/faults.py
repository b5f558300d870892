"""What the soak does to a run, one entry for each fault."""

import os
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable


@dataclass
class Fault:
    name: str
    # Limits of the process, set before it starts.
    limits: Callable | None = None
    # Done before the process starts, to a run that can be resumed; false if it cannot be done.
    before: Callable | None = None
    # Done while the process runs.
    do: Callable | None = None
    # Done after the process has ended.
    undo: Callable | None = None
    needs_root: bool = False
    # The process is killed, so that it can leave unfinished files.
    kills: bool = False
    # The process cannot remove its unfinished files either.
    denies_removal: bool = False
    fits: Callable = lambda task: True


def is_archive(task) -> bool:
    return task.form != "folder"


# Signals.

def send(number):
    return lambda soak, process, task, out: process.send_signal(number)


def twice(soak, process, task, out):
    process.send_signal(signal.SIGTERM)
    soak.sleep(process, 2.2)
    process.send_signal(signal.SIGTERM)


def pause(soak, process, task, out):
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)


# Data and backbone. `aside` keeps what is put back afterwards.

def aside(path: Path) -> Path:
    return path.with_name("aside-" + path.name)


def take_away(which):
    def do(soak, process, task, out):
        path = getattr(task, which)
        path.rename(aside(path))
    return do


def put_back(which):
    def undo(soak, task, out):
        path = getattr(task, which)
        if aside(path).exists():
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            aside(path).rename(path)
    return undo


def spoil(which, how):
    """Changes a file in place, so that a process that has it open sees it."""
    def do(soak, process, task, out):
        path = getattr(task, which)
        shutil.copy2(path, aside(path))
        size = path.stat().st_size
        if how == "truncate":
            os.truncate(path, soak.random.randrange(size))
        else:
            with open(path, "r+b") as file:
                file.seek(soak.random.randrange(size // 2))
                file.write(soak.random.randbytes(size // 4))
    return do


def remove_pictures(soak, process, task, out):
    pictures = sorted(task.data.rglob("*.ppm"))
    for path in soak.random.sample(pictures, soak.random.randint(1, 10)):
        path.rename(path.with_suffix(".aside"))


def return_pictures(soak, task, out):
    for path in task.data.rglob("*.aside"):
        path.rename(path.with_suffix(".ppm"))


def forbid(which):
    def do(soak, process, task, out):
        path = out if which == "out" else getattr(task, which)
        if path.exists():
            path.chmod(0)
    return do


def permit(which):
    def undo(soak, task, out):
        path = out if which == "out" else getattr(task, which)
        if path.exists():
            path.chmod(0o755)
    return undo


# The run's folder.

def remove_run(soak, process, task, out):
    shutil.rmtree(out, ignore_errors=True)


def finish_removal(soak, task, out):
    """What the run wrote while its folder was removed."""
    if not (out / "config.toml").exists():
        shutil.rmtree(out, ignore_errors=True)


def damage(soak, task, out):
    """Damages one file of a stopped run. What the run says of it, it must say at its start."""
    files = sorted(path for path in out.iterdir() if path.is_file() and path.stat().st_size)
    kept = aside(out)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(out, kept)
    path = soak.random.choice(files)
    how = soak.random.choice(["truncate", "remove", "noise", "swap", "folder"])
    if how == "truncate":
        os.truncate(path, soak.random.randrange(path.stat().st_size))
    elif how == "remove":
        path.unlink()
    elif how == "noise":
        path.write_bytes(soak.random.randbytes(path.stat().st_size))
    elif how == "swap":
        # What a run could not tell from its own: a log of the same steps with other numbers, a configuration where no
        # state is saved yet, and the trained file of a run of this method that chose the same epoch by the same score.
        alike = {"metrics.jsonl"} | (set() if (out / "last.safetensors").exists() else {"config.toml"})
        others = [other for other in soak.tasks if other is not task and other.method != task.method]
        others = [other.reference / path.name for other in others]
        others = [other for other in others if other.is_file() and other.name not in alike]
        if not others:
            return False
        shutil.copy(soak.random.choice(others), path)
    else:
        path.unlink()
        path.mkdir()
    soak.own(out)
    return True


def restore(soak, task, out):
    kept = aside(out)
    shutil.rmtree(out, ignore_errors=True)
    kept.rename(out)
    soak.own(out)


# Limits of the system.

def limit(which, *choices):
    def set_limit():
        value = int.from_bytes(os.urandom(4), "little")
        value = choices[value % len(choices)]
        resource.setrlimit(which, (value, value))
    return set_limit


def mount(soak, task, out):
    """Puts the run onto a file system of its own, which can be filled."""
    kept = aside(out)
    shutil.rmtree(kept, ignore_errors=True)
    out.rename(kept)
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755,uid=65534", "tmpfs", out], check=True)
    shutil.copytree(kept, out, dirs_exist_ok=True)
    soak.own(out)
    return True


def fill(soak, process, task, out):
    free = os.statvfs(out)
    free = free.f_bavail * free.f_frsize
    try:
        with open(out / ".filler", "wb") as file:
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, max(free - soak.random.randrange(200_000), 1))
    except OSError:
        pass


def unmount(soak, task, out):
    (out / ".filler").unlink(missing_ok=True)
    kept = aside(out)
    shutil.rmtree(kept)
    shutil.copytree(out, kept)
    subprocess.run(["umount", "-l", out], check=True)
    out.rmdir()
    kept.rename(out)
    soak.own(out)


def kinds():
    yield Fault("SIGKILL", do=send(signal.SIGKILL), kills=True)
    yield Fault("SIGTERM", do=send(signal.SIGTERM))
    yield Fault("SIGTERM twice", do=twice)
    yield Fault("SIGINT", do=send(signal.SIGINT))
    yield Fault("SIGUSR1", do=send(signal.SIGUSR1))
    yield Fault("SIGSTOP and SIGCONT", do=pause)
    yield Fault("full disk", before=mount, do=fill, undo=unmount, needs_root=True)
    yield Fault("limit of file size", limits=limit(resource.RLIMIT_FSIZE, 0, 1000, 20_000, 60_000, 200_000))
    yield Fault("limit of threads", limits=limit(resource.RLIMIT_NPROC, 1, 2, 3, 4, 6))
    yield Fault("limit of memory", limits=limit(resource.RLIMIT_AS, 45 << 20, 50 << 20, 60 << 20, 80 << 20, 120 << 20))
    yield Fault("limit of open files", limits=limit(resource.RLIMIT_NOFILE, 6, 8, 10, 12, 16))
    yield Fault("data taken away", do=take_away("data"), undo=put_back("data"))
    yield Fault("data truncated", do=spoil("data", "truncate"), undo=put_back("data"), fits=is_archive)
    yield Fault("data overwritten", do=spoil("data", "overwrite"), undo=put_back("data"), fits=is_archive)
    yield Fault("pictures removed", do=remove_pictures, undo=return_pictures,
                fits=lambda task: not is_archive(task))
    yield Fault("data forbidden", do=forbid("data"), undo=permit("data"))
    yield Fault("backbone taken away", do=take_away("backbone"), undo=put_back("backbone"))
    yield Fault("backbone truncated", do=spoil("backbone", "truncate"), undo=put_back("backbone"))
    yield Fault("backbone overwritten", do=spoil("backbone", "overwrite"), undo=put_back("backbone"))
    yield Fault("run folder forbidden", do=forbid("out"), undo=permit("out"), denies_removal=True)
    yield Fault("run folder removed", do=remove_run, undo=finish_removal)
    yield Fault("run folder damaged", before=damage, undo=restore)


FAULTS = {fault.name: fault for fault in kinds()}
