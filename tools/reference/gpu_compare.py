"""Times the published kernels, and PyTorch with them, on this machine's GPU: what svp-train is compared with.

    python3 tools/reference/fetch_sources.py                    # once, where there is a network
    python3 tools/reference/build_kernels.py                    # once, where there is nvcc; or left to the next line
    python3 tools/reference/gpu_compare.py --out compare.json
    python3 tools/reference/gpu_compare.py --device cpu         # tries the code on tiny shapes; its times say nothing

Sections: `ceilings`, a (selective scan), b (causal conv1d), c (prompt add + residual add + RMSNorm), d (the whole
training step); each is a process of its own, so one that crashes or hangs is recorded and ends nothing else.
README.md says what each number means.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import ceilings
import compare_ops
import compare_step
import published
from fetch_sources import SOURCES
from suite import Suite, line, write

SECTIONS = ["ceilings", "a", "b", "c", "d"]
# Seconds that a section may go on after its budget, with the measurement it began.
GRACE = 90


def environment(device):
    found = dict(
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cpus=os.cpu_count(),
        sources={package: dict(version=version, sha256=digest) for package, version, digest in SOURCES},
        kernels="published" if device == "cuda" else "loops in their place",
    )
    try:
        import triton

        found["triton"] = triton.__version__
    except ImportError:
        pass
    if device == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["device"] = properties.name
        found["multiprocessors"] = properties.multi_processor_count
        found["memory_bytes"] = properties.total_memory
        found["l2_bytes"] = properties.L2_cache_size
        try:
            query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
            found["driver"] = answer.splitlines()[0]
        except (OSError, subprocess.SubprocessError, IndexError) as error:
            found["driver"] = f"not known: {error}"
    return found


def use_kernels(suite):
    begun = time.perf_counter()
    published.use_kernels()
    suite.record(section="build", name="published kernels", seconds=time.perf_counter() - begun)
    return True


def run_section(name, args):
    facts = environment(args.device)
    print(f"-- {name}: {facts.get('device', 'no GPU')}, torch {facts['torch']}, {facts['date']}", flush=True)
    suite = Suite(args.device, args.budget, facts, args.out)
    if suite.cuda and name in "abd":
        # Without the kernels there is nothing to time: the loops in their place are no reference for speed.
        if not suite.attempt(lambda: use_kernels(suite), section=name, name="published kernels"):
            sys.exit(1)
    runs = dict(ceilings=lambda: ceilings.section(suite), **compare_ops.sections(suite))
    runs["d"] = lambda: compare_step.section(suite)
    suite.attempt(runs[name], section=name, name="the whole section")


def run_sections(names, args):
    """Each in a process of its own; their records together."""
    deadline = time.monotonic() + args.budget
    facts, records = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            part = Path(folder) / f"{name}.json"
            left = max(0.0, deadline - time.monotonic())
            command = [sys.executable, __file__, "--only", name, "--device", args.device]
            command += ["--budget", str(left), "--out", str(part)]
            ended = None
            try:
                code = subprocess.run(command, timeout=left + GRACE).returncode
                ended = f"it ended with code {code}" if code else None
            except subprocess.TimeoutExpired:
                ended = f"it did not end {GRACE} s after its budget"
            if part.exists():
                found = json.loads(part.read_text())
                facts = facts or found["environment"]
                records += found["records"]
            if ended:
                records.append(dict(section=name, name="the whole section", error=ended))
                print(line(records[-1]), flush=True)
            if args.out:
                write(args.out, facts, records)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="FILE", help="write environment and records as JSON, as they come")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, of: %(default)s")
    parser.add_argument("--budget", type=float, default=480, metavar="SECONDS", help="begin no measurement after this")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    args = parser.parse_args()
    names = args.only.split(",")
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu_compare: PyTorch sees no CUDA device here; --device cpu tries the code without one")
    run_section(names[0], args) if len(names) == 1 else run_sections(names, args)


if __name__ == "__main__":
    main()
