"""Measure how fast images of bytes are read: `python tools/measure_loader.py`.

A pass in the order of one seed, in batches, over images as CIFAR's are: bytes, each channel brought to mean 0 and deviation 1 as
a batch is shown; and the same with images cropped and turned over. Told is the best of three passes, in images a second of CPU
time.
"""

from __future__ import annotations

import argparse
import sys
from time import process_time

import numpy as np
import torch

from nlbench.streams.augmentation import augmentation
from nlbench.streams.scaling import by_channel
from nlbench.streams.stream import Samples

CHANGES: dict[str, tuple[str, ...]] = {"as they are": (), "crop and flip": ("crop", "flip")}


def rate(samples: Samples, batch: int, changes: tuple[str, ...]) -> float:
    """Return images a second of CPU time."""
    n, device = len(samples), torch.device("cpu")
    order = torch.from_numpy(np.random.Generator(np.random.Philox(1)).permutation(n))[None]
    changed, seconds = augmentation(changes, (0,), "1/0", n, device), []
    for _ in range(3):
        start = process_time()
        if sum(inputs.shape[1] for inputs, _ in samples.batches(order, batch, changed)) != n:
            raise SystemExit("a pass did not show each image once")
        seconds.append(process_time() - start)
    return n / min(seconds)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=50_000)
    options.add_argument("--side", type=int, default=32)
    options.add_argument("--channels", type=int, default=3)
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    shape = (chosen.images, chosen.channels, chosen.side, chosen.side)
    images = np.random.Generator(np.random.Philox(2)).integers(0, 256, shape, dtype=np.uint8)
    rows = torch.arange(len(images))[None]
    samples = Samples(torch.from_numpy(images), rows, torch.zeros_like(rows), scaling=by_channel(images, torch.device("cpu")))
    for name, changes in CHANGES.items():
        sys.stdout.write(f"{name}: {rate(samples, chosen.batch, changes):,.0f} images a second\n")


if __name__ == "__main__":
    main()
