"""Builds the published CUDA kernels from their source packages, for one GPU architecture: about a minute on 16 cores.

    python3 tools/reference/build_kernels.py [--arch 90] [--jobs N]

Their own setup.py builds for nine architectures, three types and complex numbers, which takes half an hour. Here a
copy of the sources is trimmed, by text, to the instantiations that Vim calls:

- inputs float and bf16, weights float; no half, no complex;
- the BOOL_SWITCH header is replaced: a switch that Vim always takes one way is compiled only that way, and a call
  that wants the other way is an error that names it.

The kernels themselves, and the compiler flags, are the published ones. A result is kept in target/reference/build and
used again while sources, flags, Python and PyTorch are the same, so it may be built on another machine without a GPU.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import time

import torch

from fetch_sources import SOURCES, TARGET, unpacked

NVCC_FLAGS = [
    "-O3",
    "-U__CUDA_NO_HALF_OPERATORS__",
    "-U__CUDA_NO_HALF_CONVERSIONS__",
    "-U__CUDA_NO_BFLOAT16_OPERATORS__",
    "-U__CUDA_NO_BFLOAT16_CONVERSIONS__",
    "-U__CUDA_NO_BFLOAT162_OPERATORS__",
    "-U__CUDA_NO_BFLOAT162_CONVERSIONS__",
    "--expt-relaxed-constexpr",
    "--expt-extended-lambda",
    "--use_fast_math",
    "-lineinfo",
]

# Per extension: package, folder of its sources, and which way each of its switches goes (None: both).
EXTENSIONS = {
    "selective_scan_cuda": (
        "mamba_ssm",
        "csrc/selective_scan",
        dict(kIsEvenLen=None, kIsVariableB=True, kIsVariableC=True, kDeltaSoftplus=True, kHasZ=True),
    ),
    "causal_conv1d_cuda": (
        "causal_conv1d",
        "csrc",
        dict(
            kIsVecLoad=None,
            kChunkSizeL64=None,
            kSiluAct=True,
            kDeterministic=False,
            kHasSeqIdx=False,
            kHasDfinalStates=False,
        ),
    ),
}

SWITCH_BOTH = """\
#define SWITCH_{name}(COND, ...) [&] {{ \\
    if (COND) {{ constexpr bool {name} = true; return __VA_ARGS__(); }} \\
    else {{ constexpr bool {name} = false; return __VA_ARGS__(); }} }}()
"""
SWITCH_ONE = """\
#define SWITCH_{name}(COND, ...) [&] {{ \\
    TORCH_CHECK({no}(COND), "this build has only {name} = {value}"); \\
    constexpr bool {name} = {value}; return __VA_ARGS__(); }}()
"""


def switch_header(switches):
    text = "#pragma once\n#include <c10/util/Exception.h>\n"
    for name, value in switches.items():
        if value is None:
            text += SWITCH_BOTH.format(name=name)
        else:
            text += SWITCH_ONE.format(name=name, value=str(value).lower(), no="" if value else "!")
    return text + "#define BOOL_SWITCH(COND, NAME, ...) SWITCH_##NAME(COND, __VA_ARGS__)\n"


def without_branch(text, kind, scalar):
    """Drops `scalar` from the dispatch macros over `kind` (ITYPE or WTYPE)."""
    test = rf"if \({kind} == at::ScalarType::{scalar}\) *\{{[^}}]*\}}"
    text, first = re.subn(rf"{test} else (?=if)", "", text)
    text, last = re.subn(rf" else {test}", "", text)
    return text, first + last


def trimmed_dispatch(text):
    for kind, scalar in (("ITYPE", "Half"), ("WTYPE", "Half"), ("WTYPE", "BFloat16"), ("WTYPE", "ComplexFloat")):
        text, found = without_branch(text, kind, scalar)
        if not found and scalar != "ComplexFloat":
            raise ValueError(f"no branch for {scalar} in the dispatch over {kind}: is this another version?")
    return text


def trimmed_instantiations(text):
    wanted = re.compile(r"template void \w+<(float|at::BFloat16), float>\(")
    return "\n".join(line for line in text.split("\n") if not line.startswith("template void") or wanted.match(line))


def trimmed_sources(package, folder, switches):
    """{file name: text}; a .cu that instantiates nothing wanted is left out."""
    sources = {}
    for path in sorted((unpacked(package) / folder).iterdir()):
        text = path.read_text()
        if path.name == "static_switch.h":
            text = switch_header(switches)
        elif path.suffix == ".cpp":
            text = trimmed_dispatch(text)
        elif path.suffix == ".cu":
            text = trimmed_instantiations(text)
            if "\ntemplate void" not in text:
                continue
        sources[path.name] = text
    return sources


def default_arch():
    if torch.cuda.is_available():
        return "".join(map(str, torch.cuda.get_device_capability()))
    return "90"


def load_module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(name, arch=None, jobs=None):
    """The extension module of this name, built if need be."""
    from torch.utils import cpp_extension

    arch = arch or default_arch()
    package, folder, switches = EXTENSIONS[name]
    sources = trimmed_sources(package, folder, switches)
    flags = NVCC_FLAGS + [f"-gencode=arch=compute_{arch},code=sm_{arch}"]
    key = hashlib.sha256(repr((sources, flags, torch.__version__, sys.version_info[:2])).encode()).hexdigest()
    directory = TARGET / "build" / f"{name}-{key[:16]}"
    library = directory / f"{name}.so"
    if library.exists():
        return load_module(name, library)
    work = directory.with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for file, text in sources.items():
        (work / file).write_text(text)
    # ninja may be installed beside this Python without being on the PATH.
    os.environ["PATH"] += os.pathsep + os.path.dirname(sys.executable)
    os.environ["MAX_JOBS"] = str(jobs or os.cpu_count())
    module = cpp_extension.load(
        name=name,
        sources=[str(work / file) for file in sources if file.endswith((".cpp", ".cu"))],
        extra_cflags=["-O3"],
        extra_cuda_cflags=flags,
        build_directory=str(work),
    )
    directory.mkdir(exist_ok=True)
    (work / library.name).rename(library)
    shutil.rmtree(work)
    return module


def versions():
    return {package: version for package, version, _ in SOURCES}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", help="compute capability without its dot; of the GPU here, or 90")
    parser.add_argument("--jobs", type=int, help="compilers at a time; as many as cores")
    args = parser.parse_args()
    for name in EXTENSIONS:
        begun = time.perf_counter()
        module = build(name, args.arch, args.jobs)
        print(f"{module.__file__}: {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
