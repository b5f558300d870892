"""Writes cases/NAME.z: files that claim far more than they hold, each compressed by zlib because they shrink to almost
nothing. tests/hostile.rs unpacks and reads them. Standard library only; run from this folder."""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

MIB = 1 << 20
# The hash of the backbone that the programs bring along.
BUILT_IN = "a06d38ad00f57f509921cc34bed041b0109dcd905b40ebbeb665a2fb0ac18c8d"
out = Path("cases")
out.mkdir(exist_ok=True)


def write(name: str, data: bytes):
    packed = zlib.compress(data, 9)
    (out / f"{name}.z").write_bytes(packed)
    print(f"{name}: {len(data)} bytes, {len(packed)} packed")


def safetensors(metadata: dict, shapes: dict) -> bytes:
    header, at = {"__metadata__": metadata}, 0
    for name, shape in shapes.items():
        size = 4
        for dim in shape:
            size *= dim
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def trained(hidden: int) -> bytes:
    """A trained file whose prompts would have any number of hidden units, without the tensors of these."""
    settings = {"variant": "paper", "hidden": hidden, "group_size": 1, "inner": True, "cross": True}
    model = {"method": "svp", "svp": settings, "head": "linear", "simam": False, "img_size": 32, "stride": 4,
             "class_row_first": False, "classes": [str(i) for i in range(8)], "backbone_hash": BUILT_IN}
    return safetensors({"svp.model": json.dumps(model)}, {"head.bias": [8], "head.weight": [8, 128]})


def empty_tensor() -> bytes:
    """A checkpoint of Vim with a tensor that has no elements, and 2^50 on the axis that tells `dt_rank`."""
    w = 4
    shapes = {"cls_token": [1, 1, w], "pos_embed": [1, 65, w], "norm_f.weight": [w],
              "patch_embed.proj.weight": [w, 3, 4, 4], "patch_embed.proj.bias": [w]}
    mixer = {"A_log": [8, 16], "A_b_log": [8, 16], "D": [8], "D_b": [8], "conv1d.weight": [8, 1, 4],
             "conv1d.bias": [8], "conv1d_b.weight": [8, 1, 4], "conv1d_b.bias": [8], "x_proj.weight": [33, 8],
             "x_proj_b.weight": [33, 8], "dt_proj.weight": [0, 1 << 50], "dt_proj.bias": [8], "dt_proj_b.weight": [8, 1],
             "dt_proj_b.bias": [8], "out_proj.weight": [w, 8], "in_proj.weight": [16, w]}
    shapes |= {f"layers.0.mixer.{name}": shape for name, shape in mixer.items()}
    return safetensors({}, shapes | {"layers.0.norm.weight": [w]})


def shared_storage(names: int, elements: int) -> bytes:
    """A .pth with many names for one half-precision tensor."""
    text = lambda s: b"X" + struct.pack("<I", len(s)) + s.encode()
    number = lambda n: b"J" + struct.pack("<i", n)
    storage = b"(" + text("storage") + b"ctorch\nHalfStorage\n" + text("0") + text("cpu") + number(elements) + b"tQ"
    tensor = (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + number(elements) + b"\x85"
              + number(1) + b"\x85\x89}tRq\x01")
    rest = b"".join(text(f"t{i}") + b"h\x01" for i in range(1, names))
    pickle = b"\x80\x02}(" + text("t0") + tensor + rest + b"u."
    return zipped([("archive/data.pkl", pickle, zipfile.ZIP_STORED),
                   ("archive/data/0", bytes(2 * elements), zipfile.ZIP_STORED)])


def zipped(members: list) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data, how in members:
            archive.writestr(zipfile.ZipInfo(name), data, how)
    return file.getvalue()


def overlapping(copies: int, size: int) -> bytes:
    """A zip whose directory names one deflated member many times."""
    whole = zipped([("train/a/bomb00000.png", bytes(size), zipfile.ZIP_DEFLATED)])
    end = whole.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", whole, end + 16)[0]
    entry = whole[start:end]
    entries = b"".join(entry.replace(b"bomb00000", b"bomb%05d" % i) for i in range(copies))
    tail = bytearray(whole[end:])
    struct.pack_into("<HHI", tail, 8, copies, copies, len(entries))
    return whole[:start] + entries + bytes(tail)


def mat(size: int) -> bytes:
    """A .mat of SVHN's form whose one compressed element inflates to `size` bytes of X."""
    padded = lambda data: data + bytes(-len(data) % 8)
    element = lambda kind, data: struct.pack("<II", kind, len(data)) + padded(data)
    flags = element(6, struct.pack("<II", 9, 0))
    dims = element(5, struct.pack("<4i", 32, 32, 3, size // 3072))
    name = element(1, b"X")
    head = flags + dims + name + struct.pack("<II", 2, size)
    body = struct.pack("<II", 14, len(head) + size) + head
    packer = zlib.compressobj(9)
    packed = packer.compress(body)
    for _ in range(size // MIB):
        packed += packer.compress(bytes(MIB))
    packed += packer.compress(bytes(size % MIB)) + packer.flush()
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed


def png(side: int, depth: int, colour: int, more: list = ()) -> bytes:
    """A picture of zeros."""
    chunk = lambda kind, data: (struct.pack(">I", len(data)) + kind + data
                                + struct.pack(">I", zlib.crc32(kind + data)))
    row = 1 + side * depth // 8 * {0: 1, 2: 3, 6: 4}[colour]
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(row)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def profile(size: int) -> bytes:
    """A colour profile that inflates to `size` bytes."""
    packer = zlib.compressobj(9)
    return b"icc\0\0" + b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()


write("trained_hidden_2_20.safetensors", trained(1 << 20))
write("trained_hidden_2_40.safetensors", trained(1 << 40))
write("empty_tensor.safetensors", empty_tensor())
write("shared_storage.pth", shared_storage(4500, 20_000))
write("overlapping.zip", overlapping(200, 72 * MIB))
write("inflating.zip", zipped([("train/a/0.png", bytes(600 * MIB), zipfile.ZIP_DEFLATED)]))
write("train_32x32.mat", mat(1024 * MIB))
write("deep.png", png(9000, 16, 6))
write("profile.png", png(8, 8, 2, [(b"iCCP", profile(1024 * MIB))]))
write("long.pam", b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nTUPLTYPE " + b"A" * 80_000 + b"\nENDHDR\n" + bytes(12))
