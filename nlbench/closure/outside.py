"""Which modules from outside the package a run can reach: a user's own files, everything but the standard library and what lies
under site-packages.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final

from nlbench.closure.kept import SyntaxCache
from nlbench.closure.package import Package
from nlbench.closure.syntax import Import, Source
from nlbench.errors import NlbenchError
from nlbench.ownership import is_own, is_own_file

NAMED: Final = "./"
"""Stands before the name of a file that was named itself, beside the names of modules."""

DEPENDENCIES: Final = frozenset({"numpy", "scipy", "sklearn", "torch", "torchvision"})
"""What this package itself is made of: a record says their versions, and they are no part of what identifies a run."""


@dataclass(frozen=True)
class Reached:
    """What a part from outside the package reaches."""

    digests: Mapping[str, str]
    """By module, of its syntax, or of its bytes where it is compiled; a named file by its file name, wherever it lies."""
    files: Mapping[str, Path]
    """Where each of these modules lies."""
    package: tuple[str, ...]
    """The package's own modules that these import."""
    unknown: tuple[str, ...] = ()
    """What is in it that cannot be told from its like, of a class that was given as it is."""


class Outside:
    """The modules that files of a user's own bring in, found as Python would find them but none of them imported."""

    def __init__(self, package: Package, cache: SyntaxCache) -> None:
        self._package = package
        self._cache = cache

    def reached(self, place: str, one: str) -> Reached:
        """Return what `./file.py` or `package.module` reaches. Its own top-level package counts even where it is installed,
        unless it is a dependency of ours.

        Raises `NlbenchError` if there is no such file or module, or if it is no Python; `one` says what was to be named.
        """
        if place.endswith(".py"):
            path = Path(place)
            if not path.is_file():
                fault = "is a folder" if path.is_dir() else "there is no such file"
                raise NlbenchError(f"{path}: {fault}.", f"Name a {one} as ./file.py:Name.")
            return self._walk(_Search([str(path.resolve().parent)], ""), {f"{NAMED}{path.name}": path})
        search = _Search([], place.partition(".")[0])
        own = search.counted(place)
        if place not in own:
            here = Path(*place.split(".")).with_suffix(".py")
            way_out = f"What lies here is named ./{here.as_posix()}:Name." if here.is_file() else ""
            raise NlbenchError(f"{place}: there is no such module.", way_out or f"Name a {one} as package.module:Name.")
        return Reached({}, {}, ()) if place.partition(".")[0] in DEPENDENCIES else self._walk(search, own)

    def _walk(self, search: _Search, todo: dict[str, Path]) -> Reached:
        digests: dict[str, str] = {}
        files: dict[str, Path] = {}
        inside: dict[str, None] = {}
        while todo:
            name, path = todo.popitem()
            files[name] = path
            content = path.read_bytes()
            if path.suffix != ".py":
                digests[name] = blake2b(content, digest_size=8).hexdigest()
                continue
            source = self._cache.source(content, str(path))
            digests[name] = source.digest
            for statement in _absolute(name, path, source):
                if self._package.holds(statement.module):
                    inside |= dict.fromkeys(self._package.named(statement))
                    continue
                for module in (statement.module, *(f"{statement.module}.{inner}" for inner in statement.names)):
                    todo |= {found: where for found, where in search.counted(module).items() if found not in files}
        return Reached(digests, files, tuple(inside))


class _Search:
    """Looks modules up without importing them: beside a named file first, then wherever Python looks."""

    def __init__(self, folders: Sequence[str], own: str) -> None:
        importlib.invalidate_caches()
        self._folders = list(folders)
        self._own = own
        self._specs: dict[str, ModuleSpec | None] = {}

    def counted(self, module: str) -> dict[str, Path]:
        """Return the files of a module and of the packages on the way to it that count, by name; none for what is not there."""
        found = {}
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[:count])
            spec = self._spec(name)
            if spec is None:
                break
            if spec.has_location and spec.origin and (parts[0] == self._own or is_own(spec.origin)):
                found[name] = Path(spec.origin)
        return found

    def _spec(self, name: str) -> ModuleSpec | None:
        if name not in self._specs:
            parent, _, last = name.rpartition(".")
            self._specs[name] = self._below(parent, name) if parent else self._top(last)
        return self._specs[name]

    def _below(self, parent: str, name: str) -> ModuleSpec | None:
        package = self._spec(parent)
        places = package.submodule_search_locations if package else None
        return PathFinder.find_spec(name, list(places)) if places else None

    def _top(self, name: str) -> ModuleSpec | None:
        if name in sys.stdlib_module_names and name != self._own:
            return None
        beside = PathFinder.find_spec(name, self._folders) if self._folders else None
        if beside is not None:
            return beside
        found = (finder.find_spec(name, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        return next((spec for spec in found if spec is not None), None)


def _absolute(name: str, path: Path, source: Source) -> Iterator[Import]:
    """Yield what a file imports, relative names made absolute."""
    parts = [] if name.startswith(NAMED) else name.split(".")
    package = parts if path.name == "__init__.py" else parts[:-1]
    for statement in source.imports:
        above = package[: len(package) - statement.level + 1] if statement.level else []
        module = ".".join([*above, *([statement.module] if statement.module else [])])
        if module:
            yield Import(0, module, statement.names)


def unaccounted(before: Iterable[str], accounted: Iterable[Path]) -> dict[str, str]:
    """Return a user's own modules that came since `before` and whose files are none of `accounted`, by name."""
    known = {path.resolve() for path in accounted}
    found = {}
    for name in sys.modules.keys() - set(before):
        file = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
        if file and is_own_file(file) and Path(file).resolve() not in known:
            found[name] = file
    return found
