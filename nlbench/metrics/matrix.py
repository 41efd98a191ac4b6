"""Metrics of the accuracy matrix.

`R` is the matrix of one seed, shape (T+1, T): `R[i, j-1]` is the accuracy on the test set of task j after training on tasks 1..i;
row 0 is before any training. Entries that were not measured are masked. NaN and infinity are errors, never values. Functions of
`R` also take a stack (S, T+1, T) and then return (S,).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlbench.errors import NlbenchError, NotFiniteError

Matrix = Any  # (T+1, T) or (S, T+1, T): np.ndarray, or np.ma.MaskedArray where entries were not measured


class NotMeasuredError(NlbenchError):
    """A metric needs what was not measured; the message is the reason that stands beside the null."""


def entries(accuracy: Matrix, *, at_least: int = 1) -> np.ndarray:
    """Return a plain copy of the matrix with NaN where it is masked; refuse NaN, infinity and values outside [0, 1]."""
    known = ~np.ma.getmaskarray(accuracy)
    data = np.array(np.ma.getdata(accuracy), dtype=np.float64)
    if data.ndim < 2 or data.shape[-2] != data.shape[-1] + 1:
        raise NlbenchError(f"an accuracy matrix has shape (T+1, T), got {data.shape}.")
    check_shares(data[known])
    if data.shape[-1] < at_least:
        raise NotMeasuredError(f"needs {at_least} tasks, the stream has {data.shape[-1]}")
    data[~known] = np.nan
    return data


def check_shares(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise NotFiniteError("an accuracy is NaN or infinite.", "What was not measured is masked, never NaN.")
    if ((values < 0) | (values > 1)).any():
        raise NlbenchError(f"an accuracy lies in [0, 1], got {values[(values < 0) | (values > 1)][0]!r}.")


def measured(value: np.ndarray, needs: str) -> Any:
    """Return the value as a float, or as an array over seeds; NaN can only come from a masked entry here."""
    if np.isnan(value).any():
        raise NotMeasuredError(f"needs {needs}, which the stream did not measure")
    return float(value) if np.ndim(value) == 0 else value


def _diagonal(R: np.ndarray) -> np.ndarray:
    """Return R[j, j] for j = 1..T: each task right after it was learned."""
    return np.diagonal(R[..., 1:, :], axis1=-2, axis2=-1)


def average_accuracy(accuracy: Matrix) -> Any:
    """(1/T) Σ_j R[T,j]: mean accuracy over tasks at the end, in [0, 1]. Lopez-Paz & Ranzato 2017."""
    return measured(entries(accuracy)[..., -1, :].mean(-1), "the last row")


def average_incremental_accuracy(accuracy: Matrix) -> Any:
    """(1/T) Σ_i (1/i) Σ_{j≤i} R[i,j]: mean over time of the mean over seen tasks, in [0, 1].

    Rebuffi et al. 2017, with tasks weighted equally.
    """
    R = entries(accuracy)
    T = R.shape[-1]
    seen = np.tri(T, dtype=bool)
    rows = np.where(seen, R[..., 1:, :], 0.0).sum(-1) / np.arange(1, T + 1)
    return measured(rows.mean(-1), "every seen task after every task")


def learning_accuracy(accuracy: Matrix) -> Any:
    """(1/T) Σ_j R[j,j]: accuracy on each task right after learning it, in [0, 1]. Riemer et al. 2019."""
    return measured(_diagonal(entries(accuracy)).mean(-1), "the diagonal")


def _forgotten(accuracy: Matrix) -> np.ndarray:
    """Return max_{1≤l≤T−1} R[l,j] − R[T,j] for j < T. Row 0 and the last row are not in the maximum; rows before task j are."""
    R = entries(accuracy, at_least=2)
    return R[..., 1:-1, :-1].max(-2) - R[..., -1, :-1]


def forgetting(accuracy: Matrix) -> Any:
    """(1/(T−1)) Σ_{j<T} (max_{1≤l≤T−1} R[l,j] − R[T,j]), in [−1, 1]. Chaudhry et al. 2018, eq. 3."""
    return measured(_forgotten(accuracy).mean(-1), "rows 1..T of tasks 1..T−1, future columns included")


def forgetting_first(accuracy: Matrix) -> Any:
    """(1/(T−1)) Σ_{j<T} (R[j,j] − R[T,j]), in [−1, 1]: minus backward transfer; what Avalanche calls forgetting."""
    return 0.0 - backward_transfer(accuracy)


def forgetting_worst(accuracy: Matrix) -> Any:
    """max_{j<T} (max_{1≤l≤T−1} R[l,j] − R[T,j]): the most forgotten task, in [−1, 1]. Chaudhry et al. 2019 (A-GEM), table 2."""
    return measured(_forgotten(accuracy).max(-1), "rows 1..T of tasks 1..T−1, future columns included")


def backward_transfer(accuracy: Matrix) -> Any:
    """(1/(T−1)) Σ_{j<T} (R[T,j] − R[j,j]), in [−1, 1]; negative means forgetting. Lopez-Paz & Ranzato 2017."""
    R = entries(accuracy, at_least=2)
    return measured((R[..., -1, :-1] - _diagonal(R)[..., :-1]).mean(-1), "the diagonal and the last row")


def forward_transfer(accuracy: Matrix) -> Any:
    """(1/(T−1)) Σ_{j≥2} (R[j−1,j] − R[0,j]), in [−1, 1]: transfer to a task not yet seen. Lopez-Paz & Ranzato 2017."""
    R = entries(accuracy, at_least=2)
    ahead = np.diagonal(R[..., 1:, 1:], axis1=-2, axis2=-1)
    return measured((ahead - R[..., 0, 1:]).mean(-1), "row 0 and the entries above the diagonal")


def intransigence(accuracy: Matrix, joint: Matrix) -> Any:
    """(1/T) Σ_j (R*[j,j] − R[j,j]), R* = joint training on tasks 1..j, in [−1, 1].

    Chaudhry et al. 2018, averaged over tasks.
    """
    return measured((_diagonal(entries(joint)) - _diagonal(entries(accuracy))).mean(-1), "both diagonals")


def gain(accuracy: Matrix, reset: Matrix) -> Any:
    """(1/T) Σ_j (R[j,j] − R°[j,j]), R° = the reset twin, which starts anew at every task, in [−1, 1].

    What a task is learned better by, as others came before it: below 0, the past is a burden. After the gain of CL-Bench 2026.
    """
    return measured((_diagonal(entries(accuracy)) - _diagonal(entries(reset))).mean(-1), "both diagonals")


def gap_closed(accuracy: Matrix, naive: Matrix, joint: Matrix) -> float:
    """(ACC − ACC_naive) / (ACC_joint − ACC_naive): the share of the gap that is closed, unbounded.

    0 is plain fine-tuning, 1 is joint training.
    """
    low, high = average_accuracy(naive), average_accuracy(joint)
    if not high > low:
        raise NotMeasuredError("needs joint training to beat plain fine-tuning")
    return (average_accuracy(accuracy) - low) / (high - low)
