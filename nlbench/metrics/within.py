"""Metrics of evaluations within tasks, and of what is predicted before it is learned."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from nlbench.metrics.matrix import Matrix, NotMeasuredError, check_shares, entries, measured

WINDOW: Final = 10  # evaluations, De Lange 2023 w
LEARNING_CURVE_BATCHES: Final = 10  # A-GEM beta
RECOVERED: Final = 0.95
"""Of the level before a change, the share at which a learner has recovered (Shaker & Hüllermeier 2015)."""


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


def _per_task(accuracy: Matrix, within: Within) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return (after_task, samples_seen, accuracy) of tasks 1..T, each in stream order."""
    check_shares(within.accuracy)
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
    R = entries(accuracy)
    last = measured(R[-1, -1], "R[T,T]")
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


def recovery_time(accuracy: Matrix, within: Within) -> float:
    """(1/(T−1)) Σ_{j≥2} r_j, r_j = the share of task j's samples after which A(j, n) first is at least .95 of A(j−1, end of j−1),
    1 where it never is, in [0, 1].

    How long a learner takes after each change to be as good on what holds now as it was on what held before; so it means nothing
    where tasks ask for other labels. After Shaker & Hüllermeier 2015 (duration of the drop). Resolution: the evaluations made.
    """
    T = np.shape(accuracy)[-1]
    if T < 2:
        raise NotMeasuredError(f"needs 2 tasks, the stream has {T}")
    tasks, times = _per_task(accuracy, within), []
    for task in range(2, T + 1):
        (after, _, values), (own_after, samples, own) = tasks[task - 2], tasks[task - 1]
        before, learning = values[after == task - 1], own_after == task - 1
        ends = np.flatnonzero(own_after == task)[:1]  # measured where the next task begins, or at the end of the stream
        if not (before.size and learning.any() and ends.size):
            raise NotMeasuredError(f"needs task {task - 1} at its end, and task {task} from its start to its end")
        curve = np.concatenate([own[learning], own[ends]])
        seen = np.concatenate([samples[learning], samples[ends]])
        recovered = np.flatnonzero(curve >= RECOVERED * before[0])
        times.append((seen[recovered[0]] - seen[0]) / (seen[-1] - seen[0]) if recovered.size else 1.0)
    return float(np.mean(times))


def prequential_accuracy(correct_share: np.ndarray, n: np.ndarray) -> float:
    """Σ_j n_j p_j / Σ_j n_j: accuracy on each batch before learning it, over all samples, in [0, 1].

    Prequential (test-then-train) evaluation. correct_share (T,) and n (T,): the share right and the number of samples of each
    task.
    """
    check_shares(np.asarray(correct_share))
    if not np.sum(n) > 0:
        raise NotMeasuredError("needs prequential evaluation, which the stream did not ask for")
    return float(np.dot(correct_share, n) / np.sum(n))
