"""Two numbers that put the logits of the newest classes right.

Shapes: S seeds, N samples, C classes.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.learners.replay.rehearsal import surprises

EASED: Final = 1e-3
"""Weight of |(α, β) - (1, 0)|² in the fit, so that it is finite where the samples held out are few and all right."""
ROUNDS: Final = 20
"""Of Newton's method."""


def fitted(logits: Tensor, labels: Tensor, classes: Tensor, newest: Tensor, there: Tensor) -> Tensor:
    """Return (S, 2): α and β of least mean cross-entropy, where α o + β stands for the logits o of the newest classes.

    logits   (S, N, C) of samples with labels (S, N), of which those `there` (S, N) count
    classes  (S, 1 or N, C): those that compete
    newest   (S, C)

    Source: Wu et al. 2019 (arXiv 1905.13260), eq. 4 and 5. Convex: Newton's method, of whose step the best share is taken.
    """
    classes = classes | ~there[..., None]  # where nothing is stored all compete: no weight would undo an infinite loss
    o, new, weights = logits.double(), newest[:, None], there / there.sum(1, keepdim=True).clamp(min=1)
    start = o.new_tensor([1.0, 0.0]).expand(len(o), 2)
    found, shares = start, 0.5 ** torch.arange(9, dtype=o.dtype, device=o.device)[:, None, None]

    def corrected(values: Tensor) -> Tensor:
        return torch.where(new, values[..., None, :1] * o + values[..., None, 1:], o)

    def loss(values: Tensor) -> Tensor:
        labels_, classes_ = (each.expand(*values.shape[:-1], *each.shape[1:]) for each in (labels, classes))
        own = surprises(corrected(values), labels_, classes_)
        return (weights * own).sum(-1) + EASED * (values - start).square().sum(-1)

    for _ in range(ROUNDS):
        answers = corrected(found).masked_fill(~classes, -torch.inf).softmax(2) * new
        errors = answers - F.one_hot(labels, o.shape[2]) * new
        slope = torch.stack([(weights * (errors * each).sum(2)).sum(1) for each in (o, torch.ones_like(o))], 1)
        slope = slope + 2 * EASED * (found - start)
        mean, mass, square = ((answers * each).sum(2) for each in (o, torch.ones_like(o), o.square()))
        a, b, c = ((weights * each).sum(1) for each in (square - mean**2, mean - mean * mass, mass - mass**2))
        a, c = a + 2 * EASED, c + 2 * EASED
        step = torch.stack([c * slope[:, 0] - b * slope[:, 1], a * slope[:, 1] - b * slope[:, 0]], 1) / (a * c - b * b)[:, None]
        tried = found - shares * step  # (9, S, 2)
        found = tried.gather(0, loss(tried).argmin(0)[None, :, None].expand(1, -1, 2))[0]
    return found.to(logits.dtype)
