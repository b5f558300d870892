"""Builds the published CUDA kernels from their source packages as plain shared libraries, for one GPU architecture.

    python3 tools/reference/build_kernels.py [--arch 90] [--jobs N]

Their own setup.py builds for nine architectures, three types and complex numbers, which takes half an hour. Here a
copy of the sources is trimmed, by text, to the instantiations that Vim calls:

- inputs float and bf16, weights float; no half, no complex, channels not innermost;
- the BOOL_SWITCH header is replaced: a switch that Vim always takes one way is compiled only that way, and a call
  that wants the other way is an error that names it;
- PyTorch's headers are replaced by kernels/torch_shim.h, and its C++ functions by kernels/*_launch.cpp, which
  libraries.py calls with addresses. So nothing depends on PyTorch, its version or Python's.

The kernels themselves, and their compiler flags, are the published ones. A library is kept in target/reference/build and
used again while sources and flags are the same, so it may be built on a machine without a GPU and without PyTorch.
"""

import argparse
import concurrent.futures
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from fetch_sources import COMPILER, TARGET, unpacked

OURS = Path(__file__).resolve().parent / "kernels"
NVCC_FLAGS = [
    "-O3",
    "-std=c++17",
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
# The host's libraries go into the library, so that it loads where they are older.
LINK_FLAGS = ["-shared", "-cudart", "static", "-Xlinker", "-s", "-Xcompiler", "-static-libgcc,-static-libstdc++"]

# Per library: package and folder of the kernels, our launcher, and which way each switch goes (None: both).
PUBLISHED = {
    "selective_scan": (
        "mamba_ssm",
        "csrc/selective_scan",
        "scan_launch.cpp",
        dict(kIsEvenLen=None, kIsVariableB=True, kIsVariableC=True, kDeltaSoftplus=True, kHasZ=True),
    ),
    "causal_conv1d": (
        "causal_conv1d",
        "csrc",
        "conv_launch.cpp",
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
LIBRARIES = [*PUBLISHED, "ex2"]

SWITCH_BOTH = """\
#define SWITCH_{name}(COND, ...) [&] {{ \\
    if (COND) {{ constexpr bool {name} = true; return __VA_ARGS__(); }} \\
    else {{ constexpr bool {name} = false; return __VA_ARGS__(); }} }}()
"""
SWITCH_ONE = """\
#define SWITCH_{name}(COND, ...) [&] {{ \\
    if ({wrong}(COND)) throw std::runtime_error("this build has only {name} = {value}"); \\
    constexpr bool {name} = {value}; return __VA_ARGS__(); }}()
"""
WANTED = re.compile(r"template void (selective_scan|causal_conv1d)_(fwd|bwd)_cuda<(float|at::BFloat16), float>\(")


def switch_header(switches):
    text = "#pragma once\n#include <stdexcept>\n"
    for name, value in switches.items():
        if value is None:
            text += SWITCH_BOTH.format(name=name)
        else:
            text += SWITCH_ONE.format(name=name, value=str(value).lower(), wrong="!" if value else "")
    return text + "#define BOOL_SWITCH(COND, NAME, ...) SWITCH_##NAME(COND, __VA_ARGS__)\n"


def trimmed_instantiations(text):
    return "\n".join(line for line in text.split("\n") if not line.startswith("template void") or WANTED.match(line))


def without_torch(text):
    """Includes of PyTorch's headers become that of our few names."""
    return re.sub(r"#include <(?:c10|ATen)/[^>]*>", '#include "torch_shim.h"', text)


def sources_of(name):
    """{file name: text}; a .cu that instantiates nothing wanted is left out."""
    if name == "ex2":
        return {"ex2.cu": (OURS / "ex2.cu").read_text()}
    package, folder, launcher, switches = PUBLISHED[name]
    sources = {file: (OURS / file).read_text() for file in ("torch_shim.h", "launch.h", launcher)}
    for path in sorted((unpacked(package) / folder).iterdir()):
        if path.suffix == ".cpp":
            continue
        text = without_torch(path.read_text())
        if path.name == "static_switch.h":
            text = switch_header(switches)
        elif path.suffix == ".cu":
            text = trimmed_instantiations(text)
            if "\ntemplate void" not in text:
                continue
        sources[path.name] = text
    return sources


def find_nvcc():
    """The compiler that fetch_sources.py --compiler fetched, or that of a CUDA installation."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    folders = [COMPILER / "nvidia/cu13/bin", *([Path(home) / "bin"] if home else [])]
    folders += map(Path, os.environ.get("PATH", "").split(os.pathsep))
    folders += sorted(Path("/usr/local").glob("cuda*/bin"))
    for folder in folders:
        if (folder / "nvcc").is_file():
            return folder / "nvcc"
    raise FileNotFoundError("no nvcc: set CUDA_HOME, or run fetch_sources.py --compiler where there is a network")


def library_of(name, arch):
    """Where the library of this name is, or will be."""
    key = hashlib.sha256(repr((sources_of(name), NVCC_FLAGS, LINK_FLAGS, arch)).encode()).hexdigest()
    return TARGET / "build" / f"{name}-sm_{arch}-{key[:16]}.so"


def run(command):
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{command[0]} ended with code {ended.returncode}: {(ended.stderr or ended.stdout)[-2000:]}")


def build(name, arch, jobs=None):
    """Compiles the library of this name; its path."""
    library, nvcc = library_of(name, arch), find_nvcc()
    work = library.with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    sources = sources_of(name)
    for file, text in sources.items():
        (work / file).write_text(text)
    flags = [*NVCC_FLAGS, f"-gencode=arch=compute_{arch},code=sm_{arch}", "-Xcompiler", "-fPIC", "-I", work]
    units = [work / file for file in sources if file.endswith((".cpp", ".cu"))]
    objects = [unit.with_suffix(unit.suffix + ".o") for unit in units]
    with concurrent.futures.ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        compile = lambda unit, to: run([nvcc, *flags, "-c", unit, "-o", to])
        list(pool.map(compile, units, objects))
    partial = work / "library.so"
    # The packages of PyPI have their libraries in lib, where nvcc looks in lib64.
    run([nvcc, *LINK_FLAGS, "-L", nvcc.parent.parent / "lib", "-o", partial, *objects])
    partial.rename(library)
    shutil.rmtree(work)
    return library


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="90", help="compute capability without its dot [default: %(default)s]")
    parser.add_argument("--jobs", type=int, help="compilers at a time; as many as cores")
    args = parser.parse_args()
    for name in LIBRARIES:
        begun = time.perf_counter()
        library = library_of(name, args.arch)
        kept = library.exists()
        if not kept:
            build(name, args.arch, args.jobs)
        size = library.stat().st_size / 1024
        print(f"{library} {size:.0f} KiB, {'kept' if kept else f'{time.perf_counter() - begun:.0f} s'}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"build_kernels: {error}")
