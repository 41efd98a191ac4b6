"""Whose a chunk of labelled keys is: a context that there is, or a new one; what its values are written, and what is kept by
context.

A value is a pair (context, class), known by the count and the sum of its keys. Which context a chunk belongs to decides its
likelihood beside that of a new one; contexts that would have given it other labels are doubted. Nothing waits for the host, so
on a CUDA device chunk after chunk may be captured.

Shapes: S seeds, B tokens of a chunk, D width of a key, G contexts that there is room for, C classes.
Source: task inference by a Gaussian mixture with a tied diagonal covariance; the choice of a context or a new one is a Chinese
restaurant process's, taken greedily by chunks (Aldous 1985; Anderson 1991; for continual learning Heald et al. 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation, resolve
from nlbench.kernels.contexts.reference import NEVER, Spread, dimension, freedom, spread
from nlbench.kernels.contexts.values import Assigned, Rules, Values
from nlbench.kernels.shapes import check_shapes

__all__ = ["NEVER", "Assigned", "Rules", "Spread", "Values", "assign", "dimension", "freedom", "load", "spread", "turn", "write"]


def assign(
    values: Values, keys: Tensor, labels: Tensor, dimensions: Tensor, rules: Rules, *, backend: Backend | Bound = "auto"
) -> Assigned:
    """The context that a chunk of keys (S, B, D) and labels (S, B) belongs to, and what that one expected. Doubts are changed.
    Something must have been written before.

    dimensions  (S,), of how many independent features surprises consist (`dimension`)
    Cost: B G C D multiply-adds a seed.
    """
    _check(values, keys, labels)
    return Assigned(*implementation(__name__, backend, keys).assign(values, keys, labels, dimensions, rules))


def write(
    values: Values,
    keys: Tensor,
    labels: Tensor,
    chosen: Tensor,
    weights: Tensor,
    *,
    kept: float,
    backend: Backend | Bound = "auto",
) -> None:
    """Write the chunk of keys (S, B, D) and labels (S, B) as values of the chosen contexts (S,), weighted (S, B); the belief
    keeps the share `kept` of what it was. Cost: 2 B D multiply-adds a seed.
    """
    _check(values, keys, labels)
    implementation(__name__, backend, keys).write(values, keys, labels, chosen, weights, kept)


def turn(
    store: Tensor, weights: Tensor, present: Tensor, used: Tensor, contexts: Tensor, *, backend: Backend | Bound = "auto"
) -> None:
    """Leave weights (S, C, D), those of the `present` contexts (S,), in the store (S, G, C, D), and take up those of `contexts`
    (S,), which are present and used (S, G) then. All but `contexts` are contiguous and changed in place.
    """
    check_shapes("turn", store=(store, "S G C D"), weights=(weights, "S C D"))
    implementation(__name__, backend, weights).turn(store, weights, present, used, contexts)


def load(*, backend: Backend | Bound = "auto") -> None:
    """Use each program of CPU cores once, on one number: its machine code is loaded, or compiled where this version never ran,
    before a batch is timed. Other backends have none.
    """
    one, none = torch.ones(1, 1, 1), torch.zeros(1, 1, dtype=torch.int64)
    if resolve(__name__, backend, one) == "numba":
        values = Values(one[0].clone(), one[None].clone(), one.clone(), one[0].clone(), one[0].clone(), used=none[0] + 1)
        assign(values, one, none, one[0, 0], Rules(1, 0.0, 0.5, 1, 1.0, 0.0, -1.0), backend=backend)
        write(values, one, none, none[0], one[0], kept=0.0, backend=backend)


def _check(values: Values, keys: Tensor, labels: Tensor) -> None:
    check_shapes(
        "contexts",
        keys=(keys, "S B D"),
        squares=(values.squares, "S D"),
        sums=(values.sums, "S G C D"),
        counts=(values.counts, "S G C"),
        belief=(values.belief, "S G"),
        doubts=(values.doubts, "S G"),
    )
    if (labels.shape, values.used.shape) != (keys.shape[:2], keys.shape[:1]):
        raise ValueError(f"contexts: labels {tuple(labels.shape)} and used {tuple(values.used.shape)} must be (S, B) and (S,)")
