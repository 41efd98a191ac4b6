"""Learned levels below values of many contexts: for vectors too long for fixed features of a few times their number.

Two hidden levels step along what past keys leave free, Δᵀ K (I + A / λ)⁻¹, at every chunk; above them each context that the
memory found has a read-out of its own, learned by the softmax over its classes. Which contexts a sample may be of, the memory
says by its readings.

Shapes: S seeds, B samples of a chunk, N samples, D_in numbers in a sample, G contexts, C classes.
Source: projected steps are orthogonal weights modification (Zeng et al. 2019); see `nlbench.learners.projected`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Problem
from nlbench.kernels import Backend
from nlbench.kernels.contexts import NEVER
from nlbench.learners.hope import sizes
from nlbench.learners.projected.chain import Chain, Told
from nlbench.learners.projected.config import ProjectedConfig, ProjectedLevel, Readout
from nlbench.learners.projected.continuum import Continuum
from nlbench.learners.projected.memory import with_constant
from nlbench.learners.projected.schedule import Schedule

RATE: Final = 0.6
RIDGES: Final = (5000.0, 1500.0, 250.0)
"""λ of the slow level, the fast one and the read-out."""
REFRESH: Final = 256
"""Chunks between two refreshes of what is protected."""
SHARE: Final = 4
"""Every how many chunks grams gather keys."""


class Levels:
    """Two levels and a read-out for each of at most G contexts."""

    def __init__(self, problem: Problem, contexts: int, backend: Backend) -> None:
        first, second, last = RIDGES
        wide, narrow = sizes.levels(problem.n_inputs)
        config = ProjectedConfig(
            kind="projected",
            levels=(ProjectedLevel(width=wide, rate=RATE, ridge=first), ProjectedLevel(width=narrow, rate=RATE, ridge=second)),
            readout=Readout(rule="protected", rate=RATE, ridge=last),
            refresh=REFRESH,
            share=SHARE,
        )
        self._contexts, self._steps, self._schedule = contexts, 0, Schedule.of(config)
        self._continuum = Continuum(config, problem.n_inputs, problem, backend, contexts=contexts)
        self._chain = Chain(self._continuum, self._schedule)
        self.permute_inputs = self._continuum.permute

    def together(self, most: int) -> int:
        """Return how many of the `most` chunks to come may be learned in one call: `settle` before and `advance` after it."""
        return self._schedule.together(self._steps, most) if self._continuum.many_at_once else 1

    def settle(self) -> None:
        """Before chunks: let what was gathered follow inputs that were reordered."""
        self._continuum.settle()

    def learn(self, inputs: Tensor, told: Told) -> Tensor:
        """Learn n chunks of inputs (S, n B, D_in); return their losses (n, S), each before its step."""
        return self._chain.learn(with_constant(inputs), told, self._steps)

    def advance(self, chunks: int) -> None:
        """After so many chunks: bring up to date what is protected, if that is due."""
        self._steps += chunks
        self._continuum.refresh(protects=self._schedule.protects(self._steps), solves=False)

    def kind(self, chunks: int) -> tuple[bool, ...]:
        """Return all that falls due with the next chunks."""
        return self._schedule.kind(self._steps, chunks)

    def tensors(self) -> list[Tensor]:
        """Return what chunks read and change in place."""
        return [*self._continuum.tensors().values(), *self._continuum.parts()]

    def read(self, seed: int, inputs: Tensor, of_contexts: Tensor) -> Tensor:
        """Return the log shares (1, N, C) that one seed reads of inputs (N, D_in), given those of contexts (N, K), K <= G."""
        missing = self._contexts - of_contexts.shape[1]
        return self._continuum.answers(seed, inputs, F.pad(of_contexts, (0, missing), value=NEVER))

    def state(self) -> dict[str, Tensor]:
        """Return all that a resume needs."""
        return {"steps": torch.tensor(self._steps), **self._continuum.state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over another's state."""
        self._steps = int(state["steps"])
        self._continuum.restore(state)

    def sizes(self, used: float) -> dict[str, float]:
        """Return the bytes of all seeds by kind, where each seed has so many contexts on average."""
        kinds: dict[str, float] = dict(self._continuum.sizes())
        store = self._continuum.readout.tensors()["store"].nbytes
        kinds["memory"] -= store * (1.0 - used / self._contexts)
        return kinds
