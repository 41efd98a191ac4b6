"""A name -> what it stands for: the file that declares a stream or a recipe, or the extension that does the work.

An extension is a learner, a network, a stream kind, a data set or a metric. One row of a table makes one of ours known; each
group has its table in the module of its name:

    LEARNERS = {"mlp": Extension("nlbench.learners.mlp:Mlp", "nlbench.learners.config:MlpConfig"), ...}

Rows are strings, so that to know the names costs no import. The config of a learner, a network or a stream kind stands beside its
class in a module without torch: a plan needs the one, a run the other. A source's row names an object and has no config; metrics
are rows of `nlbench.metrics.METRICS`. Somebody else's extension is an entry point of the group `nlbench.<group>`, or is named as
`./file.py:Name` or `package.module:Name`; its class may carry its config as `Config`. A class that Python gave is named too.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, Final, Literal

from nlbench import closure
from nlbench.catalog.extension import Extension
from nlbench.catalog.learners import LEARNERS
from nlbench.catalog.networks import NETWORKS
from nlbench.catalog.sources import SOURCES
from nlbench.catalog.streams import STREAMS
from nlbench.closure import Reached
from nlbench.errors import Blamed, NlbenchError, UnknownNameError

Kind = Literal["stream", "model", "claim"]
Group = Literal["learners", "networks", "streams", "sources", "metrics"]

_PACKAGE: Final = Path(__file__).resolve().parents[1]
ROOT: Final = _PACKAGE / "_catalog" if (_PACKAGE / "_catalog").is_dir() else _PACKAGE.parent
"""Holds `tasks/`, `baselines/`, `results/reference/` and `results/claims/`: the wheel's own copy, or the checkout."""

FOLDERS: Final[dict[Kind, str]] = {"stream": "tasks", "model": "baselines", "claim": "results/claims"}
REFERENCE: Final = ROOT / "results" / "reference"

_TABLES: Final[dict[Group, dict[str, Extension]]] = {
    "learners": LEARNERS,
    "networks": NETWORKS,
    "streams": STREAMS,
    "sources": SOURCES,
    "metrics": {},
}
_ONE: Final[dict[Group, str]] = {
    "learners": "learner",
    "networks": "network",
    "streams": "stream kind",
    "sources": "data set",
    "metrics": "metric",
}


PLAIN: Final = ("naive", "finetune", "finetuning", "fine-tuning")
"""What plain fine-tuning is called elsewhere: here a model of that kind has its network's name."""


def names(kind: Kind) -> list[str]:
    """Return the declared names of one kind, sorted."""
    return sorted(path.stem for path in (ROOT / FOLDERS[kind]).glob("*.toml"))


def find(kind: Kind, name: str) -> Path:
    """Return the file of a declared name, or the path itself where one is given. Raises `UnknownNameError` with the nearest
    names.
    """
    if name.endswith(".py"):
        raise NlbenchError(f"{name}: names no class.", f"Name a {kind} of a file of your own as {name}:Name.")
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise NlbenchError(f"{name}: there is no such {kind} file.", f"`nlbench list {kind}s` shows the declared names.")
        return path
    path = ROOT / FOLDERS[kind] / f"{name}.toml"
    if not path.is_file():
        raise unknown(kind, name)
    return path


def unknown(kind: Kind, name: str, registered: Iterable[str] = ()) -> UnknownNameError:
    """Return the error for a name of no model or stream: that it is one of the other kind, or the nearest and how one's own is
    named.
    """
    for other in ("model", "stream"):
        if other != kind and name in names(other):
            return UnknownNameError(kind, name, (), f"It is a {other}: name it with --{other}.")
    if kind == "stream" and os.path.exists(name):
        return UnknownNameError(kind, name, (), f"What lies here is named ./{name}.")
    if os.path.isfile(f"{name}.toml"):  # also of what no file can be called
        return UnknownNameError(kind, name, (), f"What lies here is named ./{name}.toml.")
    if kind == "model" and name in PLAIN:
        return UnknownNameError(kind, name, (), "Plain fine-tuning, the naive bound, is the model mlp.")
    own = {"model": "./file.py:Class", "stream": "./file.toml, or its data ./file.csv or ./folder"}.get(kind, "./file.toml")
    return UnknownNameError(kind, name, [*names(kind), *registered], f"One of your own is named {own}.")


def extensions(group: Group) -> list[str]:
    """Return the names of a group's extensions: ours in the table's order, then what is registered, sorted."""
    return [*_TABLES[group], *sorted(registered(group).keys() - _TABLES[group].keys())]


