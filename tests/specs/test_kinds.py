from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import ValidationError

from nlbench import catalog
from nlbench.errors import NlbenchError
from nlbench.specs import Closed, ExternalConfig, KindOf, StreamConfig
from nlbench.specs.problems import problems


class Deep(Closed):
    """A network of tests."""

    kind: Literal["deep"]
    depth: int = 3


class Whole(Closed):
    """A learner that has a network."""

    network: Annotated[Closed, KindOf("networks")]
    rate: float = 0.1


@pytest.fixture(autouse=True)
def _a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.NETWORKS, "deep", catalog.Extension("somewhere:Deep", f"{__name__}:Deep"))


def broken(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(values)
    return problems(caught.value, "r", Whole, values)


def test_a_table_is_validated_by_the_config_of_its_kind_and_written_whole() -> None:
    whole = Whole.model_validate({"network": {"kind": "deep", "depth": 5}})
    assert whole.network == Deep(kind="deep", depth=5)
    assert whole.model_dump(mode="json") == {"network": {"kind": "deep", "depth": 5}, "rate": 0.1}
    assert Whole(network=Deep(kind="deep")).network == Deep(kind="deep")


def test_rules_of_the_table_and_of_what_is_around_it_are_told_together() -> None:
    assert broken({"network": {"kind": "deep", "depht": 5, "depth": "5"}, "rate": "1"}) == [
        "r: network.depth: must be a valid integer, got '5'",
        "r: network.depht: is not a known key (did you mean depth?), got 5",
        "r: rate: must be a valid number, got '1'",
    ]


def test_a_kind_that_is_not_known_is_told_with_those_that_are_and_the_nearest() -> None:
    known = ", ".join(sorted(catalog.extensions("networks")))
    line = f"r: network.kind: must be one of {known}, or package.module:Class (did you mean deep?), got 'deap'"
    assert broken({"network": {"kind": "deap"}}) == [line]
    assert broken({"network": {"depth": 1}}) == [f"r: network.kind: is required: one of {known}, or package.module:Class"]
    (line,) = broken({"network": 3})
    assert line.startswith("r: network: must be a valid dictionary")


def test_what_is_somebody_elses_keeps_its_options_as_they_are() -> None:
    whole = Whole.model_validate({"network": {"kind": "./mine.py:Mine", "depth": [5]}})
    assert whole.network == ExternalConfig(kind="./mine.py:Mine", options={"depth": [5]})


KINDS = """
from nlbench.specs import Closed, StreamConfig


class Fading:
    class Config(StreamConfig):
        contrast: float = 0.5


class Plain:
    pass


class Wrong:
    class Config(Closed):
        kind: str
"""


class Known(Closed):
    """A stream file of tests."""

    stream: Annotated[StreamConfig, KindOf("streams", StreamConfig)]


def test_somebody_elses_class_is_asked_for_its_config_where_a_plan_must_know_of_it(tmp_path: Path) -> None:
    (tmp_path / "kinds.py").write_text(KINDS)
    faded, plain, wrong = ({"kind": f"{tmp_path / 'kinds.py'}:{name}", "tasks": 2} for name in ("Fading", "Plain", "Wrong"))
    stream = Known.model_validate({"stream": faded}).stream
    assert (type(stream).__qualname__, stream.tasks, getattr(stream, "contrast", None)) == ("Fading.Config", 2, 0.5)
    assert Known.model_validate({"stream": plain}).stream == StreamConfig(**plain)
    with pytest.raises(ValidationError, match="contrats"):
        Known.model_validate({"stream": faded | {"contrats": 1}})
    with pytest.raises(NlbenchError, match=r"its Config must extend .*StreamConfig, got <class .*Wrong.Config'>"):
        Known.model_validate({"stream": wrong})
