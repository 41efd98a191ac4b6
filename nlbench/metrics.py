"""Named metrics of continual learning, each a pure function of what was measured.

`R` is the accuracy matrix of one seed, shape (T+1, T): `R[i, j-1]` is the accuracy on the test set of task j after training on
tasks 1..i; row 0 is before any training. Entries that were not measured are masked. NaN and infinity are errors, never values.
Functions of `R` also take a stack (S, T+1, T) and then return (S,). A different definition is a different name: public libraries
give ten answers under one name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from nlbench import catalog
from nlbench.errors import NlbenchError, NotFiniteError, UnknownNameError

WINDOW: Final = 10  # evaluations, De Lange 2023 w
LEARNING_CURVE_BATCHES: Final = 10  # A-GEM beta

Matrix = Any  # (T+1, T) or (S, T+1, T): np.ndarray, or np.ma.MaskedArray where entries were not measured
Needs = Literal["accuracy", "accuracy_within", "prequential_accuracy", "references"]


class NotMeasuredError(NlbenchError):
    """A metric needs what was not measured; the message is the reason that stands beside the null."""


class Value(NamedTuple):
    """A metric's value, or null with the reason."""

    value: float | None
    reason: str = ""


class Within(NamedTuple):
    """Evaluations within tasks of one seed, in long form: four arrays of one length, in any order.

    The protocol evaluates at the start of each task (batch 0), after each of its first 10 batches (the current task only), and
    every `evaluate_every` samples (all seen tasks), always on the same fixed subsample of a task; and once more at the end of the
    stream.
    """

    after_task: np.ndarray  # tasks completed: the task being learned is after_task + 1
    on_task: np.ndarray  # 1..T
    samples_seen: np.ndarray  # of the whole stream
    accuracy: np.ndarray  # in [0, 1]


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


def _entries(accuracy: Matrix, *, at_least: int = 1) -> np.ndarray:
    """Return a plain copy of the matrix with NaN where it is masked; refuse NaN, infinity and values outside [0, 1]."""
    measured = ~np.ma.getmaskarray(accuracy)
    data = np.array(np.ma.getdata(accuracy), dtype=np.float64)
    if data.ndim < 2 or data.shape[-2] != data.shape[-1] + 1:
        raise NlbenchError(f"an accuracy matrix has shape (T+1, T), got {data.shape}.")
    _check(data[measured])
    if data.shape[-1] < at_least:
        raise NotMeasuredError(f"needs {at_least} tasks, the stream has {data.shape[-1]}")
    data[~measured] = np.nan
    return data


