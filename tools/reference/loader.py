"""Images a second that torchvision and timm make ready for training on one core: the yardstick of `cargo bench --bench
loader`, which calls this with a folder of JPEG files.

    python -m venv venv && venv/bin/pip install torch torchvision timm
    venv/bin/python tools/reference/loader.py FOLDER

The transform that the published program asks timm for, and its mixing of batches (docs/recipe.md, "Training images" and
"Mixup and cutmix"), in one process with one thread.
"""

import sys
import time
from pathlib import Path

import torch
from PIL import Image, ImageOps
from timm.data import Mixup, create_transform

BATCH, SIZE, EPOCHS = 32, 224, 6

# Pillow 13 refuses to keep 0 bits, which the policy asks for at magnitude 10; before, that gave black.
posterize = ImageOps.posterize
ImageOps.posterize = lambda image, bits: posterize(image, bits) if bits else Image.new("RGB", image.size)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    files = sorted(Path(sys.argv[1]).glob("*.jpg"))
    transform = create_transform(
        input_size=SIZE,
        is_training=True,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        re_prob=0.25,
        re_mode="pixel",
        re_count=1,
    )
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=100)

    def decode(path):
        with open(path, "rb") as file:
            return Image.open(file).convert("RGB")

    def epoch():
        for start in range(0, len(files), BATCH):
            images = torch.stack([transform(decode(path)) for path in files[start : start + BATCH]])
            mixup(images, torch.zeros(len(images), dtype=torch.long))

    def rate(work):
        """In the fastest epoch."""
        seconds = []
        for _ in range(EPOCHS):
            begun = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begun)
        return len(files) / min(seconds)

    whole, alone = rate(epoch), rate(lambda: [decode(path) for path in files])
    print(f"{whole:6.0f} images/s a core (its decoding alone {alone:.0f})")


if __name__ == "__main__":
    main()
