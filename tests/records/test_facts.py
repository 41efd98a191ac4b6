"""Nested tables as flat facts, and where they differ."""

from __future__ import annotations

from nlbench.records.facts import Difference, differences, flatten, stated, varying


def test_tables_become_dotted_paths_and_lists_stay_values() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None}) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": None}
    assert flatten({"empty": {}}) == {}


def test_differences_are_in_order_of_their_paths_and_name_what_a_side_lacks() -> None:
    found = differences({"z": 1, "a": {"x": 1, "y": 2}}, {"z": 2, "a": {"x": 1}, "b": [1]})
    assert found == [Difference("a.y", 2, None), Difference("b", None, [1]), Difference("z", 1, 2)]
    assert str(found[0]) == "a.y: 2 / None"
    assert differences({"a": {"b": 1}}, {"a": {"b": 1}}) == []


def test_what_varies_keeps_the_order_in_which_it_first_appears() -> None:
    tables = [{"b": 1, "a": 1, "same": 0}, {"b": 1, "a": 2, "same": 0}, {"b": 1, "a": 1, "same": 0, "late": None}]
    assert varying(tables) == ["a"]  # a fact that is null says no more than one that is absent
    assert varying([*tables, {"b": 1, "a": 1}]) == ["a", "same"]
    assert varying(tables[:1]) == []


def test_a_key_of_null_is_not_stated_and_an_item_of_null_is() -> None:
    first = {"rate": 0.1, "schedule": None, "levels": [{"period": 1, "rate": None}, None], "empty": {"late": None}}
    assert stated(first) == {"rate": 0.1, "levels": [{"period": 1}, None], "empty": {}}
    assert stated({"rate": 0.0, "off": False, "none": ()}) == {"rate": 0.0, "off": False, "none": []}