def _check(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise NotFiniteError("an accuracy is NaN or infinite.", "What was not measured is masked, never NaN.")
    if ((values < 0) | (values > 1)).any():
        raise NlbenchError(f"an accuracy lies in [0, 1], got {values[(values < 0) | (values > 1)][0]!r}.")


def _measured(value: np.ndarray, needs: str) -> Any:
    """Return the value as a float, or as an array over seeds; NaN can only come from a masked entry here."""
    if np.isnan(value).any():
        raise NotMeasuredError(f"needs {needs}, which the stream did not measure")
    return float(value) if np.ndim(value) == 0 else value


def _diagonal(R: np.ndarray) -> np.ndarray:
    """Return R[j, j] for j = 1..T: each task right after it was learned."""
    return np.diagonal(R[..., 1:, :], axis1=-2, axis2=-1)


def average_accuracy(accuracy: Matrix) -> Any:
    """(1/T) Σ_j R[T,j]: mean accuracy over tasks at the end, in [0, 1]. Lopez-Paz & Ranzato 2017."""
    return _measured(_entries(accuracy)[..., -1, :].mean(-1), "the last row")


def average_incremental_accuracy(accuracy: Matrix) -> Any:
    """(1/T) Σ_i (1/i) Σ_{j≤i} R[i,j]: mean over time of the mean over seen tasks, in [0, 1].

    Rebuffi et al. 2017, with tasks weighted equally.
    """
    R = _entries(accuracy)
    T = R.shape[-1]
    seen = np.tri(T, dtype=bool)
    rows = np.where(seen, R[..., 1:, :], 0.0).sum(-1) / np.arange(1, T + 1)
    return _measured(rows.mean(-1), "every seen task after every task")


def learning_accuracy(accuracy: Matrix) -> Any:
    """(1/T) Σ_j R[j,j]: accuracy on each task right after learning it, in [0, 1]. Riemer et al. 2019."""
    return _measured(_diagonal(_entries(accuracy)).mean(-1), "the diagonal")


def _forgotten(accuracy: Matrix) -> np.ndarray:
    """Return max_{1≤l≤T−1} R[l,j] − R[T,j] for j < T. Row 0 and the last row are not in the maximum; rows before task j are."""
    R = _entries(accuracy, at_least=2)
    return R[..., 1:-1, :-1].max(-2) - R[..., -1, :-1]


def forgetting(accuracy: Matrix) -> Any:
    """(1/(T−1)) Σ_{j<T} (max_{1≤l≤T−1} R[l,j] − R[T,j]), in [−1, 1]. Chaudhry et al. 2018, eq. 3."""
    return _measured(_forgotten(accuracy).mean(-1), "rows 1..T of tasks 1..T−1, future columns included")


def forgetting_first(accuracy: Matrix) -> Any:
    """(1/(T−1)) Σ_{j<T} (R[j,j] − R[T,j]), in [−1, 1]: minus backward transfer; what Avalanche calls forgetting."""
    return 0.0 - backward_transfer(accuracy)


def forgetting_worst(accuracy: Matrix) -> Any:
    """max_{j<T} (max_{1≤l≤T−1} R[l,j] − R[T,j]): the most forgotten task, in [−1, 1]. Chaudhry et al. 2019 (A-GEM), table 2."""
    return _measured(_forgotten(accuracy).max(-1), "rows 1..T of tasks 1..T−1, future columns included")


def backward_transfer(accuracy: Matrix) -> Any:
    """(1/(T−1)) Σ_{j<T} (R[T,j] − R[j,j]), in [−1, 1]; negative means forgetting. Lopez-Paz & Ranzato 2017."""
    R = _entries(accuracy, at_least=2)
    return _measured((R[..., -1, :-1] - _diagonal(R)[..., :-1]).mean(-1), "the diagonal and the last row")


def forward_transfer(accuracy: Matrix) -> Any:
    """(1/(T−1)) Σ_{j≥2} (R[j−1,j] − R[0,j]), in [−1, 1]: transfer to a task not yet seen. Lopez-Paz & Ranzato 2017."""
    R = _entries(accuracy, at_least=2)
    ahead = np.diagonal(R[..., 1:, 1:], axis1=-2, axis2=-1)
    return _measured((ahead - R[..., 0, 1:]).mean(-1), "row 0 and the entries above the diagonal")


def _per_task(accuracy: Matrix, within: Within) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return (after_task, samples_seen, accuracy) of tasks 1..T, each in stream order."""
    _check(within.accuracy)
    order = np.lexsort((within.samples_seen, within.on_task))
    after, on, samples, values = (np.asarray(column)[order] for column in within)
    T = np.shape(accuracy)[-1]
    bounds = np.searchsorted(on, np.arange(1, T + 2))
    return [(after[a:b], samples[a:b], values[a:b]) for a, b in pairwise(bounds)]


def _task_ends(within: Within, n_tasks: int) -> np.ndarray:
    """Return the samples seen when task j = 1..T−1 ended: the first evaluation of the next task is at its batch 0."""
    ends = np.full(n_tasks - 1, np.nan)
    for task in range(1, n_tasks):
        of_next = within.samples_seen[within.after_task == task]
        if of_next.size:
            ends[task - 1] = of_next.min()
    return ends


def min_accuracy(accuracy: Matrix, within: Within) -> float:
    """(1/(T−1)) Σ_{j<T} min_{n > end of task j} A(j, n): mean of each old task's lowest point, in [0, 1].

    De Lange et al. 2023, min-ACC. The minimum is over the evaluations that were made: a coarser `evaluate_every` can only miss
    lower points.
    """
    T = np.shape(accuracy)[-1]
    if T < 2:
        raise NotMeasuredError(f"needs 2 tasks, the stream has {T}")
    ends = _task_ends(within, T)
    minima = []
    for task, (_, samples, values) in enumerate(_per_task(accuracy, within)[:-1], start=1):
        later = values[samples > ends[task - 1]]
        if not later.size:
            raise NotMeasuredError(f"needs evaluations of task {task} after its end")
        minima.append(later.min())
    return float(np.mean(minima))


def worst_case_accuracy(accuracy: Matrix, within: Within) -> float:
    """(1/T) R[T,T] + (1 − 1/T) min_accuracy: the last task as learned, the others at their lowest, in [0, 1].

    De Lange et al. 2023, WC-ACC.
    """
    R = _entries(accuracy)
    last = _measured(R[-1, -1], "R[T,T]")
    T = R.shape[-1]
    return last / T + (1 - 1 / T) * min_accuracy(accuracy, within)


def _largest_fall(values: np.ndarray, window: int) -> float:
    """Return the largest values[m] − values[n], m ≤ n, both inside `window` consecutive entries."""
    lags = range(1, min(window, values.size))
    return max((float((values[:-lag] - values[lag:]).max()) for lag in lags), default=0.0)


def _windowed(accuracy: Matrix, within: Within, sign: int) -> float:
    changes = []
    for task, (_, _, values) in enumerate(_per_task(accuracy, within), start=1):
        if values.size < 2:
            raise NotMeasuredError(f"needs two evaluations of task {task} within tasks")
        changes.append(max(0.0, _largest_fall(sign * values, WINDOW)))
    return float(np.mean(changes))


def windowed_forgetting(accuracy: Matrix, within: Within) -> float:
    """Mean over tasks of the largest drop between two of w = 10 consecutive evaluations of the task, in [0, 1].

    De Lange et al. 2023, WF^w.
    """
    return _windowed(accuracy, within, 1)


def windowed_plasticity(accuracy: Matrix, within: Within) -> float:
    """Mean over tasks of the largest rise between two of w = 10 consecutive evaluations of the task, in [0, 1].

    De Lange et al. 2023, WP^w.
    """
    return _windowed(accuracy, within, -1)


def learning_curve_area(accuracy: Matrix, within: Within) -> float:
    """(1/(β+1)) Σ_{b=0..β} (1/T) Σ_k a(k, b): task k after its first b batches, β = 10, in [0, 1].

    Chaudhry et al. 2019 (A-GEM), eq. 4-5.
    """
    curves = []
    for task, (after, samples, values) in enumerate(_per_task(accuracy, within), start=1):
        learning = after == task - 1
        steps = np.diff(samples[learning][: LEARNING_CURVE_BATCHES + 1])
        whole = steps.size == LEARNING_CURVE_BATCHES and (steps[:-1] == steps[0]).all() and 0 < steps[-1] <= steps[0]
        if not whole or (task == 1 and samples[learning][0] != 0):
            raise NotMeasuredError(f"needs task {task} after each of its batches 0..{LEARNING_CURVE_BATCHES}")
        curves.append(values[learning][: LEARNING_CURVE_BATCHES + 1].mean())
    return float(np.mean(curves))


def prequential_accuracy(correct_share: np.ndarray, n: np.ndarray) -> float:
    """Σ_j n_j p_j / Σ_j n_j: accuracy on each batch before learning it, over all samples, in [0, 1].

    Prequential (test-then-train) evaluation. correct_share (T,) and n (T,): the share right and the number of samples of each
    task.
    """
    _check(np.asarray(correct_share))
    if not np.sum(n) > 0:
        raise NotMeasuredError("needs prequential evaluation, which the stream did not ask for")
    return float(np.dot(correct_share, n) / np.sum(n))


def intransigence(accuracy: Matrix, joint: Matrix) -> Any:
    """(1/T) Σ_j (R*[j,j] − R[j,j]), R* = joint training on tasks 1..j, in [−1, 1].

    Chaudhry et al. 2018, averaged over tasks.
    """
    return _measured((_diagonal(_entries(joint)) - _diagonal(_entries(accuracy))).mean(-1), "both diagonals")


def gap_closed(accuracy: Matrix, naive: Matrix, joint: Matrix) -> float:
    """(ACC − ACC_naive) / (ACC_joint − ACC_naive): the share of the gap that is closed, unbounded.

    0 is plain fine-tuning, 1 is joint training.
    """
    low, high = average_accuracy(naive), average_accuracy(joint)
    if not high > low:
        raise NotMeasuredError("needs joint training to beat plain fine-tuning")
    return (average_accuracy(accuracy) - low) / (high - low)


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
        "prequential_accuracy",
        "Σ_j n_j p_j / Σ_j n_j",
        _SHARE,
        "higher",
        "test-then-train",
        "prequential_accuracy",
        prequential_accuracy,
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
_CONFLICT: Final = "tasks contradict each other: see learning and prequential accuracy"


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
) -> dict[str, Value]:
    """Return every metric of one seed that needs no other record, null with its reason where an entry it needs was not measured.

    accuracy (T+1, T), masked where not measured; within: the seed's evaluations within tasks; prequential: (share right, samples)
    per task; conflict: whether tasks contradict each other, where metrics of the past mean nothing. Raises NotFiniteError on NaN
    or infinity. Changes none of its inputs.
    """
    _entries(accuracy)
    arguments: dict[Needs, tuple[Any, ...] | None] = {
        "accuracy": (accuracy,),
        "accuracy_within": None if within is None else (accuracy, within),
        "prequential_accuracy": prequential,
    }
    return {name: measure(m, arguments[m.needs], conflict=conflict) for name, m in METRICS.items() if m.needs in arguments}


def measure(metric: Metric, arguments: tuple[Any, ...] | None, *, conflict: bool = False) -> Value:
    """Return a metric of its function's arguments, or null with the reason if they are None or lack what it needs, or if tasks
    contradict each other and it is of the past.
    """
    if conflict and metric.name in OF_THE_PAST:
        return Value(None, _CONFLICT)
    if arguments is None:
        return Value(None, f"needs {metric.needs}, which the stream did not measure")
    try:
        return Value(metric.function(*arguments))
    except NotMeasuredError as missing:
        return Value(None, missing.message)
