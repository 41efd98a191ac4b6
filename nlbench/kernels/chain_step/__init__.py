"""One training step of a chain of residual blocks: forward, loss, backward, and every gradient added where it belongs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation, resolve
from nlbench.kernels.block_step import BlockWeights


class Linear(NamedTuple):
    """weight (S, d_out, d_in) and bias (S, d_out) of one layer, one replica a seed."""

    weight: Tensor
    bias: Tensor


class Chain(NamedTuple):
    """x = embedding(input), or the input itself where there is none, then x = x + down gelu(up norm(x)) for every block, then
    logits = readout(x).

    It also holds, with the same shapes, where the gradients of such a chain go.
    """

    embedding: Linear | None
    blocks: tuple[BlockWeights, ...]
    readout: Linear

    def tensors(self) -> list[Tensor]:
        """All of them in order: embedding, blocks, read-out."""
        return [*(self.embedding or ()), *(each for block in self.blocks for each in block), *self.readout]


def chain_step(
    chain: Chain,
    targets: Chain,
    factors: Sequence[float],
    inputs: Tensor,
    labels: Tensor,
    classes: Tensor,
    *,
    eps: float = 1e-5,
    backend: Backend | Bound = "auto",
) -> Tensor:
    """The mean softmax cross-entropy before the step, (S,). Every target grows by its factor times its gradient, in place.

    targets  a tensor of the chain itself (with the factor -rate: plain descent) or one that gathers gradients (factor 1)
    factors  one for each block; the embedding goes with the first block, the read-out with the last
    inputs   (S, B, d_in); labels (S, B), int64; classes (n_classes,), bool: the logits that compete

    Chain and targets must be contiguous. Cost: 6 B floating-point operations a weight and seed.

    Source: Nested Learning (arXiv 2512.24695), eq. 70-71, with the residual and norm of `block_step`.
    """
    held, grown = chain.tensors(), targets.tensors()
    if [each.shape for each in held] != [each.shape for each in grown] or len(factors) != len(chain.blocks):
        raise ValueError("chain_step: every tensor of the chain needs a target of its shape, and every block a factor")
    if len({tuple(each.shape for each in block) for block in chain.blocks}) != 1:
        raise ValueError("chain_step: all blocks must have the same shapes")
    if not all(each.is_contiguous() for each in (*held, *grown)):
        raise ValueError("chain_step: chain and targets are changed in place and must be contiguous")
    seeds, batch, width = inputs.shape
    entry = chain.embedding.weight if chain.embedding else chain.blocks[0].up_weight
    if entry.shape[::2] != (seeds, width) or labels.shape != (seeds, batch):
        raise ValueError(
            f"chain_step: inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)} do not fit first weights"
            f" {tuple(entry.shape)}"
        )
    if classes.shape != chain.readout.bias.shape[1:]:
        raise ValueError(f"chain_step: classes {tuple(classes.shape)} do not fit a read-out {tuple(chain.readout.weight.shape)}")
    return implementation(__name__, backend, inputs).step(chain, targets, factors, inputs, labels, classes, eps)


def load(*, backend: Backend | Bound = "auto") -> None:
    """Take the smallest step there is on CPU cores: machine code is loaded, or compiled, before a batch is timed."""
    one, row, label = torch.zeros(1, 1, 1), torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64)
    if resolve(__name__, backend, one) == "numba":
        chain = Chain(Linear(one, row), (BlockWeights(row, row, one, row, one, row),), Linear(one, row))
        chain_step(chain, chain, [0.0], one, label, torch.ones(1, dtype=torch.bool), backend=backend)
