"""A name -> what it stands for; and every row of the tables of extensions."""

from __future__ import annotations

from inspect import isclass
from pathlib import Path
from typing import get_args

import pytest

from nlbench import catalog
from nlbench.batch import needs
from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.sources import Source


def test_names_are_sorted_and_found() -> None:
    assert {"split-digits", "permuted-digits", "split-mnist", "permuted-mnist", "rotated-mnist", "split-fashion"} <= set(
        catalog.names("stream")
    )
    assert {"mlp", "cms", "joint", "chance"} <= set(catalog.names("model"))
    for kind in ("stream", "model"):
        names = catalog.names(kind)
        assert names == sorted(names)
        assert all(catalog.find(kind, name).stem == name for name in names)


def test_a_path_stands_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert catalog.find("model", "mine.toml") == Path("mine.toml")
    assert catalog.find("stream", str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"
    with pytest.raises(NlbenchError, match=r"gone.toml: there is no such model file. `nlbench list models`"):
        catalog.find("model", "gone.toml")


def test_unknown_names_suggest_the_nearest_of_their_own_kind() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown stream 'split-mnits'\. Did you mean split-mnist"):
        catalog.find("stream", "split-mnits")
    with pytest.raises(UnknownNameError, match="unknown model 'split-mnist'"):
        catalog.find("model", "split-mnist")


@pytest.mark.parametrize("kind", ["model", "stream", "claim"])
def test_a_file_that_lies_here_is_named_as_one(kind: catalog.Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").touch()
    with pytest.raises(UnknownNameError, match=rf"^unknown {kind} 'mine'\. What lies here is named \./mine\.toml\.$"):
        catalog.find(kind, "mine")


@pytest.mark.parametrize("kind", ["model", "stream"])
@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_what_no_file_can_be_called_is_an_unknown_name_too(kind: catalog.Kind, name: str) -> None:
    """Such a name may stand in a file that is checked."""
    assert isinstance(catalog.unknown(kind, name), UnknownNameError)


def test_a_name_of_the_other_kind_says_so_and_an_unknown_one_how_ones_own_is_named() -> None:
    assert str(catalog.unknown("model", "split-mnist")) == "unknown model 'split-mnist'. It is a stream: name it with --stream."
    assert str(catalog.unknown("stream", "mlp")) == "unknown stream 'mlp'. It is a model: name it with --model."
    assert str(catalog.unknown("model", "mpl")).endswith("Did you mean mlp? One of your own is named ./file.py:Class.")
    assert str(catalog.unknown("model", "naive")).endswith("'naive'. Plain fine-tuning, the naive bound, is the model mlp.")
    assert "mine, mir" in str(catalog.unknown("model", "#", ["mine"]))


def test_a_learner_s_row_says_what_its_class_needs() -> None:
    for kind, row in catalog.LEARNERS.items():
        assert row.needs == needs(catalog.extension("learners", kind, isclass, "a class")) == catalog.needs(kind)
    assert catalog.needs("./mine.py:Mine") == ()


@pytest.mark.parametrize(
    ("group", "table"), [("learners", catalog.LEARNERS), ("networks", catalog.NETWORKS), ("streams", catalog.STREAMS)]
)
def test_every_row_names_a_class_and_the_config_of_its_kind(group: catalog.Group, table: dict[str, catalog.Extension]) -> None:
    for kind in table:
        assert isclass(catalog.extension(group, kind, isclass, "a class"))
        assert get_args(catalog.config(group, kind).model_fields["kind"].annotation) == (kind,)


@pytest.mark.parametrize("name", catalog.SOURCES)
def test_every_row_of_a_data_set_names_the_source_of_that_name(name: str) -> None:
    assert catalog.extension("sources", name, lambda found: isinstance(found, Source), "a source").name == name
