"""Times PyTorch's bf16 matrix products on a CPU; `cargo bench --bench products` asks for each beside its own.

    REFERENCE_PYTHON=venv/bin/python cargo bench --bench products

Reads `m n k a b` from each line, where a and b are `n` for a matrix as it is and `t` for a transposed one, and answers with
the seconds of the fastest run. Outputs are bf16 and written to memory that is there already.
"""

import argparse
import sys
import time

import torch

SECONDS, RUNS = 0.1, 5


def fastest(run):
    best, begun, runs = float("inf"), time.perf_counter(), 0
    while runs < RUNS or time.perf_counter() - begun < SECONDS:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best


def operand(rows, cols, transposed):
    if transposed == "t":
        return torch.randn(cols, rows).bfloat16().t()
    return torch.randn(rows, cols).bfloat16()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    for line in sys.stdin:
        *sizes, a, b = line.split()
        m, n, k = map(int, sizes)
        a, b, out = operand(m, k, a), operand(k, n, b), torch.empty(m, n, dtype=torch.bfloat16)
        print(fastest(lambda: torch.mm(a, b, out=out)), flush=True)


if __name__ == "__main__":
    main()
