"""Learners that were trained and saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nlbench.api.running import options
from nlbench.launching import running_half
from nlbench.plan import MachineOptions

if TYPE_CHECKING:
    from nlbench.runner.trained import Trained


def load_learner(path: str | Path, *using: object, seed: int | None = None, **machine: Unpack[MachineOptions]) -> Trained:
    """Return the learner that `nlbench run --save` or `nlbench.run(…, save=…)` wrote, which predicts:
    `load_learner(path).predict(inputs)` are logits (S, N, C); of one `seed`, (N, C).

    using    the classes of your own that it is made of, as such or as `./file.py:Name`: nothing that a file names is imported
             unless you name it
    machine  device, backend: as in `nlbench.run`
    Raises `NlbenchError` for a class that is needed and not given, `RecordError` for a file that holds no learner.
    """
    return running_half().trained.load(Path(path), using, options(**machine), seed)
