"""A stream for tuning: the first tasks, each training set split into a part to learn and a part to be judged on. No test
sample is in it.
"""

from __future__ import annotations

import torch

from nlbench import seeds as draws
from nlbench.streams.derived import Derived
from nlbench.streams.stream import Samples, Stream


class ValidationStream(Derived):
    """Tasks 1…`tasks` of a stream; a fixed `share` of each training set, the same for all seeds and where a task recurs, stands
    in for the test set.
    """

    def __init__(self, stream: Stream, tasks: int, share: float) -> None:
        super().__init__(stream)
        self.n_tasks = min(tasks, stream.n_tasks)
        self._share = share

    def train(self, task: int) -> Samples:
        return self._part(task, judged=False)

    def test(self, task: int) -> Samples:
        return self._part(task, judged=True)

    def _part(self, task: int, *, judged: bool) -> Samples:
        samples = self._stream.train(task)
        purpose = f"validation/{self.first_of(task)}"
        order = torch.from_numpy(draws.permutation((draws.FIXED,), purpose, len(samples))[0]).to(self.device)
        cut = round(self._share * len(samples))
        return samples.part((order[:cut] if judged else order[cut:]).sort().values[None])
