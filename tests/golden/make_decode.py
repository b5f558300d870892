"""Writes decode/*: one small picture in every kind of file, and beside each `X` the `X.want.ppm` that Pillow makes
of it with convert("RGB"), and for those with an EXIF orientation the `X.upright.ppm` of ImageOps.exif_transpose.
Made with Pillow 13.0.0 and numpy; run from this folder."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

out = Path("decode")
out.mkdir(exist_ok=True)
H, W = 12, 10
y, x = np.meshgrid(np.arange(H), np.arange(W), indexing="ij")
rgb = np.stack([x * 25, y * 20, (x + y) * 11], -1).astype(np.uint8)
alpha = (x * y * 3).astype(np.uint8)

colour = Image.fromarray(rgb)
rgba = Image.fromarray(np.dstack([rgb, alpha]))
palette = colour.quantize(8)
exif = Image.Exif()
exif[274] = 6

colour.save(out / "colour.jpg", quality=92)
colour.save(out / "progressive.jpg", quality=92, progressive=True)
colour.save(out / "rotated.jpg", quality=92, exif=exif)
colour.convert("L").save(out / "grey.jpg", quality=92)
colour.convert("CMYK").save(out / "cmyk.jpg", quality=92)
colour.convert("1").save(out / "bilevel.png")
palette.save(out / "palette.png")
palette.save(out / "palette_clear.png", transparency=3)
rgba.save(out / "rgba.png")
rgba.convert("LA").save(out / "grey_alpha.png")
rgba.save(out / "lossless.webp", lossless=True, exact=True)
colour.save(out / "lossy.webp", quality=90)

colour.save(out / "colour.bmp")
palette.save(out / "palette.bmp")
colour.convert("L").save(out / "grey.tif")
colour.save(out / "lzw.tiff", compression="tiff_lzw")
rgba.save(out / "rgba.tif")
palette.save(out / "still.gif")
palette.save(out / "animated.gif", save_all=True, append_images=[palette.transpose(0)], duration=100)
for turn in range(1, 9):
    exif = Image.Exif()
    exif[274] = turn
    colour.save(out / f"turned{turn}.png", exif=exif)
turned = Image.Exif()
turned[274] = 8
rgba.save(out / "turned.webp", lossless=True, exact=True, exif=turned)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


wide = (rgb.astype(np.uint32) * 257 + (x * y * 37 % 256)[..., None]).clip(0, 65535).astype(">u2")
header = struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0)
pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in wide))
png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
(out / "colour16.png").write_bytes(png)

size = b"%d %d\n" % (W, H)
(out / "maxval.pgm").write_bytes(b"P5\n# a comment\n" + size + b"100\n" + (x * y % 101).astype(np.uint8).tobytes())
(out / "maxval.ppm").write_bytes(b"P6\n" + size + b"31\n" + (rgb // 8).tobytes())
(out / "text.ppm").write_bytes(b"P3\n" + size + b"255\n" + " ".join(map(str, rgb.ravel())).encode() + b"\n")

for path in sorted(out.iterdir()):
    if not path.name.endswith((".want.ppm", ".upright.ppm")):
        Image.open(path).convert("RGB").save(f"{path}.want.ppm")
        if Image.open(path).getexif().get(274, 1) != 1:
            ImageOps.exif_transpose(Image.open(path)).convert("RGB").save(f"{path}.upright.ppm")
