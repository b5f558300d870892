"""What Pillow makes of small pictures by the changes of RandAugment: tests/golden/augment
(docs/goldens.md, "Pictures").

Needs Pillow and numpy:  python tools/reference/augment.py
Per picture: NAME.png, and NAME.want.png with what each line of changes.txt makes of it, one below the other.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

OUT = Path(__file__).resolve().parents[2] / "tests/golden/augment"
FILL = (124, 116, 104)


def warp(image, matrix):
    return image.transform(image.size, Image.AFFINE, matrix, resample=Image.BICUBIC, fillcolor=FILL)


def posterize(image, bits):
    # ImageOps.posterize refuses 0 bits since Pillow 13; before, it gave black.
    return ImageOps.posterize(image, int(bits)) if bits else Image.new("RGB", image.size)


def solarize_add(image, add):
    return image.point([min(255, v + int(add)) if v < 128 else v for v in range(256)] * 3)


CHANGES = {
    "autocontrast": (lambda i: ImageOps.autocontrast(i), [()]),
    "equalize": (lambda i: ImageOps.equalize(i), [()]),
    "invert": (lambda i: ImageOps.invert(i), [()]),
    "rotate": (
        lambda i, q: i.rotate(q, resample=Image.BICUBIC, fillcolor=FILL),
        [(27.3,), (-26.1,), (4.5,), (-0.7,)],
    ),
    "posterize": (posterize, [(1,), (0,), (3,)]),
    "solarize": (lambda i, t: ImageOps.solarize(i, int(t)), [(26,), (200,), (256,)]),
    "solarize_add": (solarize_add, [(99,), (110,)]),
    "colour": (lambda i, f: ImageEnhance.Color(i).enhance(f), [(1.81,), (0.19,)]),
    "contrast": (lambda i, f: ImageEnhance.Contrast(i).enhance(f), [(1.81,), (0.19,)]),
    "brightness": (lambda i, f: ImageEnhance.Brightness(i).enhance(f), [(1.81,), (0.19,)]),
    "sharpness": (lambda i, f: ImageEnhance.Sharpness(i).enhance(f), [(1.81,), (0.19,)]),
    "shear_x": (lambda i, k: warp(i, (1, k, 0, 0, 1, 0)), [(0.27,), (-0.273,)]),
    "shear_y": (lambda i, k: warp(i, (1, 0, 0, k, 1, 0)), [(0.27,), (-0.273,)]),
    "translate_x": (lambda i, t: warp(i, (1, 0, t * i.size[0], 0, 1, 0)), [(0.405,), (-0.3871,)]),
    "translate_y": (lambda i, t: warp(i, (1, 0, 0, 0, 1, t * i.size[1])), [(0.405,), (-0.3871,)]),
}


def synthetic():
    """A ramp, flat patches with hard edges, and noise; 19 x 23."""
    y, x = np.meshgrid(np.arange(23), np.arange(19), indexing="ij")
    picture = np.stack([x * 13, y * 11, (x + y) * 6], -1).astype(np.uint8)
    picture[4:11, 3:9] = (255, 0, 77)
    picture[6:9, 5:7] = (0, 255, 255)
    picture[14:] = np.random.default_rng(5).integers(40, 216, (9, 19, 3))
    return Image.fromarray(picture)


def main():
    OUT.mkdir(exist_ok=True)
    photo = Image.open(OUT.parent / "photo_301x467.png").convert("RGB").resize((30, 37), Image.BICUBIC)
    # Few values a channel: nothing to stretch in one of them, nothing to even out.
    flat = Image.fromarray(np.full((5, 7, 3), (9, 0, 200), np.uint8))
    flat.putpixel((3, 2), (9, 255, 203))
    lines = [(name, args) for name, (_, all_args) in CHANGES.items() for args in all_args]
    for name, picture in [("photo", photo), ("synthetic", synthetic()), ("flat", flat)]:
        tiles = [np.asarray(CHANGES[change][0](picture, *args)) for change, args in lines]
        picture.save(OUT / f"{name}.png")
        Image.fromarray(np.concatenate(tiles)).save(OUT / f"{name}.want.png")
    text = "".join(" ".join([name, *map(str, args)]) + "\n" for name, args in lines)
    (OUT / "changes.txt").write_text(text)


if __name__ == "__main__":
    main()
