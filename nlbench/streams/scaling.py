"""Images that stay bytes until a batch of them is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AT_ONCE: Final = 2000
"""Images counted at once: counting needs eight times their room."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What makes bytes (…, channels, h, w) the numbers that a learner is shown: value * factor + offset, by channel."""

    factor: Tensor
    offset: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 of the same shape."""
        return images.to(torch.float32).mul_(self.factor).add_(self.offset)


def by_channel(images: NDArray[np.uint8], device: torch.device) -> Scaling:
    """Return the scaling that gives each channel of images (N, channels, h, w) mean 0 and deviation 1; exact sums. One constant
    channel is only shifted.
    """
    channels = images.shape[1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for first in range(0, len(images), AT_ONCE):
        part = images[first : first + AT_ONCE]
        for channel in range(channels):
            counts[channel] += np.bincount(part[:, channel].ravel(), minlength=256)
    values, n = np.arange(256.0), counts.sum(1)
    mean = counts @ values / n
    std = np.sqrt(counts @ values**2 / n - mean**2)
    factor = 1 / np.where(std > 0, std, 1.0)
    made = (torch.from_numpy(each.astype(np.float32)).view(channels, 1, 1).to(device) for each in (factor, -mean * factor))
    return Scaling(*made)
