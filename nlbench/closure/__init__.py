"""What code a run can reach, and its digest: the modules that import statements lead to, in a form that comments, docstrings and
the version of Python leave as it is. Imports none of them.

Everything counts that a module imports, wherever in it, and what of a kernel op is chosen when it runs; so does every file of a
user's own that a named part brings in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from nlbench.closure.kept import SyntaxCache
from nlbench.closure.loading import UnaccountedImportError, check, forget, load
from nlbench.closure.outside import NAMED, Outside, Reached
from nlbench.closure.package import Package
from nlbench.closure.session import MAIN, OBJECT, give, given
from nlbench.closure.session import reached as reached_by

_CACHE: Final = SyntaxCache()
_PACKAGE: Final = Package(Path(__file__).resolve().parents[1], _CACHE)
_OUTSIDE: Final = Outside(_PACKAGE, _CACHE)


@cache
def package_digest(*roots: str) -> str:
    """Return the digest of what modules of the package reach."""
    return _digest(_PACKAGE.reached(roots))


def ours(place: str) -> bool:
    """Whether `package.module` is a module of this package."""
    return _PACKAGE.holds(place)


def outside(place: str, one: str = "class") -> Reached:
    """Return what `./file.py` or `package.module` brings in, as it is now.

    Raises `NlbenchError` if there is no such code; `one` says what was to be named.
    """
    found = _OUTSIDE.reached(place, one)
    _CACHE.save()
    return found


def digest_outside(reached: Reached, roots: Sequence[str] = ()) -> str:
    """Return the digest of what a part of a user's own brings in, with what of the package it and `roots` reach."""
    return _digest({**_PACKAGE.reached([*reached.package, *roots]), **reached.digests})


def reached_inside(reached: Reached, roots: Sequence[str] = ()) -> set[str]:
    """Return what of the package a part of a user's own and `roots` reach, as `module` or `module:Name`."""
    return set(_PACKAGE.reached([*reached.package, *roots]))


def _digest(digests: dict[str, str]) -> str:
    _CACHE.save()
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(digests.items()))
    return blake2b(text.encode(), digest_size=8).hexdigest()


__all__ = [
    "MAIN",
    "NAMED",
    "OBJECT",
    "Reached",
    "UnaccountedImportError",
    "check",
    "digest_outside",
    "forget",
    "give",
    "given",
    "load",
    "ours",
    "outside",
    "package_digest",
    "reached_by",
    "reached_inside",
]
