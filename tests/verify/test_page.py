"""Verdicts as pages: what they say, in both forms, and that nothing of a claim is obeyed."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from nlbench.comparison.statistics import Interval
from nlbench.errors import NlbenchError
from nlbench.verify import Finding, Judged, claim_of
from nlbench.verify.page import page, write_page
from nlbench.verify.running import Measured

CLAIM = claim_of(
    {
        "title": "A <b>bold</b> | title",
        "statement": "It *holds*.",
        "source": {"paper": "Somebody 2020", "place": "Table 1", "note": "Smaller."},
        "search": "none",
        "cells": {"one": {"model": "mlp", "stream": "split-digits"}},
        "holds": [{"kind": "value", "of": "one", "equals": 0.5, "band": 0.1}],
        "quick": {},
    },
    "test.toml",
)
FINDING = Finding(
    "accuracy of one is 0.5 ± 0.1", "holds", "the whole interval is where it must be", 0.51, 0.49, 0.53, (0.4, 0.6), None, 10
)
MEASURED = {"one": Measured("mlp", "split-digits", "a.parquet", 1.5, {"average_accuracy": Interval(0.51, 0.49, 0.53, 0.02, 10)})}
ORDER = claim_of(
    {
        "title": "Another title",
        "statement": "One is above the other.",
        "chapter": "hope",
        "source": {"paper": "Somebody 2020"},
        "cells": {name: {"model": "mlp", "stream": "split-digits"} for name in ("one", "other")},
        "holds": [
            {"kind": "value", "of": "one", "equals": 0.5, "band": 0.1},
            {"kind": "order", "above": "one", "below": "other"},
        ],
        "quick": {"set": {"batch": 64}},
    },
    "test.toml",
)
HOLDS = Judged("first", CLAIM, False, (FINDING,), MEASURED, "nlbench verify ./first.toml")
NUMBER = replace(FINDING, verdict="not comparable", reason="a reduced form claims no published number")
FAILS = Judged(
    "second",
    ORDER,
    True,
    (NUMBER, replace(FINDING, statement="one above other", verdict="does not hold")),
    MEASURED,
    "nlbench verify ./second.toml --quick",
)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        assert not [value for name, value in attrs if name in ("src", "href") and value and value.startswith("http")]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    ("markdown", "links"),
    [
        (True, ["](#my-claim-1)", '<a id="my-claim-1">', "](#kept)"]),
        (False, ['href="#my-claim-1"', 'id="my-claim-1"', 'id="kept"']),
    ],
)
def test_links_lead_to_claims_whose_names_hold_spaces(markdown, links):
    names = ("my claim", "my-claim", "kept")
    text = page([replace(HOLDS, name=name) for name in names], markdown=markdown)
    assert all(link in text for link in links)
    assert "#my claim" not in text
    assert text.count('id="my-claim-2"') == 1


def test_html_says_every_verdict_and_obeys_nothing():
    tags = Tags()
    tags.feed(page([FAILS, HOLDS]))
    assert "b" not in tags.found
    assert "script" not in tags.found
    assert "Of 2 claims 1 holds, 1 does not hold." in tags.text
    assert "Source: Somebody 2020, Table 1" in tags.text
    assert "A <b>bold</b> | title" in tags.text
    assert ".5100 [.4900, .5300]" in tags.text
    assert "nlbench verify ./second.toml --quick" in tags.text  # none of the catalog


@pytest.mark.parametrize("markdown", [True, False])
def test_published_numbers_are_counted_by_what_was_found_of_them_in_full(markdown):
    judged = [HOLDS, HOLDS, replace(HOLDS, findings=(replace(FINDING, verdict="undecided"),)), FAILS]
    said = "Of 3 published numbers 2 lie within their band with their whole interval, 1 partly within."
    assert said in page(judged, markdown=markdown)
    untried = replace(HOLDS, findings=(replace(FINDING, verdict="not comparable", mean=None),))
    assert "published numbers" not in page([FAILS, untried], markdown=markdown)


def test_a_number_that_is_missed_stands_beside_its_cause_and_one_that_holds_alone():
    number = CLAIM.holds[0].model_copy(update={"cause": "Their rate falls."})
    claim = CLAIM.model_copy(update={"holds": [number]})
    missed = replace(FINDING, verdict="does not hold", reason="the whole interval is where it must not be")
    texts = [page([replace(HOLDS, claim=claim, findings=(found,))], markdown=True) for found in (FINDING, missed)]
    assert "Their rate falls" not in texts[0]
    assert "does not hold: the whole interval is where it must not be. Their rate falls. |" in texts[1]


def test_hope_comes_first_and_in_a_chapter_what_holds():
    last = Judged("third", CLAIM, False, (replace(FINDING, verdict="does not hold"),), MEASURED, "nlbench verify third")
    text = page([last, HOLDS, FAILS], markdown=True)
    places = [text.index(f'<a id="{name}"></a>') for name in ("second", "first", "third")]
    assert places == sorted(places)
    assert text.index("## HOPE, as it is in this package") < text.index("## The field") < places[0]
    assert "Nested Learning, in miniature" not in text


def test_how_many_of_each_verdict_there_are_is_said_in_words():
    nothing = replace(HOLDS, name="nothing", findings=(replace(FINDING, verdict="not comparable"),))
    text = page([HOLDS, replace(HOLDS, name="again"), FAILS, nothing], markdown=True)
    assert "Of 4 claims 2 hold, 1 does not hold, 1 is not comparable." in text
    assert "Of 1 claim 1 holds." in page([HOLDS], markdown=True)


def test_every_number_of_a_reduced_form_is_marked_and_no_published_one_shown():
    text = page([FAILS], markdown=True)
    assert "found, reduced" in text
    assert "Reduced: batch = 64" in text
    assert "1 published number is judged in the full form alone." in text
    assert "accuracy of one is 0.5" not in text
    assert "reduced" not in page([HOLDS], markdown=True).lower()


def test_markdown_says_the_same_and_keeps_its_tables():
    text = page([FAILS, HOLDS], markdown=True)
    rows = [line for line in text.splitlines() if line.startswith("| accuracy of one")]
    assert rows[0].replace(r"\|", "").count("|") == 6
    assert "&lt;b>bold" in text
    assert r"It \*holds\*." in text
    assert "Source: Somebody 2020, Table 1" in text
    assert "**does not hold** (reduced)" in text
    assert "| one | mlp | split-digits | average accuracy .5100 [.4900, .5300] | 1.5 |" in text


def test_the_suffix_decides_and_another_is_refused(tmp_path):
    assert write_page([HOLDS], tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert write_page([HOLDS], tmp_path / "page.md").read_text().startswith("# Claims on trial")
    with pytest.raises(NlbenchError, match="HTML or Markdown"):
        write_page([HOLDS], tmp_path / "page.pdf")