def registered(group: Group) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name; looked up anew where what is installed has changed."""
    installed = tuple((place, os.stat(place).st_mtime_ns) for place in sys.path if place and os.path.exists(place))
    return _installed(installed, entry_points).get(f"nlbench.{group}", {})


@cache
def _installed(
    installed: tuple[tuple[str, int], ...], found: Callable[[], EntryPoints]
) -> Mapping[str, Mapping[str, EntryPoint]]:
    """Return the entry points of all that is installed, by group and name: every package is looked at once."""
    points = found()
    ours = (group for group in points.groups if group.startswith("nlbench."))
    return {group: {point.name: point for point in points.select(group=group)} for group in ours}


def extension(group: Group, name: str, fits: Callable[[Any], bool], rule: str, way_out: str = "") -> Any:
    """Return what a name stands for: a row of the group's table, an entry point, `./file.py:Name` or `package.module:Name`.

    `fits` says whether an object is one of the group; `rule` says so in words, `way_out` what to do where it is none. Raises
    `NlbenchError` where it does not fit or cannot be imported, `UnknownNameError` with the nearest names where there is none.
    """
    value = _named(group, name, fits)
    if not fits(value):
        raise NlbenchError(f"{name}: must be {rule}, got {value!r}.", way_out)
    return value


def config(group: Group, name: str) -> Any:
    """Return the config class that a table's row names. Raises `KeyError` for an extension that is not ours."""
    module, _, attribute = _TABLES[group][name].config.partition(":")
    return getattr(importlib.import_module(module), attribute)


def built_in(group: Group, name: str) -> bool:
    """Return whether a name is a row of the group's table."""
    return name in _TABLES[group]


def kind_of(part: type) -> tuple[Group, str] | None:
    """Return the group and the name of a class of ours, None for any other."""
    name = f"{part.__module__}:{part.__qualname__}"
    return next(((group, kind) for group, table in _TABLES.items() for kind, row in table.items() if row.place == name), None)


def needs(learner: str) -> tuple[str, ...]:
    """Return what a learner of ours needs, such as boundaries; nothing of another, whose class alone can say."""
    return LEARNERS.get(learner, Extension("")).needs


def keeps(learner: str) -> str:
    """Return what a learner of ours keeps beside its network, such as samples; "" of another."""
    return LEARNERS.get(learner, Extension("")).keeps


def place(group: Group, name: str) -> tuple[str, str]:
    """Return in which module or file an extension is, `package.module` or `./file.py`, and under which name there.

    Raises `UnknownNameError` with the nearest names where there is none. Imports nothing.
    """
    table = _TABLES[group]
    where, _, attribute = (table[name].place if name in table else name).rpartition(":")
    if where:
        return where, attribute
    points = registered(group)
    if name not in points:
        raise UnknownNameError(_ONE[group], name, [*table, *points])
    return points[name].module, points[name].attr


def modules(group: Group, name: str) -> list[str]:
    """Return where an extension of ours and its config are, each as `module:Name`."""
    row = _TABLES[group].get(name, Extension(name))
    return [place for place in (row.place, row.config) if place]


def brought_in(group: Group, name: str) -> Reached | None:
    """Return what an extension that is not ours brings in, None for one of the package. Imports nothing."""
    kind = closure.given(name)
    if kind is not None:
        return closure.reached_by(name, kind)
    where, attribute = place(group, name)
    if where == closure.MAIN:
        raise UnknownNameError(f"{_ONE[group]} of this session", attribute, vars(sys.modules[where]))
    return None if closure.ours(where) else closure.outside(where, _ONE[group])


def _named(group: Group, name: str, fits: Callable[[Any], bool]) -> Any:
    kind = closure.given(name)
    if kind is not None:
        return kind
    where, attribute = place(group, name)
    reached = brought_in(group, name)
    with Blamed(where, os.path.realpath(where) if where.endswith(".py") else ""):
        module = importlib.import_module(where) if reached is None else closure.load(where, reached)
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            known = [label for label, one in vars(module).items() if fits(one)]
            raise UnknownNameError(f"{_ONE[group]} in {where}", attribute, known)
        value = getattr(value, part)
    return value


__all__ = [
    "FOLDERS",
    "LEARNERS",
    "NETWORKS",
    "REFERENCE",
    "ROOT",
    "SOURCES",
    "STREAMS",
    "Extension",
    "Group",
    "Kind",
    "brought_in",
    "built_in",
    "config",
    "extension",
    "extensions",
    "find",
    "keeps",
    "modules",
    "names",
    "needs",
    "place",
    "registered",
    "unknown",
]
