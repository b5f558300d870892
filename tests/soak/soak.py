#!/usr/bin/env python3
"""Trains while everything around the run breaks, and checks that nothing is lost and every end is explained.

    cargo build --release && tests/soak/soak.py --minutes 60

For the given time runs of several methods, on a folder and on archives, are started. While they train, faults are
done to them at random moments (faults.py lists them); then the fault is undone and the run resumed, until it has come
to its end. Checked after every end of a process:

- it ends within a minute, by itself or by the signal that was sent, with exit code 0, 1, 3 or 75;
- unless it is 0, the last line of standard error is `error: ...`, in one line and with what to do; nothing panicked;
- no unfinished file is left, unless the process was killed.

And after the last: the trained files are the bytes of the unbroken run, and the metrics its numbers. A run that told
of broken images, because the fault took some away, has trained on others and is not compared.

Full disks and foreign users need root: without it these faults are left out, which the table says. Standard library
only. Exits with 1 if anything did not hold, and keeps the folder of what failed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from faults import FAULTS, Fault  # noqa: E402
from tasks import KINDS, Task, make_tasks  # noqa: E402

PATIENCE = 60.0
# What depends on the clock.
TIMES = ("images_per_s", "wait_share", "seconds")
# How a run tells that it has met, or trained without, images that could not be read.
TELLS = ("cannot be read: ", "images met so far are broken")
# How it tells that its metrics were damaged.
LACKS = "the curves lack what is between"
PANICS = ("panicked at", "RUST_BACKTRACE", "core dumped", "stack overflow", "memory allocation of")


class Broken(Exception):
    """Something that must hold did not."""


class Soak:
    def __init__(self, place: Path, programs: Path, seed: int):
        self.place, self.random = place, random.Random(seed)
        self.root = os.geteuid() == 0
        # A run as root is denied nothing, so runs are those of a user without rights.
        self.user = 65534 if self.root else None
        self.train = place / "bin" / "svp-train"
        self.train.parent.mkdir()
        shutil.copy(programs / "svp-train", self.train)
        shutil.copy(programs / "svp-convert", self.train.parent)
        self.ends, self.finished, self.told, self.stderr = Counter(), Counter(), 0, ""
        self.log = open(place / "ends.jsonl", "w")

    def own(self, path: Path):
        if self.root:
            for each in [path, *path.rglob("*")]:
                os.lchown(each, self.user, self.user)

    def start(self, args, limits=None, log=None) -> subprocess.Popen:
        as_user = dict(user=self.user, group=self.user, extra_groups=[]) if self.root else {}
        return subprocess.Popen(
            [self.train, *args], stdout=subprocess.DEVNULL, stderr=log, stdin=subprocess.DEVNULL,
            cwd=self.place, preexec_fn=limits, env=dict(os.environ, HOME=str(self.place)), **as_user)

    def run(self, args, fault: Fault | None, task: Task, out: Path) -> tuple[int, str]:
        """One process, to which `fault` is done after a random time. Returns its exit code and standard error."""
        process = self.start(args, fault.limits if fault else None, subprocess.PIPE)
        if fault and fault.do:
            self.sleep(process, self.random.expovariate(1 / task.seconds * 2.5))
            if process.poll() is None:
                fault.do(self, process, task, out)
        try:
            # A file would be held to the limit of files, too; a run writes far less than a pipe takes.
            _, stderr = process.communicate(timeout=PATIENCE + 3 * task.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Broken("did not end") from None
        self.stderr = stderr.decode(errors="replace")
        return process.returncode, self.stderr

    def sleep(self, process, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.005)

    def unfinished(self, out: Path) -> set[str]:
        readable = out.is_dir() and os.access(out, os.R_OK)
        return {path.name for path in out.glob(".partial*")} if readable else set()

    def check_end(self, code: int, stderr: str, fault: Fault | None, left: set[str]):
        lines = [line for line in stderr.replace("\r", "\n").splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if any(panic in stderr for panic in PANICS):
            raise Broken("panicked")
        if code == -9 and fault and fault.kills:
            return
        if code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1) and fault and not stderr:
            # The signal came before the program's first instruction.
            return
        if code not in (0, 1, 3, 75):
            raise Broken(f"exit code {code}")
        if code != 0 and not (last.startswith("error: ") and ";" in last):
            raise Broken("the end is not explained")
        if sum(line.startswith("error: ") for line in lines) > 1:
            raise Broken("more than one line of error")
        if left and not (fault and (fault.kills or fault.denies_removal)):
            raise Broken(f"left {left}")

    def numbers(self, out: Path):
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in r.items() if key not in TIMES} for r in records]

    def unbroken(self, task: Task):
        """Trains once without faults: what every broken run must end with."""
        began = time.monotonic()
        code, stderr = self.run(task.args(task.reference), None, task, task.reference)
        task.seconds = max(time.monotonic() - began, 0.2)
        if code != 0:
            raise Broken(f"the unbroken run failed: {stderr}")

    def one(self, number: int, task: Task, faults: dict[str, Fault]):
        """One run, from its start to its end, through as many faults as come."""
        out = self.place / "out" / f"run-{number}"
        told = False
        attempts = self.random.randint(1, 6)
        for attempt in range(200):
            fault = self.random.choice(list(faults.values())) if attempt < attempts else None
            if fault and not fault.fits(task):
                fault = None
            resumable = (out / "config.toml").exists()
            if fault and fault.before and not resumable:
                # It needs a run that has begun.
                fault = FAULTS["SIGTERM"]
            elif fault and fault.before and not fault.before(self, task, out):
                continue
            args = ["--resume", str(out)] if resumable else task.args(out)
            began, before = time.monotonic(), self.unfinished(out)
            try:
                code, stderr = self.run(args, fault, task, out)
                # What a killed process left, one that ends at once leaves too.
                self.check_end(code, stderr, fault, self.unfinished(out) - before)
            except Broken as broken:
                raise Broken(f"{broken}: {fault.name if fault else 'no fault'}, {task.name}, {out}, args "
                             f"{args}:\n{self.stderr[-3000:]}") from None
            name = fault.name if fault else "none"
            last = stderr.strip().splitlines()[-1:] if code else []
            self.log.write(json.dumps(dict(run=number, task=task.name, fault=name, code=code, resumed=resumable,
                                           seconds=round(time.monotonic() - began, 3), last=last)) + "\n")
            self.log.flush()
            self.ends[name, "killed" if code < 0 else code] += 1
            told |= any(word in stderr for word in TELLS)
            if fault and fault.before and code == 0 and not told:
                # Whatever was done to the folder, a run that ends well has come to the same end.
                self.compare(task, out, complete=LACKS not in stderr)
            if fault and fault.undo:
                fault.undo(self, task, out)
            if code and not fault:
                raise Broken(f"no fault, and yet: {task.name}, {out}:\n{stderr[-3000:]}")
            if code == 0 and self.ended(out):
                break
        else:
            raise Broken(f"{out} never ended")
        if told:
            self.told += 1
        else:
            self.compare(task, out)
        self.finished[task.name] += 1
        shutil.rmtree(out)

    def ended(self, out: Path) -> bool:
        return (out / "report.json").exists()

    def compare(self, task: Task, out: Path, complete: bool = True):
        for name in ("best.safetensors", "last.safetensors"):
            if (out / name).read_bytes() != (task.reference / name).read_bytes():
                raise Broken(f"{name} of {out} differs from that of {task.reference}")
        if complete and self.numbers(out) != self.numbers(task.reference):
            raise Broken(f"the metrics of {out} differ from those of {task.reference}")


def table(soak: Soak, left_out: list[str], minutes: float):
    codes = ["0", "1", "3", "75", "killed"]
    print(f"\n{sum(soak.finished.values())} runs, {sum(soak.ends.values())} processes in {minutes:.0f} minutes; "
          f"{soak.told} runs told of broken images\n")
    print("| fault | " + " | ".join(codes) + " |\n|" + "---|" * (len(codes) + 1))
    for name in ["none", *FAULTS]:
        row = [soak.ends[name, code] + soak.ends[name, int(code) if code.isdigit() else code] for code in codes]
        print(f"| {name} | " + " | ".join(str(n or "") for n in row) + " |")
    print("\nruns: " + ", ".join(f"{name} {n}" for name, n in sorted(soak.finished.items())))
    for line in left_out:
        print(f"left out: {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--programs", type=Path, default=Path(__file__).parents[2] / "target" / "release")
    parser.add_argument("--only", nargs="*", default=[], help="names of faults, or all")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    place = Path(tempfile.mkdtemp(prefix="svp-soak-"))
    place.chmod(0o755)
    soak = Soak(place, given.programs, given.seed)
    chosen = {name: fault for name, fault in FAULTS.items() if not given.only or name in given.only}
    faults = {name: fault for name, fault in chosen.items() if soak.root or not fault.needs_root}
    left_out = [f"{name} (needs root)" for name in chosen if name not in faults]
    began = time.monotonic()
    failed = None
    try:
        (place / "out").mkdir()
        tasks = make_tasks(soak)
        soak.own(place)
        for task in tasks:
            soak.unbroken(task)
        soak.tasks = tasks
        number = 0
        while time.monotonic() - began < given.minutes * 60:
            soak.one(number, tasks[number % len(KINDS)], faults)
            number += 1
    except (Broken, KeyboardInterrupt) as error:
        failed = error
    table(soak, left_out, (time.monotonic() - began) / 60)
    if failed is not None:
        print(f"\nFAILED (seed {given.seed}; kept in {place}): {failed or 'interrupted'}")
        return 1
    shutil.rmtree(place)
    print("\nnothing was lost, and every end was explained")
    return 0


if __name__ == "__main__":
    sys.exit(main())
