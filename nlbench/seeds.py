"""Named, counter-based draws: each is a pure function of (seed, purpose), so there is no generator state to save.

Each draw makes its own Philox generator from a hash of the seed and the purpose; a purpose is a path such as `order/3/0`,
`permutation/2`, `init/layer0.weight` or `learner/17`. A seed's draws therefore never depend on which other seeds run, on the
learner, or on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

USUAL = 10
"""Seeds of a run and of a reference, where nothing else is said. Five cannot tell: their least two-sided sign-flip p is .0625."""

FIXED = -1
"""The seed of what must be the same in every run: fixed splits and evaluation subsamples."""


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a fresh generator for one purpose of one seed: Philox keyed by BLAKE2b of both (Salmon et al. 2011)."""
    key = int.from_bytes(blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def permutation(seeds: Sequence[int], purpose: str, n: int) -> NDArray[np.int64]:
    """Return (S, n): for each seed, its own order of 0…n-1."""
    return np.stack([generator(seed, purpose).permutation(n) for seed in seeds])


def normal(seeds: Sequence[int], purpose: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return (S, *shape) float32: for each seed, independent draws from N(0, 1)."""
    draws = np.empty((len(seeds), *shape), np.float32)
    for seed, own in zip(seeds, draws, strict=True):
        generator(seed, purpose).standard_normal(out=own, dtype=np.float32)
    return draws


def uniform(seeds: Sequence[int], purpose: str, shape: Sequence[int], bound: float = 1.0) -> NDArray[np.float32]:
    """Return (S, *shape) float32: for each seed, independent draws from [-bound, bound)."""
    draws = np.stack([generator(seed, purpose).random(tuple(shape), dtype=np.float32) for seed in seeds])
    return (2.0 * draws - 1.0) * np.float32(bound)
