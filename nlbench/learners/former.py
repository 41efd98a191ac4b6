"""The network before: a learner's own as it was when the last task ended. Methods ask it what it answered then."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.networks.network import Tree


class Former:
    """Parameters and state of a network, made with the learner, so that their bytes are known before a task has ended."""

    def __init__(self) -> None:
        self.parameters: Tree = {}
        self.state: Tree = {}
        self.there = False
        """Whether a task has ended; before that nothing may ask."""

    def take_in(self, parameters: Tree, state: Tree) -> None:
        """Make room for parameters that the learner takes in, and for the network's state."""
        for own, new in ((self.parameters, parameters), (self.state, state)):
            own.update({name: value.detach().clone() for name, value in new.items() if name not in own})

    @torch.no_grad()
    def keep(self, parameters: Tree, state: Tree) -> None:
        """Be what the learner is now, in place: a captured step goes on using the tensors."""
        for own, now in ((self.parameters, parameters), (self.state, state)):
            for name, value in own.items():
                value.copy_(now[name])
        self.there = True

    def held(self) -> list[Tensor]:
        """Return every tensor, for the `held` of a captured learner."""
        return [*self.parameters.values(), *self.state.values()]
