from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_streams import made_mnist

from nlbench import catalog, sources
from nlbench.errors import DataError, NlbenchError, UnknownNameError
from nlbench.sources import Arrays, Source, folders, read, read_ahead
from nlbench.sources import source as source_module
from nlbench.sources.generated import Generated


@pytest.fixture
def made(tmp_path: Path) -> Source:
    return made_mnist(tmp_path / "data")


FILE = """
import numpy as np

from nlbench.sources import Arrays, Source


class Blobs(Source):
    def read(self, data=None):
        labels = np.arange(40) % 2
        inputs = np.float32(labels[:, None] + np.zeros((40, 3)))
        return Arrays(inputs, labels, inputs, labels)


BLOBS = Blobs(name="blobs", title="two blobs", kind="vector", input_shape=(3,), n_classes=2)
"""


def test_every_row_is_an_object_that_says_what_it_is() -> None:
    for name in catalog.SOURCES:
        source = sources.find(name)
        assert source.name == name
        assert source.kind in ("image", "vector", "sequence", "features")
        assert all((source.title, source.origin, source.licence, source.modality))
        assert source.files or isinstance(source, Generated)
        assert name == "core50" or all(len(checksum) == 64 for checksum in source.files.values())
        assert source.std > 0
    files = {name: tuple(sources.find(name).files) for name in catalog.SOURCES}
    own = [name for name in catalog.SOURCES if name != "core50" and files[name] != ("gzip.zip",)]
    alone = {files[name] or name: name for name in own}.values()  # the same files may be read in two ways
    assert len({sources.find(name).checksum for name in alone}) == len(alone)


def test_an_object_of_a_file_is_a_source_and_a_class_is_none(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    mine = sources.find(f"{tmp_path}/mine.py:BLOBS")
    assert (mine.name, read(mine).train_inputs.shape, mine.fetch(), mine.locate()) == ("blobs", (40, 3), {}, {})
    with pytest.raises(NlbenchError, match=r"mine\.py:Blobs: must be a nlbench.sources.Source, .*got <class"):
        sources.find(f"{tmp_path}/mine.py:Blobs")
    with pytest.raises(UnknownNameError, match=r"unknown data set in .*mine\.py 'BLOB'\. Did you mean BLOBS\?"):
        sources.find(f"{tmp_path}/mine.py:BLOB")
    with pytest.raises(UnknownNameError, match=r"unknown data set 'mnits'\. Did you mean mnist"):
        sources.find("mnits")


def test_folders_are_searched_in_order(made: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    monkeypatch.delenv("NLBENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert folders(None) == [tmp_path / "cache/nlbench"]
    assert folders(data) == [data]
    monkeypatch.setenv("NLBENCH_DATA", str(data))
    assert folders(None) == [data, tmp_path / "cache/nlbench"]
    assert set(made.verify()) == set(made.files)
    monkeypatch.setenv("NLBENCH_DATA", str(tmp_path / "empty"))
    data.rename(tmp_path / "moved")
    (tmp_path / "cache/nlbench").parent.mkdir(parents=True)
    (tmp_path / "moved").rename(tmp_path / "cache/nlbench")
    assert next(iter(made.verify().values())).is_relative_to(tmp_path / "cache/nlbench")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"junk",
        lambda content: content[:30] + b"\xff" * 40 + content[70:],
    ],
)
def test_a_damaged_packed_file_is_named(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    source = made_mnist(tmp_path, packed=True)
    path = tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: (cannot be read|SHA-256 must)"):
        source.read(tmp_path)


def test_what_is_read_ahead_is_read_once_and_given_once(made: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    expected = read(made, data)
    seen: list[Source] = []
    real = type(made).read
    monkeypatch.setattr(type(made), "read", lambda self, data: (seen.append(self), real(self, data))[1])
    with read_ahead(made, data):
        given = read(made, data)
    assert seen == [made]
    np.testing.assert_array_equal(given.train_inputs, expected.train_inputs)
    read(made, data)
    assert seen == [made, made]


def test_what_is_wrong_with_data_read_ahead_is_said_when_it_is_read(made: Source, tmp_path: Path) -> None:
    data = tmp_path / "data"
    file = next(path for path in data.rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes()[:-1])
    with read_ahead(made, data), pytest.raises(DataError, match=file.name):
        read(made, data)


def test_the_last_is_kept_where_that_is_asked_for_and_given_as_copies(
    made: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "_keeping", False)
    monkeypatch.setattr(source_module, "_kept", {})
    read(made, tmp_path / "data")
    reads, real = [], Source.contents
    monkeypatch.setattr(Source, "contents", lambda self, *arguments: reads.append(1) or real(self, *arguments))
    source_module.keep_last()
    first = read(made, tmp_path / "data")
    first.train_inputs[:] = 9.0
    with read_ahead(made, tmp_path / "data"):
        again = read(made, tmp_path / "data")
    assert len(reads) == 1
    assert again.train_inputs.max() < 9.0
    file = next(iter(made.locate(tmp_path / "data").values()))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=file.name):  # another file is another data set
        read(made, tmp_path / "data")


def test_a_data_set_that_holds_what_cannot_be_compared_is_not_kept(
    made: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "_keeping", True)
    located = made.locate(tmp_path / "data")
    stamp = source_module._stamp(made, located)
    assert stamp == source_module._stamp(copy(made), located)  # as another message brings it
    assert stamp != source_module._stamp(replace(made, mean=0.5), located)
    object.__setattr__(made, "own", np.zeros(3))
    assert source_module._stamp(made, located) is None


def test_what_was_read_ahead_and_not_used_is_forgotten(made: Source, tmp_path: Path) -> None:
    data = tmp_path / "data"
    file = next(path for path in data.rglob("*") if path.is_file())
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with read_ahead(made, data):
        pass
    file.write_bytes(content)
    read(made, data)


X, Y = np.zeros((4, 3), np.float32), np.arange(4) % 2


class Fixed(Source):
    """Reads what a test says."""

    def read(self, data: object = None) -> Arrays:
        return Arrays(*self.arrays)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ((X[:, :2], Y, X, Y), r"fixed: train inputs must be float32 \(N, 3\), got float32 \(4, 2\)"),
        ((X, Y, X, Y[:3]), r"fixed: test inputs must be float32 \(N, 3\), got float32 \(4, 3\)"),
        ((X.astype(np.float64), Y, X, Y), "fixed: train inputs must be float32 .*got float64"),
        ((X, Y + 1, X, Y), "fixed: train labels must be int64 from 0 to 1"),
        ((X, Y, X, Y - 1), "fixed: test labels must be int64 from 0 to 1"),
        ((X, Y, X, Y.astype(np.int32)), "fixed: test labels must be int64"),
    ],
)
def test_what_is_read_fits_what_the_source_says_of_itself(arrays: Any, rule: str) -> None:
    source = Fixed(name="fixed", title="what a test says", kind="vector", input_shape=(3,), n_classes=2)
    object.__setattr__(source, "arrays", arrays)
    with pytest.raises(DataError, match=rule):
        read(source)


def test_standardisation_is_none_unless_it_is_said(made: Source) -> None:
    assert (Fixed(name="f", title="t", kind="vector", input_shape=(3,), n_classes=2).mean, replace(made, std=2.0).std) == (
        0.0,
        2.0,
    )
