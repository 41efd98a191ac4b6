"""A learner after its run as one file, and made of it again: tensors as safetensors, what they are as JSON in its header.

Nothing that a file names is imported or opened. Classes of a user's own are given by whoever loads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as saved_tensors
from torch import Tensor

from nlbench import catalog, closure
from nlbench.batch import Learner, Problem
from nlbench.catalog import Group
from nlbench.errors import NlbenchError, RecordError
from nlbench.learners.building import build
from nlbench.plan import Machine, Plan
from nlbench.records.store import replace_file
from nlbench.runner.preparing import problem, torch_device
from nlbench.specs import learner_spec
from nlbench.state import UnlikeError, left_out

if TYPE_CHECKING:
    from nlbench.protocol import Meeting

FORMAT: Final = "nlbench learner 1"
SUFFIX: Final = ".safetensors"
_NAMES: Final[Mapping[str, tuple[Group, ...]]] = {"kind": ("learners", "networks"), "build": ()}
"""Keys of a recipe whose values name code, and the groups in which those of ours are rows."""
_MOST_NAMED: Final = 8
"""Files of a folder that a message names."""


@dataclass(frozen=True)
class Trained:
    """A learner that was trained, ready to predict.

    seeds  those it holds; predictions have one row of each, or none where `seed` chose one
    """

    model: str
    stream: str
    seeds: tuple[int, ...]
    learner: Learner
    problem: Problem
    seed: int | None = None

    @torch.no_grad()
    def predict(self, inputs: Tensor | np.ndarray, task: int | None = None) -> Tensor:
        """Return logits (S, N, C) of inputs (N, *input_shape); (N, C) of one `seed`. Nothing scales them: see `load_learner`.

        Where the stream told the task at test, `task` is its number, 1…T.
        """
        shown = torch.as_tensor(inputs, dtype=torch.float32, device=self.problem.device)
        if tuple(shown.shape[1:]) != self.problem.input_shape:
            raise NlbenchError(f"inputs must be (N, {', '.join(map(str, self.problem.input_shape))}), got {tuple(shown.shape)}.")
        if (task is not None) != (self.problem.scenario == "task-il"):
            needed = "needs the task" if task is None else "is not told the task"
            raise NlbenchError(f"{self.model} learned {self.problem.scenario} and {needed}: predict(inputs, task).")
        logits = self.learner.predict(shown[None], task)
        return logits if self.seed is None else logits[self.seeds.index(self.seed)]

    def __repr__(self) -> str:
        return f"<nlbench.Trained {self.model} on {self.stream}, seeds {', '.join(map(str, self.seeds))}>"


def _path(plan: Plan, folder: Path) -> Path:
    """Return where the learner of exactly this plan, seeds included, is saved in a folder."""
    return folder / f"{plan.model}.{plan.stream_name}.{plan.fingerprint}.{plan.run}{SUFFIX}"


def save(plan: Plan, meeting: Meeting, folder: Path) -> Path:
    """Write the learner of a run that ended, and return where. Raises `NlbenchError` where it holds what cannot be saved."""
    meeting.order.show(0)
    state = meeting.learner.state_dict()
    if missing := left_out(state):
        raise NlbenchError(f"the learner was not saved: it holds what cannot be: {'; '.join(missing)}.")
    facts = {
        "format": FORMAT,
        "model": plan.model,
        "stream": plan.stream_name,
        "fingerprint": plan.fingerprint,
        "learner": _table(plan.learner.learner.model_dump(mode="json")),
        **problem(plan, meeting.stream, meeting.learner.backend).written(),
    }
    plain = {name: value.detach().contiguous().clone() for name, value in state.items()}
    path = _path(plan, folder)
    replace_file(path, saved_tensors(plain, {"nlbench": json.dumps(facts)}))
    return path


def load(path: Path, using: Sequence[object], machine: Machine, seed: int | None = None) -> Trained:
    """Return the learner that a file holds; `using` are the classes of a user's own that it may be made of, as such or by name.

    Raises `NlbenchError` for one that is needed and not given, `RecordError` for a file that is none.
    """
    facts, state = _read(path)
    table = _with_given(path, facts["learner"], using)
    spec = learner_spec({"learner": table}, str(path), name=str(facts["model"]))
    seeds = tuple(map(int, facts["seeds"]))
    if seed is not None and seed not in seeds:
        raise NlbenchError(f"{path}: holds no seed {seed}.", f"It holds {', '.join(map(str, seeds))}.")
    told = Problem.read(facts, torch_device(machine.device), machine.backend)
    with torch.no_grad():
        learner = build(spec.learner, told)
        try:
            learner.load_state_dict(state)
        except UnlikeError as error:
            kind = str(facts["learner"].get("kind"))
            other = f", or it is not the {kind} that the run had: give load_learner that one" if ":" in kind else ""
            hint = f"Its code has changed since{other}."
            raise RecordError(f"{path}: does not fit the learner that it names: {error}.", hint) from None
    return Trained(spec.name, str(facts["stream"]), seeds, learner, told, seed)


def find(folder: Path, plan: Plan, seed: int) -> Path:
    """Return the file in a folder that holds a seed of a plan's learner. Raises `NlbenchError` where none does."""
    for path in sorted(folder.glob(f"{plan.model}.{plan.stream_name}.{plan.fingerprint}.*{SUFFIX}")):
        if seed in _read(path)[0]["seeds"]:
            return path
    raise NlbenchError(
        f"{folder}: holds no {plan.model} on {plan.stream_name} of seed {seed}.", "Run it with force=True to save it."
    )


