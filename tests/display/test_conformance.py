from __future__ import annotations

import json

from consoles import written

from nlbench.conformance import Examination, Finding
from nlbench.display import conformance

FOUND = Examination(
    "mine",
    "class-il, told nothing",
    (Finding("answers", "it answers", "kept"), Finding("resumable", "it goes on", "broken", "sums differ", "Hold all of it.")),
)

PASSED = Examination("mine too", "class-il, told nothing", (Finding("answers", "it answers", "kept"),))


def test_a_broken_rule_stands_with_what_was_seen_and_what_to_mend(monkeypatch):
    with written(monkeypatch, conformance, "out") as text:
        assert not conformance.examinations([FOUND, PASSED], as_json=False)
        assert conformance.examinations([PASSED], as_json=False)
    lines = [line.strip() for line in text.getvalue().splitlines()]
    assert "answers    kept       it answers" in lines
    assert "resumable  broken     sums differ" in lines
    assert "rule: it goes on" in lines
    assert "mend: Hold all of it." in lines


def test_as_json_one_is_as_it_is_and_several_are_a_list(capsys):
    conformance.examinations([FOUND], as_json=True)
    one = json.loads(capsys.readouterr().out)
    assert one["passed"] is False
    conformance.examinations([FOUND, FOUND], as_json=True)
    assert json.loads(capsys.readouterr().out) == [one, one]
