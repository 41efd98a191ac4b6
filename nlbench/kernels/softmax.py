"""The loss of every classifier here: softmax cross-entropy over the logits that compete."""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean softmax cross-entropy over the competing classes (S,), and its gradient with respect to the logits (S,
    B, C).
    """
    log_shares = logits.masked_fill(~classes, -torch.inf).log_softmax(-1)
    labels = labels[..., None]
    loss = -log_shares.gather(-1, labels).mean((1, 2))
    delta = log_shares.exp().scatter_add_(-1, labels, torch.full_like(labels, -1.0, dtype=logits.dtype))
    return loss, delta.div_(logits.shape[1])
