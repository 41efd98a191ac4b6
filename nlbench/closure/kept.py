"""What source files say, kept by their contents: in the process, and in the user's cache for the next one."""

from __future__ import annotations

import json
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from nlbench import cache
from nlbench.closure import syntax
from nlbench.closure.syntax import Definition, Import, Source, read

_MOST: Final = 1000  # answers kept: several versions of every file
FILE: Final = f"syntax-{blake2b(Path(syntax.__file__).read_bytes(), digest_size=8).hexdigest()}.json"
"""Answers of another reader are no answers."""


class SyntaxCache:
    """Answers of `syntax.read` by the digest of a file's bytes. A cache that cannot be read or written only costs time."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = cache.folder() if folder is None else folder
        self._kept: dict[str, Any] | None = None
        self._fresh = False

    def source(self, content: bytes, place: str, *, by_name: bool = False) -> Source:
        """Return what the bytes of a source file say. Raises `UnreadableSourceError` that names `place`."""
        if self._kept is None:
            self._kept = self._load()
        key = f"{blake2b(content, digest_size=16).hexdigest()}{' by name' if by_name else ''}"
        source = _answer(self._kept.get(key))
        if source is None:
            source = read(content, place, by_name=by_name)
            self._kept[key] = [source.digest, source.imports, source.exports, source.definitions]
            self._fresh = True
        return source

    def save(self) -> None:
        """Keep what is new for the next process."""
        if not (self._fresh and self._kept and self._folder and self._folder.is_absolute()):
            return
        self._fresh = False
        newest = dict(list(self._kept.items())[-_MOST:])
        part = self._folder / f".{FILE}.{os.getpid()}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(newest, separators=(",", ":")), encoding="utf-8")
            part.replace(self._folder / FILE)
            for other in self._folder.glob("syntax-*.json"):
                if other.name != FILE:
                    other.unlink(missing_ok=True)
        except OSError:
            return

    def _load(self) -> dict[str, Any]:
        if self._folder is None:
            return {}
        try:
            found = json.loads((self._folder / FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _answer(kept: Any) -> Source | None:
    """Return the answer that was kept, None where there is none or it was cut."""
    try:
        digest, imports, exports, definitions = kept
        return Source(
            digest,
            [_import(found) for found in imports],
            None if exports is None else {name: _import(found) for name, found in exports.items()},
            None if definitions is None else {name: _definition(found) for name, found in definitions.items()},
        )
    except (TypeError, ValueError, AttributeError):
        return None


def _import(found: Any) -> Import:
    level, module, names = found
    return Import(level, module, tuple(names))


def _definition(found: Any) -> Definition:
    digest, uses, imports = found
    return Definition(digest, tuple(uses), tuple(map(_import, imports)))
