"""Importing a user's own code such that what runs is what its digest covers.

A named file's siblings are importable by it, and by nothing else. Whatever an import statement of the file or of its siblings
names is taken from where the closure found it, compiled from its source as it is now. A module of the user's own that comes in
another way, such as by `import_module` of a name made at run time, is refused: its code would be no part of the run's identity.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from nlbench.closure.beginning import began
from nlbench.closure.outside import NAMED, Reached, unaccounted
from nlbench.errors import NlbenchError
from nlbench.ownership import is_own, is_own_file, is_standard

_BEGAN: Final = began()
"""What a file was when this process began is what an import of it found."""

WAY_OUT: Final = "Import it by a plain import statement."


class UnaccountedImportError(NlbenchError):
    """A module of the user's own that no import statement names."""


class _FromSource(SourceFileLoader):
    """Compiles the source as it is: cached bytecode is told from a changed source by its size and a clock of seconds only."""

    def get_code(self, fullname: str) -> CodeType | None:
        return self.source_to_code(self.get_data(self.path), self.path)


class _Finder(MetaPathFinder):
    """Finds what the closures of loaded parts hold, and refuses what lies beside them and is in none."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.folders: list[str] = []  # of the file that was named last
        self.askers: set[str] = set()  # files whose imports are its business
        self.contents: dict[str, bytes] = {}  # of what was imported, by name

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        found = self.files.get(name)
        if found is not None:
            self.contents[name] = _content(found)
            loader = (ExtensionFileLoader if found.suffix != ".py" else _FromSource)(name, str(found))
            inside = [str(found.parent)] if found.name == "__init__.py" else None
            return spec_from_file_location(name, found, loader=loader, submodule_search_locations=inside)
        if name not in sys.stdlib_module_names and _asker() in self.askers:
            other = PathFinder.find_spec(name, [*self.folders, *sys.path] if path is None else path)
            if other is not None and other.has_location and other.origin and is_own(other.origin):
                raise UnaccountedImportError(f"{other.origin}: was imported, but no import statement names it.", WAY_OUT)
        return None

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """Refuse code of a user's own that a closure's file runs around the finder, such as by `runpy`."""
        if event not in ("exec", "import") or not self.askers:
            return
        file = getattr(arguments[0], "co_filename", None) if event == "exec" else arguments[1]  # of a compiled module
        if isinstance(file, str) and _asker() in self.askers and os.path.realpath(file) not in self.askers and is_own_file(file):
            raise UnaccountedImportError(f"{file}: was run, but no import statement names it.", WAY_OUT)

    def make_room(self, reached: Reached, folder: str | None) -> None:
        """Take the closure of a part, and drop what earlier ones brought in of another place or content under its names."""
        files = {name: path for name, path in reached.files.items() if not name.startswith(NAMED)}
        for name, path in files.items():
            module = sys.modules.get(name)
            if module is not None and name not in self.contents and _elsewhere(module, path):
                raise NlbenchError(f"{path}: another {name} is imported already, from {module.__file__}.", "Rename one of them.")
        if any(name in sys.modules and self._differs(name, path) for name, path in files.items()):
            for name in files:  # each may hold on to what has changed
                self._drop(name)
        self.files |= files
        self.askers |= {str(path.resolve()) for path in reached.files.values()}
        if folder is not None:
            self.folders = [folder]

    def _differs(self, name: str, path: Path) -> bool:
        """Whether a module that is imported may be another than its file is now."""
        if name not in self.contents:  # imported by somebody else, from what nobody kept
            differs = _changed(path) > _BEGAN
            if differs and path.suffix != ".py":
                raise NlbenchError(f"{path}: was imported, and may have changed since.", "Start Python anew.")
            return differs
        return self.files.get(name) != path or self.contents[name] != _content(path)

    def bring_in(self, name: str) -> None:
        """Import a module if an import statement of a part that is loaded names it: its code may do so no sooner than it runs."""
        if name in self.files and name not in sys.modules:
            importlib.import_module(name)

    def forget(self) -> None:
        """Drop all that was brought in."""
        for name in list(self.contents):
            self._drop(name)
        self.files, self.folders, self.askers = {}, [], set()

    def _drop(self, name: str) -> None:
        for other in [other for other in sys.modules if f"{other}.".startswith(f"{name}.")]:
            del sys.modules[other]
            self.contents.pop(other, None)


_FINDER: Final = _Finder()


def load(place: str, reached: Reached) -> ModuleType:
    """Return the module of `./file.py` or `package.module`, whose closure is `reached`, imported as it is now.

    Raises `UnaccountedImportError` where it brings in a module of the user's own that the closure lacks; whatever else its code
    raises is left as it is.
    """
    _watch()
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    before = frozenset(sys.modules)
    named = Path(place) if place.endswith(".py") else None
    _FINDER.make_room(reached, str(named.resolve().parent) if named else None)
    module = importlib.import_module(place) if named is None else _executed(named)
    check(before, reached)
    return module


def forget() -> None:
    """Let go of every module that `load` brought in, so that whoever imports one of that name gets his own."""
    _FINDER.forget()


def check(before: frozenset[str], *parts: Reached) -> None:
    """Refuse a module of the user's own that came since `before` and that no part's closure holds."""
    accounted = [path for part in parts for path in part.files.values()]
    for name, file in unaccounted(before, accounted).items():
        raise UnaccountedImportError(f"{file}: was imported as {name}, but no import statement names it.", WAY_OUT)


@cache
def _watch() -> None:
    """Have the finder told of all code that is run as a whole, for as long as the process lives."""
    sys.addaudithook(_FINDER.audit)


def _executed(path: Path) -> ModuleType:
    name = f"{path.stem}@{path.resolve()}"  # no module it could replace has such a name
    spec = spec_from_file_location(name, path, loader=_FromSource(name, str(path.resolve())))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def _asker() -> str:
    """Return the file in which the import stands that is under way, whatever of Python's own it goes through."""
    frame = sys._getframe(2)
    while frame.f_back is not None and (frame.f_code.co_filename.startswith("<") or is_standard(frame.f_code.co_filename)):
        frame = frame.f_back
    return os.path.realpath(frame.f_code.co_filename)


def _elsewhere(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is None or Path(file).resolve() != path.resolve()


def _changed(path: Path) -> float:
    """Return when a file became what it is, in seconds since 1970, whatever date it was given."""
    found = path.stat()
    return max(found.st_mtime, found.st_ctime)


def _content(path: Path) -> bytes:
    return blake2b(path.read_bytes(), digest_size=16).digest()
