"""Any torch.nn.Module as a network: what one seed's module computes, for all seeds at once where that can be."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.parameter import is_lazy

from nlbench import catalog
from nlbench.batch import Problem
from nlbench.errors import Blamed, NlbenchError, Remark
from nlbench.networks.config import ModuleConfig
from nlbench.networks.initial import seeded
from nlbench.networks.network import Network, Taps, Tree

CALLS = "nlbench calls"
"""The state of a module that draws numbers in training, such as dropout: how often each seed has; no buffer has such a name."""

_REGISTER = (
    "Make them nn.Parameter or submodules, several in nn.ParameterList or nn.ModuleList: plain lists and tensors are not seen."
)


class Module(Network):
    """Parameters and buffers bear the module's names; those it does not train are state.

    Seeds are stacked by torch.func. A module that torch.func cannot map, or that draws numbers in training, is called one seed
    after another, which a warning says; its draws are decided by the seed and by how often it has drawn.
    """

    taps = None

    def __init__(self, config: ModuleConfig, problem: Problem, build: Callable[..., nn.Module] | nn.Module | None = None) -> None:
        """`build` stands for what `config.build` names; a module in its place is how every seed starts, pretrained or not."""
        self._place = config.build
        self._build = catalog.extension("networks", config.build, callable, "a function or class") if build is None else build
        self._given = _given(self._build, config.options, problem)
        table = "learner.network.options" if build is None else "learner.network"
        self._made_with = (
            f"It is made with input_shape and n_classes, each if it has an argument of that name, and with {table}.NAME."
        )
        self._problem = problem
        self.returns_logits = config.outputs == "logits"
        self._module = self._made(problem.seeds[0])
        self._file = getattr(sys.modules.get(type(self._module).__module__), "__file__", None) or ""  # none of a notebook's class
        self._places = _places(self._module)
        self._trained = [name for name, value in self._module.named_parameters() if value.requires_grad]
        self.width = self._probe()
        self._check_trained()
        self._module.to(problem.device)
        self.captured = not self._draws
        self._stacked = len(problem.seeds) > 1 and self._can_be_stacked()

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        tensors = [_tensors(self._made(seed)) for seed in seeds]
        stacked = {name: torch.stack([own[name] for own in tensors]).to(self._problem.device) for name in tensors[0]}
        parameters = {name: stacked.pop(name) for name in self._trained}
        return parameters, {**stacked, **({CALLS: torch.zeros(len(seeds), dtype=torch.int64)} if self._draws else {})}

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        if self._module.training != training:
            self._module.train(training)
        if training:  # a module writes to its buffers
            state = {name: value.clone() for name, value in state.items()}
        trained = {name: parameters[name] for name in self._trained}
        seeds = len(next(iter({**trained, **state}.values())))
        inputs = inputs.expand(seeds, *inputs.shape[1:])
        tensors = {**trained, **{name: value for name, value in state.items() if name != CALLS}}
        with Blamed(f"{self._place}.forward", self._file):
            if self._stacked:
                return vmap(self._call)(tensors, inputs), state
            found = list(self._each(tensors, state, inputs, training))
            return found[0][None] if len(found) == 1 else torch.stack(found), state

    def _call(self, tensors: Tree, inputs: Tensor) -> Tensor:
        """Return what the module computes with these tensors; what it puts in their places in training is copied into them.

        As torch.func.functional_call, which takes a fifth of a small step to find the same places anew, and to look for ties.
        """
        own = [held[key] for held, key, _ in self._places]
        try:
            for held, key, name in self._places:
                held[key] = tensors[name]
            found: Tensor = self._module(inputs)
            for held, key, name in self._places if self._module.training else ():
                if held[key] is not tensors[name]:
                    tensors[name].copy_(held[key].detach())
            return found
        finally:
            for (held, key, _), value in zip(self._places, own, strict=True):
                held[key] = value

    def _each(self, tensors: Tree, state: Tree, inputs: Tensor, training: bool) -> Iterator[Tensor]:
        """Yield what each seed's module returns."""
        names = list(tensors)
        # the gradient of one seed's view is a view, that of several a copy
        views = ((value.squeeze(0),) if len(inputs) == 1 else value.unbind() for value in tensors.values())
        for s, (own, x) in enumerate(zip(zip(*views, strict=True), inputs, strict=True)):
            named = dict(zip(names, own, strict=True))
            if training and CALLS in state:
                with seeded(self._problem.seeds[s], f"module/{int(state[CALLS][s])}", x.device):
                    yield self._call(named, x)
                state[CALLS][s] += 1
            else:
                yield self._call(named, x)

    def _made(self, seed: int) -> nn.Module:
        """Return a new module of one seed, lazy layers at their sizes; what it draws is decided by the seed alone."""
        if isinstance(self._build, nn.Module):
            if _is_lazy(self._build):
                raise NlbenchError(
                    f"{self._place}: the module has lazy layers without sizes.",
                    "Give a function that makes it, or call it once on a batch before.",
                )
            return deepcopy(self._build)
        with seeded(seed, "module"):
            with Blamed(self._place, remark=self._made_with):
                module = self._build(**self._given)
            if not isinstance(module, nn.Module):
                raise NlbenchError(f"{self._place} must return a torch.nn.Module, got {module!r}.", "Mend it.")
            if _is_lazy(module):
                with torch.no_grad(), Blamed(f"{self._place}.forward"):
                    module.eval()(torch.zeros(2, *self._problem.input_shape))
        return module

    def _check_trained(self) -> None:
        """Refuse a module in which there is nothing to train: of logits that are frozen, or of none but plain tensors."""
        if self._places and (self._trained or not self.returns_logits):
            return
        rule, hint = "registered", _REGISTER
        if self._places:
            rule, hint = "trained", 'Set learner.network.outputs = "features" for a head on what is frozen.'
        raise NlbenchError(f"{self._place}: the module must have parameters that are {rule}, got none.", hint)

    def _probe(self) -> int:
        """Return F, after one call in training as at test; note whether the module draws."""
        zeros = torch.zeros(2, *self._problem.input_shape)
        tensors = {name: value.clone() for name, value in _tensors(self._module).items()}
        found = []
        with seeded(0, "module"), torch.no_grad(), Blamed(f"{self._place}.forward"):
            for training in (False, True):
                before = torch.get_rng_state()
                self._module.train(training)
                found.append(self._call(tensors, zeros))
                self._draws = not torch.equal(before, torch.get_rng_state())
        for value in found:
            if not isinstance(value, Tensor) or value.ndim != 2 or len(value) != 2:
                raise NlbenchError(
                    f"{self._place}: the module must return (B, F), got {_shown(value)} for 2 samples.", "Mend it."
                )
        width = found[0].shape[1]
        if self.returns_logits and width != self._problem.n_classes:
            raise NlbenchError(
                f"{self._place}: the module returns {width} logits, and the stream has {self._problem.n_classes} classes.",
                'Set learner.network.outputs = "features" for a head on it, or let `build` take n_classes.',
            )
        return width

    def _can_be_stacked(self) -> bool:
        """Return whether torch.func maps the module over seeds; say why not."""
        reason = "it draws numbers in training"
        if not self._draws:
            inputs = torch.zeros(2, 2, *self._problem.input_shape, device=self._problem.device)
            parameters, state = self.initial(self._problem.seeds[:2])
            try:
                for training in (False, True):
                    self._module.train(training)
                    with torch.no_grad():
                        vmap(self._call)({**parameters, **state}, inputs)
                return True
            except (RuntimeError, ValueError, NotImplementedError) as error:
                reason = str(error).strip().split("\n")[0].rstrip(".")
        warnings.warn(
            f"{self._place}: its seeds are trained one after another, as torch.func cannot stack them: {reason}.",
            Remark,
            stacklevel=2,
        )
        return False


def _is_lazy(module: nn.Module) -> bool:
    return any(map(is_lazy, (*module.parameters(), *module.buffers())))


def _tensors(module: nn.Module) -> Tree:
    return {name: value.detach() for part in (module.named_parameters(), module.named_buffers()) for name, value in part}


def _given(build: object, options: dict[str, Any], problem: Problem) -> dict[str, Any]:
    """Return what a module is made with: the options, and of the problem what `build` names."""
    facts = {"input_shape": problem.input_shape, "n_classes": problem.n_classes}
    try:
        names = inspect.signature(build).parameters if callable(build) else {}
    except ValueError:  # built-in code
        names = {}
    return {**{name: value for name, value in facts.items() if name in names}, **options}


def _shown(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _places(module: nn.Module) -> list[tuple[dict[str, Any], str, str]]:
    """Return where each parameter and buffer lies, as a dictionary and its key there, and its name: of tied tensors the first."""
    names: dict[int, str] = {}
    found: list[tuple[dict[str, Any], str, str]] = []
    for place, part in module.named_modules():
        for held in (part._parameters, part._buffers):
            for key, value in held.items():
                if value is not None:
                    found.append((held, key, names.setdefault(id(value), f"{place}.{key}" if place else key)))
    return found
