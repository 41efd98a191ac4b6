"""Blocks over tokens: an embedding, then HOPE or Hope-Attention blocks of `nested`, stacked over seeds.

Shapes: S seeds, B samples, L tokens of a sample, D_in numbers in a token, F features.
Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 94-97.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several

from torch import Tensor, nn
from torch.func import functional_call

from nlbench.batch import Problem
from nlbench.errors import NlbenchError
from nlbench.kernels.backends import Backend
from nlbench.nested.continuum import ContinuumMemory
from nlbench.nested.hope import Hope
from nlbench.nested.layers import Draws, LayerNorm, Linear
from nlbench.nested.self_referential import SelfReferentialConfig
from nlbench.networks.config import MemoriesConfig, SequenceConfig
from nlbench.networks.network import Network, Taps, Tree


class Sequence(Network):
    """A sample is a short sequence of its parts, read by memories that start fresh for it, and its features are the mean over
    tokens; or it is one token of the stream, and the network's state is what the memories wrote along the stream.

    Labels enter no state. In training a batch is so many tokens in stream order; at test each sample follows the last of those,
    and leaves nothing behind.
    """

    taps = "tokens"

    def __init__(self, config: SequenceConfig, problem: Problem) -> None:
        self._config, self._device = config, problem.device
        self._backend: Backend = "reference" if problem.backend == "reference" else "auto"
        self._streams = config.context == "stream"
        self._tokens, self._token = (1, problem.n_inputs) if self._streams else tokens(config, problem)
        self._rows = not self._streams and config.tokens is None and problem.sample != "sequence"
        self.width = config.width
        made = self._made(problem.seeds)
        self.periods = periods(made)
        self.restarts = frozenset(restarts(made))
        self._module = made.to("meta")  # its parameters are given with every call

    def initial(self, seeds: Several[int]) -> tuple[Tree, Tree]:
        made = self._made(seeds)
        state = made.hope.initial_state(1) if self._streams else {}
        return (
            {name: value.detach().to(self._device) for name, value in made.named_parameters()},
            {name: value.detach().to(self._device) for name, value in state.items()},
        )

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        seeds = len(parameters["embed.weight"])
        x = self._cut(inputs).expand(seeds, -1, -1, -1)
        own = {name: parameters[name] for name, _ in self._module.named_parameters()}
        if not self._streams:
            return self._call(own, x, None, taps)[0].mean(2), state
        if training:
            before = {
                name: value.clone() for name, value in state.items()
            }  # what holds it may change it before gradients are asked
            features, after = self._call(own, x.transpose(1, 2), before, taps)
            return features[:, 0], {name: value.detach() for name, value in after.items()}
        rows = {name: value.expand(-1, x.shape[1], *value.shape[2:]) for name, value in state.items()}
        return self._call(own, x, rows, taps)[0][:, :, 0], state

    def _call(self, own: Tree, x: Tensor, before: Tree | None, taps: Taps | None) -> tuple[Tensor, Tree]:
        """Read tokens x (S, B, L, D_in) after a state; of linear layers, `taps` gets (S, B L, D)."""

        def tap(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
            assert taps is not None
            return lambda _, inputs, output: taps(name, inputs[0].flatten(1, -2), output.flatten(1, -2)).view_as(output)

        modules = (
            [] if taps is None else [(name, each) for name, each in self._module.named_modules() if isinstance(each, Linear)]
        )
        hooks = [each.register_forward_hook(tap(name)) for name, each in modules]
        try:
            return functional_call(self._module, own, (x, before))
        finally:
            for hook in hooks:
                hook.remove()

    def _cut(self, inputs: Tensor) -> Tensor:
        """Return tokens (1 or S, B, L, D_in); a row of an image holds all its channels."""
        if self._rows:
            return inputs.movedim(-2, 2).flatten(3)
        return inputs.flatten(2).unflatten(2, (self._tokens, self._token))

    def _made(self, seeds: Several[int]) -> Reader:
        draws, positions = Draws(tuple(seeds), seed_axis=True), 0 if self._streams else self._tokens
        return Reader(self._config, self._token, positions, draws, self._backend)


class Reader(nn.Module):
    """norm(hope(embed(x) + position)); without positions where tokens follow each other without end."""

    def __init__(self, config: SequenceConfig, token: int, tokens: int, draws: Draws, backend: Backend = "auto") -> None:
        super().__init__()
        width, memories = config.width, config.memories or MemoriesConfig()
        self.embed = Linear(token, width, draws.within("embed"))
        self.position = draws.normal("position", tokens, width, std=0.5) if tokens else None
        self.hope = Hope(
            width,
            config.heads,
            config.periods,
            depth=config.depth,
            draws=draws.within("hope"),
            cms=config.memory,
            mixer=config.mixer,
            config=SelfReferentialConfig(chunk=config.chunk, outer_chunk=config.chunk, backend=backend, **memories.model_dump()),
        )
        self.norm = LayerNorm(width, draws.within("norm"))

    def forward(self, x: Tensor, state: Tree | None) -> tuple[Tensor, Tree]:
        """Return (S, B, L, F) of tokens (S, B, L, D_in), and the state after the last one."""
        embedded = self.embed(x)
        read, after = self.hope(embedded if self.position is None else embedded + self.position.unsqueeze(-3), state)
        return self.norm(read), after


def tokens(config: SequenceConfig, problem: Problem) -> tuple[int, int]:
    """Return how many tokens a sample is and the numbers in one. Raises `NlbenchError` where it cannot be cut so."""
    shape, count = problem.input_shape, config.tokens
    if count is None:
        if problem.sample == "vector" or len(shape) < 2:
            raise NlbenchError(
                f"network 'sequence': a vector of {problem.n_inputs} numbers has no rows.", "Set network.tokens, its equal parts."
            )
        count = shape[-2] if len(shape) < 4 and problem.sample != "sequence" else shape[0]
    if problem.n_inputs % count:
        raise NlbenchError(
            f"network.tokens: must divide the {problem.n_inputs} numbers of a sample, got {count}.", "Cut it into equal parts."
        )
    return count, problem.n_inputs // count


def periods(module: nn.Module) -> dict[str, int]:
    """Return the period of every parameter of the continuum memories of a module, by its name there."""
    return {
        f"{path}.{name}": period
        for path, memory in _memories(module)
        for index, period in enumerate(memory.periods)
        for name in memory.level_parameters(index)
    }


def restarts(module: nn.Module) -> list[str]:
    """Return the parameters of nested memories that return to an initial state."""
    return [
        f"{path}.{name}"
        for path, memory in _memories(module)
        for index in range(len(memory.periods))
        for name in memory.initial_parameters(index)
    ]


def _memories(module: nn.Module) -> list[tuple[str, ContinuumMemory]]:
    return [(path, each) for path, each in module.named_modules() if isinstance(each, ContinuumMemory)]
