"""The global generators of random numbers while somebody else's learner runs: its own, whoever else draws."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import TracebackType
from typing import Any, ClassVar, Final

import numpy as np
import torch

from nlbench.seeds import generator

_SEEDS_OF_NUMPY: Final = 2**32


class GlobalGenerators:
    """Within `with`, the states of `random`, `numpy.random` and torch (a GPU's too) that belong to one learner; outside, those
    that were there before.

    They start from the learner's seeds and go on from call to call, so that dropout repeats and one seed draws the same alone or
    beside others. They are not started anew at a task's first batch: that would tell a learner where tasks begin. What they hold
    is part of the learner's state. Cost of one `with`: some 60 microseconds.
    """

    made_anew: ClassVar[tuple[str, ...]] = ("_outer", "_device")

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        name = "learner" if len(seeds) == 1 else f"learner/{','.join(map(str, seeds[1:]))}"
        root = int(generator(seeds[0], name).integers(2**63))
        self._device = device
        self._outer: dict[str, Any] = {}
        self._own = {
            "random": random.Random(root).getstate(),
            "numpy.random": np.random.RandomState(root % _SEEDS_OF_NUMPY).get_state(legacy=False),
            "torch": torch.Generator().manual_seed(root).get_state(),
        }
        if device.type == "cuda":
            self._own["torch.cuda"] = torch.Generator(device).manual_seed(root).get_state()

    def __enter__(self) -> None:
        self._outer = self._read()
        self._put(self._own)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._own = self._read()
        self._put(self._outer)
        self._outer = {}

    def drawn_since(self, before: dict[str, Any]) -> list[str]:
        """Return the names of those that moved since `before`, what `states` returned."""
        now = self.states()
        return [name for name, state in before.items() if not _equal(state, now[name])]

    def states(self) -> dict[str, Any]:
        """Return the states outside `with`, by the name of whose they are."""
        return dict(self._own)

    def put_back(self, states: dict[str, Any]) -> None:
        """Go on from what `states` returned."""
        self._own = dict(states)

    def _read(self) -> dict[str, Any]:
        states = {
            "random": random.getstate(),
            "numpy.random": np.random.get_state(legacy=False),  # noqa: NPY002 - it is the legacy generator that is kept
            "torch": torch.random.get_rng_state(),
        }
        return {**states, "torch.cuda": torch.cuda.get_rng_state(self._device)} if self._device.type == "cuda" else states

    def _put(self, states: dict[str, Any]) -> None:
        random.setstate(states["random"])
        np.random.set_state(states["numpy.random"])  # noqa: NPY002
        torch.random.set_rng_state(states["torch"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(states["torch.cuda"], self._device)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return bool(np.all(first == second))
