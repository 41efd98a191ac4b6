"""Rules of what disturbs a stream, and that a stream without disturbances is what it was."""

from __future__ import annotations

import pytest

from nlbench import catalog
from nlbench.errors import SpecError
from nlbench.plan import resolve
from nlbench.specs import stream_spec


def spec(**stream):
    stream = {"kind": "permuted", "source": "digits", "tasks": 4, "scenario": "domain-il", **stream}
    return stream_spec({"title": "t", "stream": stream, "protocol": {"batch": 8}}, "t.toml")


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"blur": {}}, r"stream\.blur\.share: it or width must be given, and not both"),
        ({"blur": {"share": 0.1, "width": 0.1}}, r"stream\.blur\.share: it or width must be given, and not both"),
        ({"blur": {"share": 1.5}}, r"stream\.blur\.share: .*1\.5"),
        ({"blur": {"share": 0.1}, "scenario": "task-il"}, r"stream\.blur: .*got scenario = task-il"),
        ({"blur": {"share": 0.1}, "tasks": 1}, r"stream\.blur: .*tasks = 1"),
        ({"recurrence": {"different": 5}}, r"stream\.recurrence\.different: must be at most the 4 tasks, got 5"),
        ({"imbalance": {"ratio": 1.0}}, r"stream\.imbalance\.ratio: .*1\.0"),
        ({"noise": {"share": 0.0}}, r"stream\.noise\.share: .*0\.0"),
        ({"kind": "split", "scenario": "class-il", "noise": {"shares": 0.1}}, r"stream\.noise\.shares: is not a known key"),
    ],
)
def test_broken_rules_name_key_rule_and_value(stream, message):
    with pytest.raises(SpecError, match=message):
        spec(**stream)


def test_what_is_left_out_is_no_part_of_what_a_stream_is():
    assert not {"blur", "noise", "recurrence", "imbalance"} & set(spec().identity()["stream"])
    assert spec(blur={"share": 0.1}).identity()["stream"]["blur"] == {"share": 0.1, "width": None}


@pytest.mark.parametrize(
    ("name", "digest"),
    [("split-digits", "5c2658fc265b9f41"), ("permuted-digits", "70fee8158bf1a9d3"), ("rotated-mnist", "8c3ce4446cbbe15d")],
)
def test_streams_of_before_keep_their_digests(name, digest):
    assert resolve("chance", name, seeds=(0,)).declared.digest == digest


def test_each_disturbance_can_be_set_on_the_command_line():
    assert "split-digits" in catalog.names("stream")
    plan = resolve("chance", "split-digits", seeds=(0,), overrides={"stream.noise.share": "0.2"})
    assert plan.stream.stream.noise.share == 0.2
