"""Retention: how strongly a memory is held to what it was, as the second term of one proximal step (Nested Learning, eq. 58-59).

A retention is the quadratic ½ tr((W - centre) H (W - centre)ᵀ). It answers three questions: where the centre is, what X
H⁻¹ is, and what the retention becomes after the keys X were written.

Shapes: W (..., d_v, d_k), X (..., n, d_k). Leading axes (seeds first) are independent memories.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

Scalar = float | Tensor  # a number, or a tensor over the leading axes


def per_matrix(value: Scalar) -> Scalar:
    """Return `value` shaped to multiply matrices: a tensor over leading axes (...) becomes (..., 1, 1)."""
    return value[..., None, None] if isinstance(value, Tensor) else value


def decay_towards(weights: Tensor, initial: Tensor | None, retain: Scalar) -> Tensor:
    """Return `initial + retain * (weights - initial)`; `initial=None` decays to zero, the paper's letter (eq. 86)."""
    retain = per_matrix(retain)
    return retain * weights if initial is None else initial + retain * (weights - initial)


class Retention(Protocol):
    """What `rules.ggd` needs to know of a retention."""

    def centre(self, weights: Tensor) -> Tensor: ...

    def weigh(self, keys: Tensor) -> Tensor: ...

    def after(self, weighed_keys: Tensor, gain: Tensor) -> Self: ...


@dataclass(frozen=True, slots=True)
class Euclidean:
    """(1/2η)‖W - W_t‖²: the step is plain gradient descent (dot loss) or DGD (L2 loss) at rate η."""

    rate: Scalar

    def centre(self, weights: Tensor) -> Tensor:
        return weights

    def weigh(self, keys: Tensor) -> Tensor:
        return per_matrix(self.rate) * keys

    def after(self, weighed_keys: Tensor, gain: Tensor) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class Decayed:
    """(1/2η)‖W - (W_0 + α(W_t - W_0))‖², α in [0, 1]; `initial=None` means W_0 = 0."""

    rate: Scalar
    retain: Scalar
    initial: Tensor | None = None

    def centre(self, weights: Tensor) -> Tensor:
        return decay_towards(weights, self.initial, self.retain)

    def weigh(self, keys: Tensor) -> Tensor:
        return per_matrix(self.rate) * keys

    def after(self, weighed_keys: Tensor, gain: Tensor) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class AccumulatedMetric:
    """½ tr((W - W_t) H (W - W_t)ᵀ) with H = λI + Σ k kᵀ over every key written so far: recursive least squares.

    `inverse_metric` is P = H⁻¹ (..., d_k, d_k). `retain` in (0, 1] fades H before each chunk (exponentially weighted
    least squares). With the L2 loss and given values the memory depends on the data only through Σ k kᵀ and Σ v kᵀ, so
    not on their order.
    """

    inverse_metric: Tensor
    retain: Scalar = 1.0

    def centre(self, weights: Tensor) -> Tensor:
        return weights

    def weigh(self, keys: Tensor) -> Tensor:
        return keys @ (self.inverse_metric / per_matrix(self.retain))

    def after(self, weighed_keys: Tensor, gain: Tensor) -> Self:
        faded = self.inverse_metric / per_matrix(self.retain)
        reduced = faded - weighed_keys.mT @ gain
        return replace(self, inverse_metric=0.5 * (reduced + reduced.mT))  # rounding must not break the symmetry


def ridge_metric(like: Tensor, ridge: float) -> Tensor:
    """Return the inverse metric (..., d_k, d_k) of an empty memory, I / ridge, for weights `like` (..., d_v, d_k)."""
    identity = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device) / ridge
    return identity.expand(*like.shape[:-2], *identity.shape)
