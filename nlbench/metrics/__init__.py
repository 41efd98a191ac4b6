"""Named metrics of continual learning: what each is, and all of them of one seed.

Each is a pure function of what was measured. A different definition is a different name: public libraries give ten answers under
one name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from nlbench import catalog
from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.metrics.matrix import (
    Matrix,
    NotMeasuredError,
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    entries,
    forgetting,
    forgetting_first,
    forgetting_worst,
    forward_transfer,
    gain,
    gap_closed,
    intransigence,
    learning_accuracy,
)
from nlbench.metrics.within import (
    Within,
    learning_curve_area,
    min_accuracy,
    prequential_accuracy,
    recovery_time,
    windowed_forgetting,
    windowed_plasticity,
    worst_case_accuracy,
)

__all__ = [
    "METRICS",
    "OF_FORGETTING",
    "OF_THE_PAST",
    "WITH_CHANCE",
    "Metric",
    "NotMeasuredError",
    "Value",
    "Within",
    "compute",
    "known",
    "measure",
    "versions",
    "with_stand_in",
]

Needs = Literal["accuracy", "accuracy_within", "prequential_accuracy", "references"]


class Value(NamedTuple):
    """A metric's value, or null with the reason."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is: enough to print beside its number."""

    name: str
    formula: str
    range: tuple[float, float]
    better: Literal["higher", "lower"]
    source: str
    needs: Needs
    function: Callable[..., Any]
    version: int = 1
    """Raised when the formula changes: readers then recompute what older records store, instead of checking it."""


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


_SHARE: Final = (0.0, 1.0)
_DIFFERENCE: Final = (-1.0, 1.0)
_UNBOUNDED: Final = (-float("inf"), float("inf"))
_GEM, _RWALK, _AGEM = "Lopez-Paz & Ranzato 2017", "Chaudhry et al. 2018", "Chaudhry et al. 2019"
_DE_LANGE = "De Lange et al. 2023"

_OURS: Final[dict[str, Metric]] = _table(
    Metric("average_accuracy", "(1/T) Σ_j R[T,j]", _SHARE, "higher", _GEM, "accuracy", average_accuracy),
    Metric(
        "average_incremental_accuracy",
        "(1/T) Σ_i (1/i) Σ_{j≤i} R[i,j]",
        _SHARE,
        "higher",
        "Rebuffi et al. 2017",
        "accuracy",
        average_incremental_accuracy,
    ),
    Metric("learning_accuracy", "(1/T) Σ_j R[j,j]", _SHARE, "higher", "Riemer et al. 2019", "accuracy", learning_accuracy),
    Metric(
        "forgetting",
        "(1/(T−1)) Σ_{j<T} (max_{1≤l≤T−1} R[l,j] − R[T,j])",
        _DIFFERENCE,
        "lower",
        _RWALK,
        "accuracy",
        forgetting,
    ),
    Metric(
        "forgetting_first",
        "(1/(T−1)) Σ_{j<T} (R[j,j] − R[T,j])",
        _DIFFERENCE,
        "lower",
        "= −backward_transfer",
        "accuracy",
        forgetting_first,
    ),
    Metric(
        "forgetting_worst", "max_{j<T} (max_{1≤l≤T−1} R[l,j] − R[T,j])", _DIFFERENCE, "lower", _AGEM, "accuracy", forgetting_worst
    ),
    Metric(
        "backward_transfer", "(1/(T−1)) Σ_{j<T} (R[T,j] − R[j,j])", _DIFFERENCE, "higher", _GEM, "accuracy", backward_transfer
    ),
    Metric(
        "forward_transfer", "(1/(T−1)) Σ_{j≥2} (R[j−1,j] − R[0,j])", _DIFFERENCE, "higher", _GEM, "accuracy", forward_transfer
    ),
    Metric(
        "min_accuracy", "(1/(T−1)) Σ_{j<T} min_{n>end of j} A(j,n)", _SHARE, "higher", _DE_LANGE, "accuracy_within", min_accuracy
    ),
    Metric(
        "worst_case_accuracy",
        "(1/T) R[T,T] + (1 − 1/T) min_accuracy",
        _SHARE,
        "higher",
        _DE_LANGE,
        "accuracy_within",
        worst_case_accuracy,
    ),
    Metric(
        "windowed_forgetting",
        "(1/T) Σ_j largest drop in 10 evaluations",
        _SHARE,
        "lower",
        _DE_LANGE,
        "accuracy_within",
        windowed_forgetting,
    ),
    Metric(
        "windowed_plasticity",
        "(1/T) Σ_j largest rise in 10 evaluations",
        _SHARE,
        "higher",
        _DE_LANGE,
        "accuracy_within",
        windowed_plasticity,
    ),
    Metric(
        "learning_curve_area",
        "(1/(β+1)) Σ_{b≤β} (1/T) Σ_k a(k,b), β = 10",
        _SHARE,
        "higher",
        _AGEM,
        "accuracy_within",
        learning_curve_area,
    ),
    Metric(
        "recovery_time",
        "(1/(T−1)) Σ_{j≥2} share of task j until A(j,n) ≥ .95 A(j−1, end of j−1)",
        _SHARE,
        "lower",
        "after Shaker & Hüllermeier 2015",
        "accuracy_within",
        recovery_time,
    ),
    Metric(
        "prequential_accuracy",
        "Σ_j n_j p_j / Σ_j n_j",
        _SHARE,
        "higher",
        "test-then-train",
        "prequential_accuracy",
        prequential_accuracy,
    ),
    Metric(
        "gain", "(1/T) Σ_j (R[j,j] − R°[j,j])", _DIFFERENCE, "higher", "after CL-Bench 2026, arXiv 2606.05661", "references", gain
    ),
    Metric("intransigence", "(1/T) Σ_j (R*[j,j] − R[j,j])", _DIFFERENCE, "lower", _RWALK, "references", intransigence),
    Metric(
        "gap_closed", "(ACC − ACC_naive) / (ACC_joint − ACC_naive)", _UNBOUNDED, "higher", "nlbench", "references", gap_closed
    ),
)


