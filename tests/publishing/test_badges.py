"""Badges are pictures that say a learner's name and numbers."""

from __future__ import annotations

from xml.etree import ElementTree

from nlbench.publishing.badges import badge
from nlbench.publishing.board import board


def words(text: str) -> str:
    return " ".join(ElementTree.fromstring(text).itertext())


def test_a_badge_says_learner_stream_and_numbers(records):
    items = {item.record.path.stem: item for item in board(records).items}
    mean = items["er-new"].entry.estimates["average_accuracy"].mean
    assert f"er on split-digits accuracy {mean:.3f}, forgetting" in words(badge(items["er-new"]))
    assert "at chance" in words(badge(items["chance"]))
    assert "at chance" not in words(badge(items["er-new"]))


def test_a_name_is_text_in_a_badge(records):
    (evil,) = [item for item in board(records).items if item.record.path.stem == "evil"]
    root = ElementTree.fromstring(badge(evil))
    assert not root.findall(".//{*}script")
    assert evil.record.model in words(badge(evil))
