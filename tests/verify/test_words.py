"""Statements and numbers as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nlbench.verify.claims import Quick
from nlbench.verify.model import Finding
from nlbench.verify.statements import Equality, Order, Slope, Value
from nlbench.verify.words import expected, interval, number, reduction, worded

FINDING = Finding("s", "holds", "r", 0.51, 0.49, 0.53, (0.4, 0.6), None, 10)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (Value(kind="value", of="a", equals=0.8, band=0.02), "average accuracy of a is 0.8 ± 0.02"),
        (Order(kind="order", above="a", below="b", metric="forgetting"), "forgetting of a is above that of b"),
        (Order(kind="order", above="a", below="b", by=0.1), "average accuracy of a is above that of b by 0.1 or more"),
        (Equality(kind="equality", of="a", to="b", within=0.05), "average accuracy of a is that of b, within 0.05"),
        (
            Slope(kind="slope", of=["a", "b"], against=[1.0, 2.0], at_least=0.02),
            "average accuracy rises by 0.02 or more for each 1, over a (1), b (2)",
        ),
    ],
)
def test_a_statement_is_a_sentence(statement, words):
    assert worded(statement) == words


@pytest.mark.parametrize(("value", "text"), [(0.5, ".5000"), (-0.0312, "-.0312"), (12.345, "12.35"), (1.0, "1"), (0.0, ".0000")])
def test_numbers_have_four_places(value, text):
    assert number(value) == text


def test_what_was_not_measured_is_a_dash():
    nothing = Finding("s", "not comparable", "why")
    assert (interval(nothing), expected(nothing)) == ("–", "–")
    assert expected(replace(FINDING, expected=(0.1,))) == "above .1000"
    assert expected(FINDING) == ".4000 to .6000"


def test_a_reduction_is_what_it_puts_in_place():
    quick = Quick(streams={"split-mnist": "split-digits"}, seeds=7, set={"stream.tasks": 5, "protocol.evaluate": "final"})
    assert reduction(quick) == 'split-digits for split-mnist; 7 seeds; stream.tasks = 5; protocol.evaluate = "final"'
    assert reduction(Quick()) == ""
    assert reduction(Quick(set={"batch": 8}, cells={"ewc": {"batch": 16}})) == "batch = 8; batch = 16 of ewc"
