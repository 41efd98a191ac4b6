"""Sequences of symbols made by a rule: words in formal languages or beside them, and pairs to be recalled.

Languages as in Bhattamishra et al. 2020 (On the Ability and Limitations of Transformers to Recognize Formal Languages, arXiv
2009.11264) and Behrouz et al. 2025 (arXiv 2512.24695, section 9.5); recall as in Arora et al. 2023 (Zoology, arXiv 2312.04927).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nlbench.seeds import FIXED, generator
from nlbench.sources.generated import Generated

BLANK: Final = 3
"""The symbol after a, b and c."""


def _parity(draw: np.random.Generator, length: int, inside: bool) -> list[int]:
    """a's and b's; inside: an even number of b's."""
    word = draw.integers(0, 2, length)
    word[-1] ^= (word.sum() % 2 == 0) != inside
    return [int(symbol) for symbol in word]


def _even(draw: np.random.Generator, length: int, inside: bool) -> list[int]:
    """(aa)*: a's alone; inside: an even number of them."""
    return [0] * (length - (length % 2 == 0) + inside)


def _alternating(draw: np.random.Generator, length: int, inside: bool) -> list[int]:
    """(abab)*: abab, again and again; outside: with one symbol turned into the other."""
    word = [0, 1, 0, 1] * max(1, length // 4)
    if not inside:
        word[int(draw.integers(len(word)))] ^= 1
    return word


def _twice(draw: np.random.Generator, length: int, inside: bool) -> list[int]:
    """Counting: a's, then as many b's; outside: another number of them."""
    return _counted(draw, max(1, length // 2), 2, inside)


def _thrice(draw: np.random.Generator, length: int, inside: bool) -> list[int]:
    """Counting: a's, then as many b's, then as many c's; outside: another number of b's or c's."""
    return _counted(draw, max(1, length // 3), 3, inside)


def _counted(draw: np.random.Generator, count: int, kinds: int, inside: bool) -> list[int]:
    counts = [count] * kinds
    if not inside:
        counts[1 + int(draw.integers(kinds - 1))] += -1 if count > 1 and draw.random() < 0.5 else 1
    return [symbol for symbol, times in enumerate(counts) for _ in range(times)]


LANGUAGES: Final[tuple[Callable[[np.random.Generator, int, bool], list[int]], ...]] = (
    _parity,
    _even,
    _alternating,
    _twice,
    _thrice,
)


def words(recipe: Mapping[str, float]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return words (N, 1 + steps, symbols), one-hot, and their labels: 2 k + 1 inside language k, 2 k beside it.

    The first symbol says which language is asked for, so a label is right in whatever order languages are learned. The word
    begins at any place that leaves it room; the rest is blank. No two are alike, and of each language there are as many inside as
    beside it.
    """
    rows, labels = [], []
    for language in range(len(LANGUAGES)):
        beside, within = (_rows(language, inside, recipe) for inside in (False, True))
        n = min(len(beside), len(within))
        rows += beside[:n] + within[:n]
        labels += [2 * language] * n + [2 * language + 1] * n
    return one_hot(np.array(rows), BLANK + 1 + len(LANGUAGES)), np.array(labels)


def _rows(language: int, inside: bool, recipe: Mapping[str, float]) -> list[tuple[int, ...]]:
    draw, steps = generator(FIXED, f"formal-languages/{language}/{inside}"), int(recipe["steps"])
    found = dict[tuple[int, ...], None]()
    for length in draw.integers(int(recipe["shortest"]), int(recipe["longest"]) + 1, int(recipe["tries"])):
        word = LANGUAGES[language](draw, int(length), inside)
        start = int(draw.integers(steps - len(word) + 1))
        rest = steps - start - len(word)
        found[(BLANK + 1 + language, *[BLANK] * start, *word, *[BLANK] * rest)] = None
    return list(found)


def recalled(recipe: Mapping[str, float]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return pairs of a key and a value, then one of the keys again, one-hot (N, 2 pairs + 1, keys + values), and its value.

    No two sequences are alike.
    """
    pairs, keys, values, n = (int(recipe[name]) for name in ("pairs", "keys", "values", "samples"))
    draw = generator(FIXED, "recall")
    found = dict[tuple[int, ...], int]()
    while len(found) < n:
        wanted = len(found) % values
        chosen, given, asked = draw.permutation(keys)[:pairs], draw.integers(0, values, pairs), int(draw.integers(pairs))
        given[asked] = wanted
        shown = np.stack([chosen, keys + given], axis=1).ravel()
        found.setdefault((*shown.tolist(), int(chosen[asked])), wanted)
    return one_hot(np.array(list(found)), keys + values), np.array(list(found.values()))


def one_hot(rows: NDArray[np.int64], symbols: int) -> NDArray[np.float32]:
    """Return symbols (N, steps) as vectors (N, steps, symbols)."""
    return np.eye(symbols, dtype=np.float32)[rows]


FORMAL_LANGUAGES: Final = Generated(
    name="formal-languages",
    title="Words inside and beside five formal languages: parity, (aa)*, (abab)*, and counting to two and three kinds",
    kind="sequence",
    input_shape=(49, 9),
    n_classes=10,
    modality="symbols",
    origin="made here, after Bhattamishra et al. 2020, arXiv 2009.11264, and Behrouz et al. 2025, arXiv 2512.24695",
    licence="made here (Apache-2.0)",
    make=words,
    recipe={"steps": 48, "shortest": 3, "longest": 40, "tries": 1500},
)

RECALL: Final = Generated(
    name="recall",
    title="Associative recall: four pairs of 16 keys and 10 values, then a key; its value is the class; 6,000 sequences",
    kind="sequence",
    input_shape=(9, 26),
    n_classes=10,
    modality="symbols",
    origin="made here, after Arora et al. 2023, arXiv 2312.04927",
    licence="made here (Apache-2.0)",
    make=recalled,
    recipe={"pairs": 4, "keys": 16, "values": 10, "samples": 6000},
)
