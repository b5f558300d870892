"""The table: forms with their programs, and how they are written down."""
import struct

import values
from oracle import ANY, ANY_NAN, Either, Near, width


DITTO = '"'


def register(ty):
    """The kind of register that holds a type: `p`, or its width in bits."""
    if ty == "pred":
        return "p"
    return str(max(16, 32 if ty == "amount" else width(ty)))


def hexed(x):
    """A result as the table writes it."""
    if isinstance(x, Near):
        drop = 52 - x.bits
        bits = struct.unpack("<Q", struct.pack("<d", x.value))[0] + (1 << drop >> 1)
        return f"~{bits >> drop << drop:016x}".rstrip("0")
    if isinstance(x, Either):
        return "/".join(f"{b:x}" for b in x.bits)
    if x in (ANY, ANY_NAN):
        return x
    return f"{x:x}"


def repeated(rows):
    """A row that is the one before is not written again."""
    return [DITTO if k and row == rows[k - 1] and len(row) > 1 else row for k, row in enumerate(rows)]


def common(a, b):
    """The length of the beginning that two texts share."""
    return next((k for k, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


class Table:
    def __init__(self):
        self.sets = {}
        self.bodies = {}
        self.lines = []

    def inputs(self, types, count, salt, given):
        """The name of a set of rows, which the forms with the same inputs share."""
        rows = given if given is not None else values.rows(types, count, salt)
        text = " ".join(repeated([",".join(f"{x:x}" for x in row) for row in rows]))
        kinds = ",".join(register(t) for t in types)
        if (kinds, text) not in self.sets:
            self.sets[kinds, text] = f"i{len(self.sets)}"
        return self.sets[kinds, text], rows

    def form(self, opcode, inputs, outputs, oracle, body=None, count=48, salt="", rows=None, also=False, **options):
        """Adds a form; with `also`, its body checks the other opcodes of that name in it as well.

        `inputs` and `outputs` are types; `oracle` gives the result of a row, or a tuple of them. The body reads `%a0 ..` and writes
        `%d0 ..`; without one it is the opcode with these operands. Options: the tolerance of results that are `Near`, of which one must hold
        (`rel` and `abs` by the exponent of two, `ulp` in units of the type), and `lanes`, with which the oracle gets the number of the
        row and all rows.
        """
        name, rows = self.inputs(tuple(inputs), count, salt, rows)
        results = []
        for index, row in enumerate(rows):
            result = oracle(*row) if not options.get("lanes") else oracle(index, rows)
            result = result if isinstance(result, tuple) else (result,)
            assert len(result) == len(outputs), opcode
            cells = []
            for x, ty in zip(result, outputs):
                if isinstance(x, (bool, int)):
                    x = int(x) & (1 << max(1, int(register(ty).replace("p", "1")))) - 1
                cells.append(hexed(x))
            results.append(",".join(cells))
        options.pop("lanes", None)
        body = self.bodies.setdefault((body or "=").replace(opcode, "$"), f"b{len(self.bodies)}")
        kinds = ",".join(outputs)
        extra = " ".join(f"{k}={v}" for k, v in options.items())
        self.lines.append([opcode + " *" * also, name, kinds, extra, body, " ".join(repeated(results))])

    def write(self, file, hints):
        file.write(HEAD)
        for name, words in hints.items():
            file.write(f"hints\t{name}\t{' '.join(words)}\n")
        for (kinds, text), name in self.sets.items():
            file.write(f"in\t{name}\t{kinds}\t{text}\n")
        before = ""
        for body, name in self.bodies.items():
            head = common(before, body)
            tail = common(before[head:][::-1], body[head:][::-1])
            file.write(f"body\t{name}\t{head}\t{tail}\t{body[head:len(body) - tail]}\n")
            before = body
        last = None
        for fields in self.lines:
            # What was just said is not said again.
            short = [DITTO if last and len(x) > 1 and x == y else x for x, y in zip(fields, last or fields)]
            file.write("\t".join(["f", *short]) + "\n")
            last = fields


HEAD = """\
# Written by make.py; README.md says what the columns are. Do not edit.
"""