def _table(dumped: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's `[learner]` table of a dumped config: of an external one, its options beside its kind."""
    return {"kind": dumped["kind"], **dumped["options"]} if set(dumped) == {"kind", "options"} else dumped


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if path.is_dir():
        names = sorted(each.name for each in path.glob(f"*{SUFFIX}"))
        lie = (
            f"In it: {', '.join(names[:_MOST_NAMED])}{', …' if len(names) > _MOST_NAMED else ''}."
            if names
            else "None lies in it."
        )
        raise RecordError(f"{path}: is a folder, and a saved learner is one file.", lie)
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["nlbench"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        if facts["format"] != FORMAT or not isinstance(facts["learner"], dict):
            raise ValueError(f"is of the format {facts['format']!r}")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise RecordError(f"{path}: holds no learner that nlbench saved: {error}.", "nlbench run --save writes one.") from None
    return facts, state


def _with_given(path: Path, table: dict[str, Any], using: Sequence[object]) -> dict[str, Any]:
    """Return a recipe's table in which every name of a user's own code is that which was given for it."""
    given = [each if isinstance(each, str) else closure.give(each) for each in using]
    by_label = {name.rpartition(":")[2]: name for name in given}

    def exchanged(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: exchanged(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [exchanged(one) for one in value]
        groups = _NAMES.get(key)
        if groups is None or not isinstance(value, str) or _ours(value, groups):
            return value
        found = by_label.get(value.rpartition(":")[2])
        if found is None:
            raise NlbenchError(*_not_given(path, value))
        return found

    return exchanged(table)


def _not_given(path: Path, value: str) -> tuple[str, str]:
    """Return what is missing where a name of a user's own code was not given, and what is to be given for it."""
    module, _, label = value.rpartition(":")
    kind = label.removesuffix(closure.OBJECT)
    if kind != label:
        given = f"Give one made the same way, load_learner(path, {kind}(…)): what it learned is taken from the file."
        return f"{path}: was made of an object of {module}:{kind}, which no name stands for.", given
    if module == closure.MAIN:
        given = f'Give it: load_learner(path, {label}), or "./file.py:{label}" where a file holds it.'
        return f"{path}: was made of {label} of the session that ran, which no name stands for.", given
    given = f'Give it: load_learner(path, "{value}"), or the class or function itself.'
    return f"{path}: was made of {value}, which is imported only if you name it.", given


def _ours(name: str, groups: Sequence[Group]) -> bool:
    """Return whether a name is no code of a user's own: a row of ours, or one of the other kinds in a recipe, which are words."""
    external = ":" in name or any(name in catalog.registered(group) for group in get_args(Group))
    return not external or any(catalog.built_in(group, name) for group in groups)
