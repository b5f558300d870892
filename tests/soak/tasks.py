"""What the soak trains: methods, and forms of one small data set."""

import random
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

# Method, form of the data, and further flags. Every run takes a backbone from a file.
KINDS = [
    ("svp", "folder", "--augment true --save-every 3"),
    ("linear", "tar", ""),
    ("lora", "zip", "--save-every 5"),
    ("bitfit", "tar.gz", "--accumulate 2"),
    ("full", "folder", "--auto-augment rand-m9-mstd0.5-inc1 --mixup 0.8 --ema-decay 0.9"),
    ("svp", "tar", "--lr auto --save-every 2"),
]


class Task:
    """A run that is started again and again."""

    def __init__(self, place: Path, number: int):
        self.method, self.form, self.more = KINDS[number]
        self.name = f"{self.method} on a {self.form}"
        self.place = place / f"task-{number}"
        self.reference = self.place / "reference"
        self.backbone = self.place / "backbone.safetensors"
        self.data = self.place / ("data" if self.form == "folder" else f"data.{self.form}")
        self.seconds = 60.0

    def args(self, out: Path) -> list[str]:
        epochs = "60" if self.method == "linear" else "8"
        small = ["--hidden", "8"] if self.method == "svp" else []
        return ["--data", str(self.data), "--backbone", str(self.backbone), "--method", self.method, *small,
                "--epochs", epochs, "--batch-size", "8", "--seed", "3", "--out", str(out), *self.more.split()]


def make_tasks(soak) -> list[Task]:
    """Makes data and backbones."""
    first = soak.place / "first"
    pictures(first / "data")
    trained = first / "run"
    soak.own(soak.place)
    flags = ["--method", "full", "--model", "vim_nano", "--embed-dim", "32", "--depth", "2", "--epochs", "1"]
    process = soak.start(["--data", str(first / "data"), *flags, "--batch-size", "8", "--out", str(trained)],
                         log=subprocess.DEVNULL)
    if process.wait() != 0:
        raise RuntimeError("the backbone could not be trained")
    tasks = []
    for number in range(len(KINDS)):
        task = Task(soak.place, number)
        task.place.mkdir()
        shutil.copy(trained / "best.safetensors", task.backbone)
        pack(first / "data", task.data, task.form)
        tasks.append(task)
    return tasks


def pictures(folder: Path):
    """Two classes of striped noise, 20 pictures to train and 6 to test for each."""
    dice = random.Random(1)
    for split, count in (("train", 20), ("test", 6)):
        for label in range(2):
            (folder / split / f"class {label}").mkdir(parents=True)
            for i in range(count):
                pixels = bytes(dice.randrange(128) + (120 if at // 3 % (label + 2) == 0 else 0)
                               for at in range(32 * 32 * 3))
                (folder / split / f"class {label}" / f"{i}.ppm").write_bytes(b"P6 32 32 255\n" + pixels)


def pack(folder: Path, at: Path, form: str):
    if form == "folder":
        shutil.copytree(folder, at)
    elif form == "zip":
        with zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*.ppm")):
                archive.write(path, path.relative_to(folder))
    else:
        with tarfile.open(at, "w:gz" if form == "tar.gz" else "w") as archive:
            archive.add(folder, ".")