def _is_metric(value: object) -> bool:
    return isinstance(value, Metric)


def known(name: str) -> str:
    """Return the name of a metric after making it known: one of the table, or the object that `./file.py:NAME` or
    `package.module:NAME` names. Raises `UnknownNameError` for any other.
    """
    if name in METRICS:
        return name
    if ":" not in name:
        raise UnknownNameError("metric", name, METRICS)
    metric: Metric = catalog.extension("metrics", name, _is_metric, "a nlbench.metrics.Metric")
    METRICS.update(_added({name: metric}))
    return metric.name


def _added(found: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return metrics from outside the package by their own names, which must be no other's."""
    for place, metric in found.items():
        if metric.name in _OURS or metric.needs == "references":
            rule = "have a name of its own" if metric.name in _OURS else "need no other record"
            raise NlbenchError(f"metric {place}: must {rule}, got {metric.name if metric.name in _OURS else metric.needs!r}.")
    return {metric.name: metric for metric in found.values()}


def _registered() -> dict[str, Metric]:
    names = catalog.registered("metrics")
    return _added({name: catalog.extension("metrics", name, _is_metric, "a nlbench.metrics.Metric") for name in names})


METRICS: Final[dict[str, Metric]] = {**_OURS, **_registered()}
"""Every metric by name: ours, then those of the entry points `nlbench.metrics`."""


def versions() -> dict[str, int]:
    """Return the version of each metric that a record stores."""
    return {name: metric.version for name, metric in METRICS.items() if metric.needs != "references"}


# They say something only beside learning_accuracy and chance: what was not learned cannot be forgotten.
OF_FORGETTING: Final = frozenset(
    {"forgetting", "forgetting_first", "forgetting_worst", "backward_transfer", "windowed_forgetting"}
)


# They take what was right in an earlier task to be right still.
OF_THE_PAST: Final = frozenset(
    {
        *("average_accuracy", "average_incremental_accuracy", "forgetting", "forgetting_first", "forgetting_worst"),
        *("backward_transfer", "forward_transfer", "min_accuracy", "worst_case_accuracy", "windowed_forgetting"),
        *("intransigence", "gap_closed"),
    }
)
CONTRADICT: Final = "tasks contradict each other: see learning and prequential accuracy"

_OTHER_LABELS: Final = "tasks ask for other labels: there is no level to come back to"


# What constant answers reach of them is recorded, and stands beside.
WITH_CHANCE: Final = ("average_accuracy", "learning_accuracy")


def with_stand_in(names: Sequence[str], measured: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the names, each with its stand-in where only that one was measured: long streams measure each task when it has been
    learned and at the end, which gives forgetting_first; where tasks contradict each other there is prequential accuracy.
    """
    stand_ins = {"forgetting": "forgetting_first", "average_accuracy": "prequential_accuracy"}
    return tuple(
        stand_ins[name] if name in stand_ins and not measured(name) and measured(stand_ins[name]) else name for name in names
    )


def compute(
    accuracy: Matrix,
    within: Within | None = None,
    prequential: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    conflict: bool = False,
    shared: bool = False,
) -> dict[str, Value]:
    """Return every metric of one seed that needs no other record, null with its reason where an entry it needs was not measured.

    accuracy (T+1, T), masked where not measured; within: the seed's evaluations within tasks; prequential: (share right, samples)
    per task; conflict: whether tasks contradict each other, where metrics of the past mean nothing; shared: whether all tasks ask
    for the same labels, without which recovery means nothing. Raises NotFiniteError on NaN or infinity. Changes none of its
    inputs.
    """
    entries(accuracy)
    arguments: dict[Needs, tuple[Any, ...] | None] = {
        "accuracy": (accuracy,),
        "accuracy_within": None if within is None else (accuracy, within),
        "prequential_accuracy": prequential,
    }
    return {
        name: measure(metric, arguments[metric.needs], conflict=conflict, shared=shared)
        for name, metric in METRICS.items()
        if metric.needs in arguments
    }


def measure(metric: Metric, arguments: tuple[Any, ...] | None, *, conflict: bool = False, shared: bool = False) -> Value:
    """Return a metric of its function's arguments, or null with the reason if they are None or lack what it needs, or if it means
    nothing where tasks contradict each other, or do not ask for the same labels.
    """
    if conflict and metric.name in OF_THE_PAST:
        return Value(None, CONTRADICT)
    if not shared and metric.function is recovery_time:
        return Value(None, _OTHER_LABELS)
    if arguments is None:
        return Value(None, f"needs {metric.needs}, which the stream did not measure")
    try:
        return Value(metric.function(*arguments))
    except NotMeasuredError as missing:
        return Value(None, missing.message)
