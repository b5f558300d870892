"""Fetches the source packages of the published kernels from PyPI into target/reference; what is there is kept.

    python3 tools/reference/fetch_sources.py [--compiler]

Under 300 KiB, and with --compiler 110 MiB: nvcc and what it needs, from PyPI. build_kernels.py builds them; nothing of
them is part of this repository.
"""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "target" / "reference"
# package, version, SHA-256
SOURCES = [
    ("mamba_ssm", "2.3.2.post1", "104cc47e9101e5401a675fa2b784f2952b9b037f3b1dd83b5ac544394e95d028"),
    ("causal_conv1d", "1.7.0", "3202758494eaa7b597ce1c282dfa188889506bfcb92cad3c407d26736bfcd32b"),
]
# The CUDA compiler in parts, whose wheels are unpacked and not installed.
COMPILER = TARGET / "cuda"
COMPILER_PARTS = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-runtime==13.0.96",
]


def archive(package, version):
    return TARGET / f"{package}-{version}.tar.gz"


def unpacked(package):
    """Folder of a package's sources, unpacked from its archive when it is not there yet."""
    version, digest = next((version, digest) for name, version, digest in SOURCES if name == package)
    path, folder = archive(package, version), TARGET / f"{package}-{version}"
    if not folder.exists():
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run tools/reference/fetch_sources.py where there is a network")
        check(path, digest)
        with tempfile.TemporaryDirectory(dir=TARGET) as half, tarfile.open(path) as tar:
            tar.extractall(half, filter="data")
            (Path(half) / folder.name).rename(folder)
    return folder


def check(path, digest):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise ValueError(f"{path}: its SHA-256 is {found}, not {digest}: delete it and fetch it again")


def index():
    """The package index that pip uses: `pip download` itself would run what it fetches."""
    from pip._internal.models.index import PyPI

    chosen = os.environ.get("PIP_INDEX_URL")
    if not chosen:
        asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        said = subprocess.run(asked, capture_output=True, text=True)
        chosen = said.stdout.strip() if said.returncode == 0 else PyPI.simple_url
    return chosen.rstrip("/") + "/"


def fetch(path, package):
    """The archive from the index's page of the package, which links to it."""
    page = index() + package.replace("_", "-") + "/"
    with urllib.request.urlopen(page) as response:
        links = re.findall(r'href="([^"#]+)', response.read().decode())
    link = next((link for link in links if link.endswith("/" + path.name)), None)
    if link is None:
        raise ValueError(f"the package index has no {path.name}")
    with urllib.request.urlopen(urllib.parse.urljoin(page, link)) as response:
        return response.read()


def fetch_compiler():
    done = COMPILER / "packages"
    if done.exists() and done.read_text() == "\n".join(COMPILER_PARTS):
        return
    COMPILER.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    if subprocess.run([*command, "--dest", str(COMPILER), *COMPILER_PARTS]).returncode:
        raise OSError("pip could not download the compiler")
    for wheel in COMPILER.glob("*.whl"):
        with zipfile.ZipFile(wheel) as files:
            files.extractall(COMPILER)
        wheel.unlink()
    # A zip file has no permissions to run.
    for folder in ("bin", "nvvm/bin"):
        for program in (COMPILER / "nvidia/cu13" / folder).iterdir():
            if program.is_file():
                program.chmod(0o755)
    done.write_text("\n".join(COMPILER_PARTS))


def main():
    if "--compiler" in sys.argv[1:]:
        fetch_compiler()
    TARGET.mkdir(parents=True, exist_ok=True)
    for package, version, digest in SOURCES:
        path = archive(package, version)
        if not path.exists():
            partial = path.with_suffix(".part")
            partial.write_bytes(fetch(path, package))
            check(partial, digest)
            partial.rename(path)
        check(path, digest)
        print(path)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"fetch_sources: {error}")
