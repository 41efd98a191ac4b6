"""Update rules of one weight matrix: gradient descent, DGD and the general proximal step (Nested Learning, §4.5, eq. 54-60).

Legend: W (..., d_v, d_k) weights reading y = W x; X (..., n, d_k) inputs; D (..., n, d_v) local surprises δ = ∂L/∂y;
leading axes (seeds first) are independent. Every rule returns `Step(kept, written)`: the new weights are `kept +
written`, and momentum belongs on `written` alone.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.retention import Euclidean, Retention, Scalar, per_matrix

Loss = Literal["dot", "l2"]
R = TypeVar("R", bound=Retention)


class Step(NamedTuple):
    """What a rule keeps of the old weights and what it writes; the new weights are the sum."""

    kept: Tensor
    written: Tensor

    @property
    def weights(self) -> Tensor:
        return self.kept + self.written


def per_token(rate: Scalar, inputs: Tensor) -> Tensor:
    """Return rates as (..., n, 1): a number or (...) is the same for all n tokens, (..., n) is one rate per token."""
    rates = torch.as_tensor(rate, dtype=inputs.dtype, device=inputs.device)
    if rates.ndim < inputs.ndim - 1:
        rates = rates[..., None]
    return rates[..., None]


def gd(weights: Tensor, inputs: Tensor, surprises: Tensor, rate: Scalar) -> Step:
    """Return the gradient step W - Σ η_t δ_t x_tᵀ; weights γ_t as rates over a window make it the Omega rule (eq. 68)."""
    return Step(weights, -(per_token(rate, inputs) * surprises).mT @ inputs)


def proximal_rate(rate: Tensor, inputs: Tensor) -> Tensor:
    """Return η' = η / (1 + η‖x‖²), shape (..., n), the rate of one exact proximal step; eq. 57 prints the case ‖x‖ = 1."""
    return rate / (1 + rate * inputs.square().sum(-1))


def dgd_token(weights: Tensor, inputs: Tensor, surprises: Tensor, rate: Tensor) -> Step:
    """Return DGD for one token: W - η'(W x + δ) xᵀ, x (..., d_k), δ (..., d_v), any ‖x‖ (eq. 54-57, corrected)."""
    step_rate = proximal_rate(rate, inputs)[..., None, None]
    inputs = inputs[..., None, :]
    return Step(weights - step_rate * (weights @ inputs.mT) @ inputs, -step_rate * surprises[..., :, None] * inputs)


def proximal_gain(inputs: Tensor, weighed: Tensor) -> Tensor:
    """Return (I + X P Xᵀ)⁻¹ X P, shape (..., n, d_k), given X and X P with P positive semi-definite. Cost: one n x n Cholesky."""
    gram = weighed @ inputs.mT
    factor, _ = torch.linalg.cholesky_ex(gram + torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device))
    return torch.cholesky_solve(weighed, factor)


def ggd(weights: Tensor, inputs: Tensor, values: Tensor, retention: R, loss: Loss = "l2") -> tuple[Step, R]:
    """Return the exact minimiser of Σ loss(W x_t, u_t) + retention(W), and the retention after these inputs (eq. 59).

    `values` u (..., n, d_v) are held fixed. Self-generated u = -δ makes it generalised gradient descent: dot loss is
    `gd`, L2 is `dgd`. Given values make it a memory of its own (L2 with `AccumulatedMetric` is recursive least squares).
    `ggd_lp` has the L_p loss.
    """
    centre = retention.centre(weights)
    weighed = retention.weigh(inputs)
    gain = proximal_gain(inputs, weighed)
    if loss == "l2":
        step = Step(centre - (centre @ inputs.mT) @ gain, values.mT @ gain)
    elif loss == "dot":
        step = Step(centre, values.mT @ weighed)
    else:
        raise UnknownNameError("loss", loss, ("dot", "l2"))
    return step, retention.after(weighed, gain)


