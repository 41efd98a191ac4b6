"""Where a run ran: versions, processor, memory and source state; nothing that names a person, a host or a path."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from time import monotonic
from typing import Final

from nlbench.records.footer import Environment, Project

PACKAGES: Final = ("nlbench", "torch", "triton", "numba", "numpy", "scipy", "pyarrow", "pandas", "pydantic", "safetensors")
_VERSION: Final = re.compile(r"^Version: *(\S+)", re.MULTILINE)
"""Found at once, where a parser of mail reads all that a package says of itself."""
_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_CODE: Final = ("nlbench", "tasks", "baselines")
ANSWER_HOLDS: Final = 5.0
"""Seconds for which git's answer is taken for the present one: many short runs ask once."""


def describe(results: Path, own: Iterable[Path] = ()) -> Environment:
    """Return the machine and the software; `own` are the files of a user's own that the run was made of.

    The GPU is described by who drives it. `commit` and `dirty` are null outside a checkout of the package; `project` has those of
    the repositories around these files, or else around the present folder, `results` left out; where one of the files is in none,
    it is dirty and of no commit. Cost: a few milliseconds, most of them git's, which is not asked again for some seconds.
    """
    files = tuple(sorted({path.resolve() for path in own}))
    tick = int(monotonic() // ANSWER_HOLDS)
    (commit, dirty), (project, project_dirty) = _repositories(Path.cwd(), results, files, tick)
    return Environment(
        packages=_versions(),
        python=platform.python_version(),
        os=f"{platform.system()} {platform.release()}",
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        memory_bytes=_memory_bytes(),
        commit=commit,
        dirty=dirty,
        project=Project(commit=project, dirty=project_dirty),
    )


def source_state(checkout: Path, paths: Sequence[str] = _CODE) -> tuple[str | None, bool | None]:
    """Return the commit of a checkout and whether its `paths` differ from it; (None, None) if git cannot tell.

    Other files than the package's code and declarations change no result that the fingerprint does not see. The folder must be
    the top of the checkout: a package installed into a virtual environment inside somebody's repository is not that repository.
    """
    return _state(_status(checkout, paths)) if (checkout / ".git").exists() else (None, None)


def changes(results: Path) -> list[str]:
    """Return the files that differ now from the commits of the package's checkout and of the repository around the present
    folder, as git names them; a folder with / at its end where git knows nothing in it.
    """
    project = _project(Path.cwd(), results)
    places = [(_CHECKOUT, _CODE)] if (_CHECKOUT / ".git").exists() else []
    return [
        _changed(line)
        for top, paths in [*places, *([project] if project else [])]
        for line in _status(top, paths) or ()
        if not line.startswith("#")
    ]


def project_state(folder: Path, results: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the repository around a folder and whether anything in it but `results` and caches differs from it;
    (None, None) outside any, and in the package's own, which `source_state` answers for.
    """
    project = _project(folder, results)
    return _state(_status(*project)) if project else (None, None)


def _own_state(files: Sequence[Path], results: Path) -> tuple[str | None, bool | None]:
    """Return the commit of files of a user's own and whether they or their repository differ from it; (None, True) where no
    commit has one of them.
    """
    states = []
    for folder in dict.fromkeys(file.parent for file in files):
        top, here = _top(folder), [str(file) for file in files if file.parent == folder]
        if top is None or len(_git(top, "ls-files", "--", *here) or ()) < len(here):
            return None, True
        states.append(_state(_status(top, here)) if top == _CHECKOUT else project_state(folder, results))
    return states[0][0], any(dirty for _, dirty in states)


def _top(folder: Path) -> Path | None:
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def _project(folder: Path, results: Path) -> tuple[Path, Sequence[str]] | None:
    folder, results = folder.resolve(), results.resolve()
    top = _top(folder)
    if top is None or top == _CHECKOUT:
        return None
    excluded = [":(exclude,glob)**/__pycache__/**", ":(exclude)results"]
    if results.is_relative_to(top) and results != top:
        excluded.append(f":(exclude){results.relative_to(top).as_posix()}")
    return top, (".", *excluded)


def _status(top: Path, paths: Sequence[str]) -> list[str] | None:
    """Return the lines of git's status, or None where it does not answer."""
    return _git(top, "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--", *paths)


def _git(top: Path, *arguments: str) -> list[str] | None:
    """Return the lines that git answers, or None where it does not."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=top, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.splitlines() if answer.returncode == 0 else None


def _state(lines: Sequence[str] | None) -> tuple[str | None, bool | None]:
    if lines is None:
        return None, None
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), None)
    return (None if commit == "(initial)" else commit), any(not line.startswith("#") for line in lines)


_FIELDS: Final = {"1": 8, "2": 9, "u": 10}
"""Fields before the name in a line of git's status, version 2, by its first character; of what git does not track, one."""


def _changed(line: str) -> str:
    return line.split(" ", _FIELDS.get(line[0], 1))[-1].partition("\t")[0]


@lru_cache(maxsize=8)
def _repositories(
    folder: Path, results: Path, files: Sequence[Path], tick: int
) -> tuple[tuple[str | None, bool | None], tuple[str | None, bool | None]]:
    """Return what git says of the package's checkout and of the repository around files, or else a folder, for as long as a
    `tick` lasts.
    """
    return source_state(_CHECKOUT), _own_state(files, results) if files else project_state(folder, results)


@cache
def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        said = _VERSION.search(package.read_text("METADATA") or "")
        versions[name] = said[1] if said else package.version
    return versions


@cache
def _cpu_model() -> str:
    """Return the processor's name; `platform.processor()` is empty or only the architecture on most Linux systems."""
    if sys.platform == "linux":
        try:
            with open("/proc/cpuinfo", encoding="utf-8") as lines:
                for line in lines:
                    if line.startswith("model name"):
                        return line.partition(":")[2].strip()
        except OSError:
            return platform.machine()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
