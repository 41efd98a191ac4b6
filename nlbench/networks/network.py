"""What a network is: a pure function of stacked parameters and inputs.

Shapes: S seeds, B samples, F features; every parameter and every state tensor has the seed axis first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal

from torch import Tensor

from nlbench.batch import Problem
from nlbench.errors import NlbenchError

Tree = dict[str, Tensor]
"""Named tensors (S, …)."""

Taps = Callable[[str, Tensor, Tensor], Tensor]
"""(the name of a layer with weights, its inputs, its outputs) -> the outputs that go on from there, usually those given.

Inputs are (S, B, D_in) of a linear layer and (S, B, C, H, W) of a convolution or a norm; outputs come before the activation. The
layer's parameters are `<name>.weight` and, where it has one, `<name>.bias`.
"""

READOUT: Final = "head"
"""The name of a head's draws, unless a network says otherwise."""


class Network:
    """A network for S seeds at once, built as `cls(config, problem)`: it keeps no tensor, and every draw is named.

    `initial(seeds)[…][s]` depends on seeds[s] alone, so that seed 3 starts as it does among others.
    """

    taps: ClassVar[Literal["samples", "tokens"] | None] = "samples"
    """What the rows are of the layers' inputs and outputs that `apply` gives to `taps`; None where it gives none."""

    captured: bool = True
    """False where a training step asks the host something, and so cannot be a CUDA graph."""

    returns_logits: bool = False
    """True where the features are the logits already, and no head is put on them."""

    head: str = READOUT
    """The name under which the first values of a head on this network are drawn."""

    spread: float | None = None
    """The deviation of first weights, a head's too, where they are drawn from a normal distribution."""

    width: int
    """F."""

    periods: Mapping[str, int] = MappingProxyType({})
    """Steps between two updates of a parameter, by its name, for methods that keep periods; 1 of those not named."""

    restarts: frozenset[str] = frozenset()
    """The parameters that, by such methods, return to a learned initial state when the next slower period ends."""

    def __init__(self, config: Any, problem: Problem) -> None:
        """Check that the network fits the samples; raise `NlbenchError` with the way out where it does not."""

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        """Return the first parameters, and the first state, such as running statistics: what changes, but by no gradient."""
        raise NotImplementedError

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        """Return features (S, B, F) of inputs (1 or S, B, *input_shape), and the state after them: the given one unless training.

        The given tensors stay as they are.
        """
        raise NotImplementedError


def require_taps(network: Network, method: str) -> None:
    """Raise `NlbenchError` where a method needs what each layer of a network sees, and the network does not tell."""
    if network.taps != "samples":
        raise NlbenchError(
            f"{method} needs the inputs of every layer, which network {type(network).__name__.lower()!r} does not give.",
            'Use network.kind = "mlp", "convolutional" or "resnet18".',
        )


def image_shape(problem: Problem, network: str) -> tuple[int, int, int]:
    """Return the (channels, height, width) of a sample; raise `NlbenchError` where samples are no images."""
    shape = problem.input_shape
    if problem.sample not in ("image", None) or len(shape) not in (2, 3):
        what = f"a {problem.sample or 'vector'} of shape {shape}".replace("a features", "features")
        raise NlbenchError(
            f"network {network!r} needs images, and a sample of this stream is {what}: pixels in any order are no image.",
            'Use network.kind = "mlp", a stream of images, or arrays (n, channels, height, width).',
        )
    channels, height, width = (1, *shape)[-3:]
    return channels, height, width
