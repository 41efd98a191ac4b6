"""A learner from outside the package behind a checked boundary: what it raises or returns wrongly is told as its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from nlbench import state
from nlbench.batch import Batch, Batches, Learner, Problem, observes_batches
from nlbench.errors import Blamed, NlbenchError
from nlbench.learners import global_state
from nlbench.learners.generators import GlobalGenerators
from nlbench.specs.problems import near

_WAY_OUT: Final = "No record was written. Mend the learner."
_LEARNER: Final = "learner/"
_DRAWS: Final = "draws/"
_SEEDS_FIRST: Final = "Tensors have the seed axis first; a learner that is written for one seed says single_seed = True."


class External(Learner):
    """A learner of somebody else's, each call of it checked. It has the seed axis unless its class is `single_seed`."""

    outside = True

    def __init__(self, kind: type[Learner], place: str, config: Any, problem: Problem) -> None:
        self._place = place
        self._file = getattr(sys.modules.get(kind.__module__), "__file__", "")
        self._seeds = () if kind.single_seed else (len(problem.seeds),)
        self._begun: dict[str, Tensor] | None = None
        for method in ("observe", "predict"):
            if getattr(kind, method) is getattr(Learner, method):
                raise NlbenchError(f"{place} must define the method {method}.", "See nlbench.Learner.")
        self._generators = GlobalGenerators(problem.seeds, problem.device)
        options = Options(config) if type(config) is dict else None
        self._options = _said(config) if options else ""
        with self._generators, Blamed(f"{place}.__init__", self._file, self._options):
            self.learner = kind(config if options is None else options, problem)
        if options is not None:
            self._check_read(options)
        self.backend = self.learner.backend
        self.takes_batches = bool(self._seeds) and observes_batches(self.learner)
        if hasattr(kind, "permute_inputs"):
            self.permute_inputs = partial(self._call, "permute_inputs")

    def _check_read(self, options: Options) -> None:
        """Refuse options that nobody looked at while the learner was made, unless it keeps them to look at later."""
        kept = [name for name, value in vars(self.learner).items() if value is options]
        for name in kept:
            vars(self.learner)[name] = dict(options)
        unread = [name for name in options.names() if name not in options.read]
        if unread and not kept:
            known = sorted(options.read)
            rule = f"is no option that {self._place} reads{near(unread[0], known, all_else=True)}"
            raise NlbenchError(f"learner.{unread[0]}: {rule}.", "Leave it out, or read it in __init__.")

    def observe(self, batch: Batch) -> Tensor:
        loss = self._learning("observe", batch)
        if self._seeds == () and isinstance(loss, float):
            return torch.tensor(loss)
        return self._tensor("observe", loss, self._seeds, "the loss before the update").detach()

    def observe_batches(self, batches: Batches) -> Tensor:
        losses, count = self._learning("observe_batches", batches), -(-batches.rows.shape[1] // batches.size)
        return self._tensor("observe_batches", losses, (count, *self._seeds), "the losses before each update, (K, S)").detach()

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        before, modes = self._generators.states(), [(module, module.training) for module in self._modules()]
        logits = self._call("predict", inputs, task)
        for module, training in modes:
            module.training = training  # `eval()` within `predict` is how most are written
        if drawn := self._generators.drawn_since(before):
            self._generators.put_back(before)
            raise NlbenchError(
                f"{self._place}.predict drew numbers from {' and '.join(drawn)}: evaluation must draw nothing.",
                "Call eval() on its modules before they predict, or draw when it is made.",
            )
        if isinstance(logits, Tensor) and logits.is_floating_point():
            return logits
        shape = "(S, N, C)" if self._seeds else "(N, C)"
        raise self._wrong("predict", f"a float tensor {shape} of logits", logits)

    def end_task(self) -> None:
        self._learning("end_task")

    def state_dict(self) -> dict[str, Tensor]:
        own = {f"{_LEARNER}{name}": value for name, value in self._call("state_dict").items()}
        for number, line in enumerate(self._not_held()):
            own[f"{number}/{state.STRUCTURE}"] = state.obstacle(line)
        return {**own, **{f"{_DRAWS}{name}": value for name, value in state.collect(self._generators).items()}}

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        try:
            self._call("load_state_dict", _under(_LEARNER, saved))
        except NlbenchError as error:
            if isinstance(error.__cause__, state.UnlikeError):  # of what was saved, and not of the learner's code
                raise error.__cause__ from None
            raise
        state.restore(self._generators, _under(_DRAWS, saved))

    def everything(self) -> dict[str, Tensor]:
        """Return what it holds, whatever its `state_dict` says of that and its class of `made_anew`, and the data that its
        classes and the modules that define them hold.
        """
        kind = type(self.learner)
        found = self._call("state_dict") if kind.state_dict is not Learner.state_dict else {}
        for prefix, value in {_LEARNER: self.learner, **global_state.everything(kind), _DRAWS: self._generators}.items():
            collected = state.collect(value, made_anew=True)
            found |= {f"{prefix}{name}": each for name, each in collected.items()}
        return found

    def _global_state(self) -> dict[str, Tensor]:
        """Return what the learner's code uses and the learner does not hold, to be compared."""
        return state.digested(state.collect(global_state.Data(global_state.used(type(self.learner))), gradients=False))

    def _not_held(self) -> Iterator[str]:
        """Yield where the learner keeps what it has learned, as far as that is not in itself: it would be lost."""
        for place, value in global_state.used(type(self.learner)).items():
            if global_state.is_iterator(value):
                yield f"{place}: an iterator, whose place nothing can read"
        changed = state.first_difference(self._begun, self._global_state()) if self._begun is not None else None
        if changed is not None:
            yield f"{changed} has changed since the run began, and the learner does not hold it"

    def memory_bytes(self) -> dict[str, int]:
        return self._call("memory_bytes")

    def diagnostics(self) -> dict[str, Tensor]:
        values = self._call("diagnostics")
        if not isinstance(values, Mapping):
            raise self._wrong("diagnostics", "a dict of tensors", values)
        return {name: self._tensor("diagnostics", value, self._seeds, name) for name, value in values.items()}

    def _learning(self, method: str, *arguments: Any) -> Any:
        if self._begun is None:
            self._begun = self._global_state()
        with torch.enable_grad():
            return self._call(method, *arguments)

    def _call(self, method: str, *arguments: Any) -> Any:
        hint = f"{'' if self._seeds == () else _SEEDS_FIRST} {self._options}".strip()
        with self._generators, Blamed(f"{self._place}.{method}", self._file, hint):
            return getattr(self.learner, method)(*arguments)

    def _modules(self) -> Iterator[nn.Module]:
        for value in vars(self.learner).values():
            if isinstance(value, nn.Module):
                yield from value.modules()

    def _tensor(self, method: str, value: Any, shape: tuple[int, ...], meaning: str) -> Tensor:
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            of = "one value a seed" if shape else "one value"
            raise self._wrong(method, f"{meaning}: a tensor of shape {shape}, {of}", value)
        return value

    def _wrong(self, method: str, rule: str, value: Any) -> NlbenchError:
        if isinstance(value, Tensor):
            got = f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
        else:
            got = repr(value) if value is None or isinstance(value, float | int | str) else f"a {type(value).__name__}"
        return NlbenchError(f"{self._place}.{method} must return {rule}, got {got}.", _WAY_OUT)


class Options(dict[str, Any]):
    """A learner's options, which notes those that were looked for."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.read: set[str] = set()

    def names(self) -> list[str]:
        """Return the options there are, without looking at any."""
        return list(super().__iter__())

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.read.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        self.read.add(name)
        return super().pop(name, *default)

    def __iter__(self) -> Iterator[str]:
        self.read.update(self.names())
        return super().__iter__()

    def keys(self) -> Any:
        self.read.update(self.names())
        return super().keys()

    def values(self) -> Any:
        self.read.update(self.names())
        return super().values()

    def items(self) -> Any:
        self.read.update(self.names())
        return super().items()


def _said(options: Mapping[str, Any]) -> str:
    """Return which options a learner was given, whose kind only its own code can judge."""
    return f"It was given {', '.join(f'learner.{name} = {value!r:.60}' for name, value in options.items())}."


def _under(prefix: str, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}