def gm(momentum: Tensor, keys: Tensor, gradients: Tensor, retention: R, loss: Loss = "l2") -> tuple[Step, R]:
    """Return generalised momentum: `ggd` on the momentum memory, which maps given keys (..., n, d_k) to -g (..., n, d_v) (§4.5).

    With the dot loss, key 1 and `Decayed(rate, retain)` it is m⁺ = αm - ηg (eq. 33); `weights + momentum` descends.
    """
    return ggd(momentum, keys, -gradients, retention, loss)


def ggd_lp(weights: Tensor, inputs: Tensor, values: Tensor, retention: R, p: float) -> tuple[Step, R]:
    """Return the exact minimiser of (1/p)‖W x - u‖_p^p + retention(W) for one token, x (..., d_k), u (..., d_v), p >= 1.

    Each output row is a scalar root: r + ξ sign(r)|r|^(p-1) = r_0 with ξ = x P xᵀ. p = 2 is `ggd`; p = 1 soft-thresholds
    the error, so an outlier moves the memory by at most ξ. Differentiable: one Newton step after the bisection carries
    the gradient.
    """
    if p < 1:
        raise NlbenchError(f"ggd_lp: p must be >= 1, got {p}.", "Below 1 the loss is not convex and the step is not unique.")
    centre = retention.centre(weights)
    inputs = inputs[..., None, :]
    weighed = retention.weigh(inputs)
    strength = (weighed @ inputs.mT)[..., 0]
    start = (centre @ inputs.mT)[..., 0] - values
    with torch.no_grad():
        low, high = torch.zeros_like(start), start.abs()
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = middle + strength * middle.pow(p - 1) < start.abs()
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    root = high.clamp_min(torch.finfo(high.dtype).tiny)
    slope = 1 + strength * (p - 1) * root.pow(p - 2)
    root = root - (root + strength * root.pow(p - 1) - start.abs()) / slope
    moved = torch.where(start.abs() > (strength if p == 1 else 0.0), root, 0.0)
    written = (start.sign() * moved - start)[..., :, None] * (
        weighed / strength[..., None].clamp_min(torch.finfo(high.dtype).tiny)
    )
    return Step(centre, written), retention.after(weighed, proximal_gain(inputs, weighed))


def dgd(weights: Tensor, inputs: Tensor, surprises: Tensor, rate: Scalar, kappa: float = 1.0) -> Step:
    """Return DGD for n tokens at once: W - (κ W Xᵀ + Dᵀ)(I + κη XXᵀ)⁻¹ η X, exact for any ‖x‖, one rate for all or one per token.

    It minimises Σ η_t (κ/2)‖W x_t + δ_t/κ‖² + ½‖W - W_t‖², the gradient held fixed. κ in [0, 1]: 1 is the paper, 0 is
    `gd`. For an L2 loss with target v the fixed point is v / (1 + κ): full strength under-writes by two. Cost: one Cholesky of
    the smaller of n x n and d_k x d_k.
    """
    if kappa == 0:
        return gd(weights, inputs, surprises, rate)
    # As a root inside the rows, η and κ keep the system symmetric; the floor keeps the root's gradient finite at η = 0.
    root = (kappa * per_token(rate, inputs)).clamp_min(torch.finfo(inputs.dtype).tiny).sqrt()
    inputs, values = root * inputs, root * -surprises / kappa
    if inputs.shape[-2] <= inputs.shape[-1]:
        return ggd(weights, inputs, values, Euclidean(1.0))[0]
    # of more tokens than inputs, XXᵀ has no full rank, and its rounding errors would be all that I is added to
    metric = inputs.mT @ inputs + torch.eye(inputs.shape[-1], dtype=inputs.dtype, device=inputs.device)
    factor, _ = torch.linalg.cholesky_ex(metric)
    return Step(*(torch.cholesky_solve(each, factor).mT for each in (weights.mT, inputs.mT @ values)))


def with_momentum(step: Step, momentum: Tensor, decay: Scalar) -> tuple[Tensor, Tensor]:
    """Return (weights, momentum): S⁺ = μS + written, W⁺ = kept + S⁺; what is kept stays outside the momentum (Table 6)."""
    momentum = per_matrix(decay) * momentum + step.written
    return step.kept + momentum, momentum
