"""Whether a learner keeps the rules that every learner keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from nlbench.api.running import options
from nlbench.launching import running_half
from nlbench.plan import MachineOptions

if TYPE_CHECKING:
    from nlbench.conformance import Examination


def check_learner(
    model: object,
    *,
    shape: Sequence[int] | None = None,
    overrides: Mapping[str, str] | None = None,
    **machine: Unpack[MachineOptions],
) -> Examination:
    """Return what the checks of `nlbench doctor` find of a learner, in seconds: it is made some ten times and taught three tiny
    tasks.

    model      as in `nlbench.run`: a recipe's name or file, `./file.py:Class`, or a class
    shape      of one sample, for a network that takes no other, such as (3, 32, 32); otherwise (1, 16, 16)
    overrides  as in `nlbench.run`, such as {"learner.width": "64"}
    machine    device, backend: as in `nlbench.run`
    Raises `NlbenchError` where no such learner can be made. A broken rule raises nothing: `passed` is then False, and `broken`
    says which, what was seen, and what to mend.
    """
    half = running_half()
    from nlbench import conformance

    with half.shortages_told():
        candidate = conformance.Candidate.of(model, overrides or {}, options(**machine), shape or conformance.SHAPE)
        return conformance.examine(candidate)
