"""The order of the inputs that is owed: evaluation reorders them to and fro, and what is large follows when it is next used."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Problem


class OwedOrder:
    """Where inputs have moved to since what follows late last followed.

    `owed` (S, n): input i of those that follow late belongs where `owed` says i.
    """

    def __init__(self, problem: Problem) -> None:
        self.owed = torch.arange(problem.n_inputs, device=problem.device).repeat(len(problem.seeds), 1)
        self._unsettled = False  # asking the device would make the host wait at every step

    def move(self, order: Tensor) -> None:
        """Take in that inputs were reordered, order (S, n)."""
        self.owed = self.owed.gather(1, order)
        self._unsettled = True

    def restore(self, owed: Tensor) -> None:
        """Take over what another owed: nothing where its inputs are in place, as those of keys that are no inputs always are."""
        self.owed = owed.to(self.owed.device).clone()
        self._unsettled = not torch.equal(self.owed, self._home())

    @property
    def unsettled(self) -> Tensor | None:
        """The order (S, n) to follow, which may be that in which all is; None where nothing moved."""
        return self.owed if self._unsettled else None

    def settle(self) -> Tensor | None:
        """Return the order (S, n) to follow now, or None where all is in place; nothing is owed afterwards."""
        if not self._unsettled:
            return None
        self._unsettled = False
        order, home = self.owed, self._home()
        if torch.equal(order, home):
            return None
        self.owed = home.clone()
        return order

    def _home(self) -> Tensor:
        return torch.arange(self.owed.shape[1], device=self.owed.device).expand_as(self.owed)


def permuted_square(matrix: Tensor, order: Tensor) -> Tensor:
    """Return matrix (S, n, n) with both axes in the order (S, n)."""
    return matrix.gather(1, order[:, :, None].expand_as(matrix)).gather(2, order[:, None].expand_as(matrix))


def with_last(order: Tensor) -> Tensor:
    """Return the order (S, n) of the inputs as one of n + 1 columns: the constant stays last."""
    return torch.cat([order, torch.full_like(order[:, :1], order.shape[1])], 1)
