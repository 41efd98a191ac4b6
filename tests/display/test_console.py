from __future__ import annotations

import pytest

from nlbench.display.console import flat, mean_text, number_text, seeds_text, size_text, write_json


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (38440, "38.4 kB"), (2.5e6, "2.5 MB"), (16.04e9, "16 GB"), (2e12, "2e+03 GB")],
)
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ((3,), "seed 3"),
        ((0, 1, 2), "seeds 0 to 2"),
        ((4, 5), "seeds 4 to 5"),
        ((3, 7), "seeds 3, 7"),
        ((0, 1, 3), "seeds 0, 1, 3"),
    ],
)
def test_seeds(seeds: tuple[int, ...], text: str) -> None:
    assert seeds_text(seeds) == text


def test_means_are_over_what_was_measured() -> None:
    assert mean_text([0.25, None, 0.75]) == "0.500"
    assert mean_text([None]) == mean_text([]) == "–"
    assert number_text(2 / 3) == "0.667"


def test_leaves_have_dotted_keys_and_what_says_nothing_is_left_out() -> None:
    assert dict(flat({"a": {"b": 1, "c": None, "d": {}}, "e": [1, 2], "f": "", "g": 0, "h": False})) == {
        "a.b": 1,
        "e": [1, 2],
        "g": 0,
        "h": False,
    }


def test_json_never_prints_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json({"x": float("nan")})
