"""What source files say, kept by their contents: in the process, and in the user's cache for the next one."""

from __future__ import annotations

import json
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import platformdirs

from nlbench.closure.syntax import Import, Source, read

FORM: Final = 1
"""Changes whenever the canonical form does, so that no answer of an older one is taken."""

_MOST: Final = 1000  # answers kept: several versions of every file
_FILE: Final = f"syntax-{FORM}.json"


class SyntaxCache:
    """Answers of `syntax.read` by the digest of a file's bytes. A cache that cannot be read or written only costs time."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = Path(platformdirs.user_cache_dir("nlbench")) if folder is None else folder
        self._kept: dict[str, Any] | None = None
        self._fresh = False

    def source(self, content: bytes, place: str) -> Source:
        """Return what the bytes of a source file say. Raises `UnreadableSourceError` that names `place`."""
        if self._kept is None:
            self._kept = self._load()
        key = blake2b(content, digest_size=16).hexdigest()
        kept = self._kept.get(key)
        if kept is None:
            source = read(content, place)
            self._kept[key] = [source.digest, source.imports, source.exports]
            self._fresh = True
            return source
        digest, imports, exports = kept
        named = None if exports is None else {name: _import(found) for name, found in exports.items()}
        return Source(digest, [_import(found) for found in imports], named)

    def save(self) -> None:
        """Keep what is new for the next process."""
        if not (self._fresh and self._kept and self._folder.is_absolute()):  # without a home there is no such place
            return
        self._fresh = False
        newest = dict(list(self._kept.items())[-_MOST:])
        part = self._folder / f".{_FILE}.{os.getpid()}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(newest, separators=(",", ":")), encoding="utf-8")
            part.replace(self._folder / _FILE)
        except OSError:
            return

    def _load(self) -> dict[str, Any]:
        try:
            found = json.loads((self._folder / _FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _import(found: Any) -> Import:
    level, module, names = found
    return Import(level, module, tuple(names))
