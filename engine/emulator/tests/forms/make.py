#!/usr/bin/env python3
"""Writes the table of forms: `make.py` writes it anew, `make.py --check` fails if the committed one differs."""
import io
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))

import asynchronous
import control
import conversions
import floats
import integers
import matrices
import memory
import video
import warps
import wmma
from table import Table

MODULES = (integers, floats, conversions, memory, warps, matrices, wmma, video, asynchronous, control)


def main():
    table = Table()
    for module in MODULES:
        for family in module.FAMILIES:
            family(table)
    text = io.StringIO()
    table.write(text, memory.HINTS)
    path = HERE / "table.txt"
    if sys.argv[1:] == ["--check"]:
        if path.read_text() != text.getvalue():
            sys.exit("table.txt is not what make.py writes")
        return
    path.write_text(text.getvalue())
    print(f"{len(table.lines)} programs, {len(text.getvalue()) / 1e6:.2f} MB")


main()
