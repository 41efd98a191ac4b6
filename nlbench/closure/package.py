"""Which of a package's own modules a run can reach, by its import statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from nlbench.closure.kept import SyntaxCache
from nlbench.closure.syntax import Import, Source

CHOSEN_AT_RUN_TIME: Final = ("kernels",)
"""Packages of ops: which module of an op runs is chosen then, so what reaches one reaches all of them."""

TOLD_APART: Final = frozenset({"config", "sources"})
"""Modules, and packages of such, in which many parts define their own: a name counts with what it uses, not the whole."""

NAMES_PLACES: Final = ("catalog",)
"""Modules that only say where things are: whatever a run takes from them is a root by itself."""


class Package:
    """The modules of a package, read as they are reached.

    A module counts, and so does what it imports, wherever in it, but for typing alone. A table of names, such as an `__init__`
    that passes on what its modules define, is no code: a name taken from it leads to where it comes from, and the table itself
    only to all of them. Of a module in which many parts define their own, a name is reached as `module:Name`.
    """

    def __init__(self, folder: Path, cache: SyntaxCache) -> None:
        self.name = folder.name
        self._folder = folder
        self._cache = cache
        self._found: dict[str, Source | None] = {}
        self._leads: dict[str, tuple[str, ...]] = {}

    def holds(self, module: str) -> bool:
        """Whether the name is that of the package or of something below it."""
        return module.partition(".")[0] == self.name

    def reached(self, roots: Sequence[str]) -> dict[str, str]:
        """Return the syntax digest of every module that the roots reach, by name; roots that are no modules reach nothing."""
        digests: dict[str, str] = {}
        todo = list(roots)
        seen = set()
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            module, _, name = node.partition(":")
            source = self._source(module)
            if source is None:
                continue
            definition = (source.definitions or {}).get(name)
            if definition is not None:
                digests[node] = definition.digest
                todo += [*self._parents(module), *(f"{module}:{used}" for used in definition.uses)]
                todo += self._all_targets(module, definition.imports)
                continue
            if source.exports is None:
                digests[module] = source.digest
            todo += self._leads_to(module, source)
        return digests

    def named(self, statement: Import) -> list[str]:
        """Return the modules that an import statement from outside the package reaches."""
        return list(self._targets(statement.module, statement.names))

    def _leads_to(self, module: str, source: Source) -> tuple[str, ...]:
        """Return the modules that a module reaches at once."""
        if module not in self._leads:
            found = list(self._parents(module))
            if module != self.name:  # the package's own table of names is for users
                found += self._all_targets(module, [*source.imports, *(source.exports or {}).values()])
            found += self._alternatives(module)
            self._leads[module] = tuple(dict.fromkeys(found))
        return self._leads[module]

    def _all_targets(self, module: str, statements: Iterable[Import]) -> list[str]:
        """Return the modules, or names of modules told apart, that import statements in a module reach."""
        return [target for one in statements for target in self._targets(self._base(module, one), one.names)]

    def _targets(self, base: str, names: Sequence[str]) -> Iterator[str]:
        if not self.holds(base):
            return
        if not names:
            yield base
        for name in names:
            inner = f"{base}.{name}"
            source = None if self._source(inner) else self._source(base)
            exports = source.exports if source and source.exports is not None else {}
            if source is None:
                yield inner
            elif name in (source.definitions or {}):
                yield f"{base}:{name}"
            elif name in exports:
                yield from self._targets(self._base(base, exports[name]), exports[name].names)
            elif base != self.name:
                yield base

    def _base(self, module: str, statement: Import) -> str:
        """Return the absolute name of the module that a statement in `module` imports from."""
        if statement.level == 0:
            return statement.module
        parts = module.split(".")
        parts = parts[: len(parts) - statement.level + self._is_package(module)]
        return ".".join([*parts, *([statement.module] if statement.module else [])])

    def _parents(self, module: str) -> Iterator[str]:
        """Yield the packages on the way to a module whose `__init__` is code."""
        parts = module.split(".")
        for count in range(1, len(parts)):
            parent = ".".join(parts[:count])
            source = self._source(parent)
            if source and source.exports is None:
                yield parent

    def _alternatives(self, module: str) -> Iterator[str]:
        """Yield all modules of the op that a module belongs to."""
        parts = module.split(".")
        op = ".".join(parts[:3])
        if len(parts) >= 3 and parts[1] in CHOSEN_AT_RUN_TIME and self._is_package(op):
            yield op
            yield from (f"{op}.{path.stem}" for path in self._path(op).parent.glob("*.py") if path.name != "__init__.py")

    def _is_package(self, module: str) -> bool:
        return self._path(module).name == "__init__.py"

    def _path(self, module: str) -> Path:
        place = self._folder.joinpath(*module.split(".")[1:])
        return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")

    def _source(self, module: str) -> Source | None:
        if module not in self._found:
            path = self._path(module)
            parts = module.split(".")
            counts = parts[0] == self.name and parts[1:2] != [*NAMES_PLACES] and path.is_file()
            apart = bool(TOLD_APART & set(parts[1:]))
            source = self._cache.source(path.read_bytes(), str(path), by_name=apart) if counts else None
            if source is not None and not self._is_package(module):
                source = replace(source, exports=None)
            self._found[module] = source
        return self._found[module]
