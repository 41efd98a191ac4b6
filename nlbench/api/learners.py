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

    `predict` scales nothing: inputs are as the stream shows them, those of `stream_from_arrays` as they were given, those of a
    file or a data set standardised by its training set.

    using    the classes and functions of your own that it is made of, as such or as `./file.py:Name`, whichever way they were
             named when it ran: nothing that a file names is imported unless you name it. For a module or an estimator that was
             given as an object, one made the same way: what it learned is taken from the file
    machine  device, backend: as in `nlbench.run`
    Raises `NlbenchError` for a class that is needed and not given, `RecordError` for a file that holds no learner.
    """
    return running_half().trained.load(Path(path), using, options(**machine), seed)
