"""Newton-Schulz and Muon: momentum as a value-less linear memory with an orthogonalised output (Nested Learning, eq. 42-44, 52).

Matrices are (..., rows, columns); leading axes (seeds first) are independent.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

Coefficients = tuple[float, float, float]

QUINTIC: Final[Coefficients] = (
    3.4445,
    -4.7750,
    2.0315,
)  # Jordan et al., Muon: steepest at zero, singular values end in [.65, 1.25]
CUBIC: Final[Coefficients] = (1.5, -0.5, 0.0)  # one GD step of ½‖O - G‖² + ½‖OᵀO - I‖² at rate ¼; needs >= 10 steps
ORTHOGONAL_DTYPE: Final = torch.bfloat16  # Muon's choice: the spread of the result hides the rounding


def newton_schulz(
    matrix: Tensor,
    steps: int = 5,
    coefficients: Coefficients = QUINTIC,
    dtype: torch.dtype | None = ORTHOGONAL_DTYPE,
    eps: float = 1e-7,
) -> Tensor:
    """Return U f(S) Vᵀ for matrix = U S Vᵀ, with f(S) near 1: each step is X <- aX + (bA + cA²)X, A = XXᵀ, from X/‖X‖_F.

    dtype: the products' precision, None for the matrix's own. The result has the matrix's dtype. Source: eq. 43 with the
    ‖O - G‖² that its own gradient contains; Jordan et al., Muon. Cost: 3 products per step on the short side.
    """
    a, b, c = coefficients
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x.to(dtype or matrix.dtype)
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp_min(eps)
    x = x.reshape(-1, *x.shape[-2:])
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(
            x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a
        )  # fused as in torch's Muon, so equal to it
    return (x.mT if tall else x).reshape(matrix.shape).to(matrix.dtype)


class MuonState(NamedTuple):
    momentum: Tensor


def muon_init(weights: Tensor) -> MuonState:
    return MuonState(torch.zeros_like(weights))


def muon(
    gradient: Tensor,
    state: MuonState,
    *,
    lr: float,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    ns_dtype: torch.dtype | None = ORTHOGONAL_DTYPE,
) -> tuple[Tensor, MuonState]:
    """Return (update, state) with W⁺ = W + update: -lr √max(1, rows/columns) NewtonSchulz(momentum), as `torch.optim.Muon`."""
    average = torch.lerp(state.momentum, gradient, 1 - momentum)
    direction = torch.lerp(gradient, average, momentum) if nesterov else average
    scale = lr * max(1.0, gradient.shape[-2] / gradient.shape[-1]) ** 0.5
    return -scale * newton_schulz(direction, ns_steps, dtype=ns_dtype), MuonState(average)
