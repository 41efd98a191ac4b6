"""A model that is a Python object and no name -> the `[learner]` table that stands for it. Imports no torch."""

from __future__ import annotations

import sys
from typing import Any

from nlbench import closure
from nlbench.errors import NlbenchError


def learner_of(model: object) -> dict[str, Any]:
    """Return the table of a class of learners, of a torch module or its class, or of an estimator that has `partial_fit`.

    A module is fine-tuned by the learner `naive`: made anew for each seed if its class is given, for all seeds the same start if
    it is given itself. Raises `NlbenchError` for what is none of these.
    """
    torch = sys.modules.get("torch")
    kinds = model.__mro__ if isinstance(model, type) else type(model).__mro__
    if torch is not None and torch.nn.Module in kinds:
        return {"kind": "naive", "network": {"kind": "module", "build": closure.give(model)}}
    if hasattr(model, "partial_fit") and hasattr(model, "get_params"):
        return {"kind": "estimator", "build": closure.give(model)}
    if isinstance(model, type):
        return {"kind": closure.give(model)}
    raise NlbenchError(
        f"model: must be a name, a file, a class, a torch module or an estimator with partial_fit, got an object of "
        f"{type(model).__name__}.",
        _way_out(model),
    )


def _way_out(model: object) -> str:
    """Return what to do with an object that is no model."""
    if hasattr(model, "observe"):
        return "Give the class itself: each seed has its own."
    if hasattr(model, "fit"):
        return "It has no partial_fit, by which an estimator learns one batch after another: take one that has."
    return "help(nlbench.run) shows each of them."
