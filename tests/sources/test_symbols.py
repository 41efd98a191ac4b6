from __future__ import annotations

import re

import numpy as np
import pytest

from nlbench.sources import read
from nlbench.sources.symbols import BLANK, FORMAL_LANGUAGES, RECALL


def inside(language: int, word: str) -> bool:
    """Whether a word is in a language, judged anew."""
    if language == 0:
        return word.count("b") % 2 == 0
    if language in (1, 2):
        return re.fullmatch(("(aa)*", "(abab)*")[language - 1], word) is not None
    counts = [len(run) for run in re.fullmatch("(a*)(b*)(c*)", word).groups()]  # type: ignore[union-attr]
    return counts[0] == counts[1] and counts[2] == (0 if language == 3 else counts[0])


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_word_s_label_says_whether_it_is_in_the_language_that_its_first_symbol_names(part: str) -> None:
    arrays = read(FORMAL_LANGUAGES)
    rows, labels = getattr(arrays, f"{part}_inputs").argmax(-1), getattr(arrays, f"{part}_labels")
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        language = row[0] - BLANK - 1
        word = "".join("abc "[symbol] for symbol in row[1:]).strip()
        assert language == label // 2
        assert " " not in word
        assert inside(language, word) == label % 2
    counts = np.bincount(labels)
    assert (counts[::2] == counts[1::2]).all()


def test_the_value_of_the_key_that_is_asked_for_is_the_class() -> None:
    arrays = read(RECALL)
    keys = int(RECALL.recipe["keys"])
    for row, label in zip(arrays.train_inputs.argmax(-1).tolist(), arrays.train_labels.tolist(), strict=True):
        pairs = dict(zip(row[:-1:2], row[1::2], strict=True))
        assert len(pairs) == RECALL.recipe["pairs"]
        assert pairs[row[-1]] - keys == label
    asked = [row.index(row[-1]) for row in arrays.train_inputs.argmax(-1).tolist()]
    assert np.ptp(np.bincount(asked)[::2]) < 0.2 * len(asked) / 4  # any of the pairs alike


@pytest.mark.parametrize("source", [FORMAL_LANGUAGES, RECALL], ids=lambda source: source.name)
def test_each_step_is_one_symbol(source: object) -> None:
    inputs = read(source).test_inputs  # type: ignore[arg-type]
    assert ((inputs == 0) | (inputs == 1)).all()
    assert (inputs.sum(-1) == 1).all()
