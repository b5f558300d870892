"""Times functions on a GPU (or, to try the code, on a CPU) and keeps the records."""

import collections
import json
import os
import statistics
import struct
import time
import traceback
from pathlib import Path

import torch

# Device time spent on one measurement, and its bounds in runs.
SECONDS, FEWEST, MOST = 0.3, 15, 100


def read_safetensors(path):
    """Metadata and tensors of a safetensors file."""
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    meta = header.pop("__metadata__", {})
    types = {"F32": torch.float32, "I64": torch.int64, "F64": torch.float64}
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=types[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return meta, tensors


class OutOfBudget(Exception):
    pass


def line(record):
    """A record for people: what was measured, its time, and what follows from it."""
    shape = "x".join(str(size) for size in record["shape"].values()) if isinstance(record.get("shape"), dict) else ""
    what = [record.get(key) for key in ("section", "name", "variant", "dtype", "pass")]
    what.insert(3, shape)
    if "ms_median" in record:
        figures = ["{ms_median:.3f} ms ({ms_p25:.3f} to {ms_p75:.3f})".format(**record)]
    elif "check" in record:
        errors = [f"{record[key]:.1e}" for key in ("error", "error_forward", "error_backward") if key in record]
        figures = [f"off by {', '.join(errors)}"]
    elif "seconds" in record:
        figures = [f"{record['seconds']:.0f} s"]
    else:
        figures = ["not run: " + (record.get("skipped") or record["error"]).split("\n")[0][:200]]
    units = dict(gb_per_s="GB/s", tflop_per_s="TFLOP/s", gop_per_s="Gop/s", images_per_s="images/s")
    figures += [f"{record[key]:.1f} {unit}" for key, unit in units.items() if key in record]
    if "peak_bytes" in record:
        figures.append(f"peak {record['peak_bytes'] / 2**30:.2f} GiB")
    return "WRONG " * bool(record.get("wrong")) + " | ".join([*filter(None, what), ", ".join(figures)])


def write(path, environment, records):
    partial = f"{path}.tmp"
    with open(partial, "w") as file:
        json.dump(dict(environment=environment, records=records), file, indent=1)
    os.replace(partial, path)


class Suite:
    """Records go to stdout as lines and, each time, to the file `out` where one is given."""

    def __init__(self, device, budget, environment, out):
        self.device, self.cuda = torch.device(device), device != "cpu"
        self.deadline = time.monotonic() + budget
        self.environment, self.out, self.records = environment, out, []
        self.wrong = {}  # what failed its check, and what passed

    def record(self, **entry):
        self.records.append(entry)
        print(line(entry), flush=True)
        if self.out:
            write(self.out, self.environment, self.records)

    def attempt(self, run, **entry):
        """run(), whose exception becomes a record and ends nothing else."""
        try:
            if time.monotonic() > self.deadline:
                raise OutOfBudget("the budget is used up")
            return run()
        except OutOfBudget as error:
            self.record(**entry, skipped=str(error))
        except Exception as error:  # whatever a foreign kernel or compiler raises
            traceback.print_exc()
            self.record(**entry, error=f"{type(error).__name__}: {error}"[:2000])
            if self.cuda and isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
        return None

    def synchronize(self):
        if self.cuda:
            torch.cuda.synchronize()

    def sets(self, example_bytes):
        """How many input sets to rotate among so that the L2 cache is of no use."""
        if not self.cuda:
            return 2
        cache = torch.cuda.get_device_properties(self.device).L2_cache_size
        return min(16, max(2, -(-4 * cache // example_bytes)))

    def time(self, run, inputs, queued=True):
        """Milliseconds of run(input), rotating among the inputs: median, quartiles, number of runs.

        queued: the GPU is kept waiting while the launches are queued, so that only its own time counts.
        """
        kept = collections.deque(maxlen=len(inputs))  # so that outputs rotate as well
        for i in range(max(3, len(inputs))):
            kept.append(run(inputs[i % len(inputs)]))
        one = statistics.median(self._times(run, inputs, kept, 3, queued)) / 1e3
        runs = min(MOST, max(FEWEST, round(SECONDS / max(one, 1e-6)))) if self.cuda else 3
        times = []
        while len(times) < runs:
            times += self._times(run, inputs, kept, min(10, runs - len(times)), queued)
        low, median, high = statistics.quantiles(times, n=4)
        return dict(ms_median=median, ms_p25=low, ms_p75=high, runs=len(times), sets=len(inputs))

    def _times(self, run, inputs, kept, runs, queued):
        if not self.cuda:
            times = []
            for i in range(runs):
                begun = time.perf_counter()
                kept.append(run(inputs[i % len(inputs)]))
                times.append(1e3 * (time.perf_counter() - begun))
            return times
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(runs)]
        torch.cuda.synchronize()
        if queued:
            torch.cuda._sleep(40_000_000)  # cycles: some 20 ms
        for i, (begin, end) in enumerate(events):
            begin.record()
            kept.append(run(inputs[i % len(inputs)]))
            end.record()
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) for begin, end in events]
