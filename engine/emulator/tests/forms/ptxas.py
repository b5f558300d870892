#!/usr/bin/env python3
"""`ptxas.py PTXAS FOLDER`: lists the lines of the programs in FOLDER that an assembler refuses. README.md says how to write them."""
import pathlib
import re
import subprocess
import sys

assembler, folder = sys.argv[1:]
refused = 0
for path in sorted(pathlib.Path(folder).glob("*.ptx")):
    done = subprocess.run([assembler, "-arch=sm_90", "--compile-only", "-O0", path, "-o", "/dev/null"], capture_output=True, text=True)
    lines = path.read_text().splitlines()
    messages = re.findall(r"line (\d+);\s*error\s*:\s*(.*)", done.stdout + done.stderr)
    for number, message in messages:
        refused += 1
        print(f"{message}\n    {lines[int(number) - 1]}")
    if done.returncode and not messages:
        sys.exit(done.stdout + done.stderr)
print(f"{refused} lines refused")
sys.exit(refused > 0)
