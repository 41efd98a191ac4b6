"""Data sets invented to try the claims of Behrouz et al. 2025 (Nested Learning, arXiv 2512.24695) in miniature, with nothing to
fetch: languages to translate from, topics of texts, associations to keep, and the two sides of a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nlbench.seeds import FIXED, generator
from nlbench.sources.generated import Generated
from nlbench.sources.symbols import FORMAL_LANGUAGES, RECALL, one_hot

Made = tuple[NDArray[np.float32], NDArray[np.int64]]


def translations(recipe: Mapping[str, float]) -> Made:
    """Return sentences of invented languages (N, words + 2, symbols), one-hot, and which meaning the word that is asked for has,
    after those of the languages before: language · meanings + meaning.

    A sentence says who did what to whom, a meaning each. A language has a word order of its own and calls each meaning by
    `synonyms` words; all languages have the same words, each with other meanings. The first symbol names the language, the last
    one the role that is asked for. No two sentences are alike.
    """
    languages, meanings, synonyms, roles, n = (
        int(recipe[name]) for name in ("languages", "meanings", "synonyms", "roles", "sentences")
    )
    words = meanings * synonyms
    rows, labels = [], []
    for language in range(languages):
        draw = generator(FIXED, f"translations/{language}")
        word_order, lexicon = draw.permutation(roles), draw.permutation(words).reshape(meanings, synonyms)
        found = dict[tuple[int, ...], int]()
        while len(found) < n:
            said, role = draw.integers(0, meanings, roles), int(draw.integers(roles))
            said[role] = len(found) % meanings
            spoken = lexicon[said, draw.integers(0, synonyms, roles)][word_order]
            found.setdefault((words + language, *spoken.tolist(), words + languages + role), int(said[role]))
        rows += list(found)
        labels += [language * meanings + meaning for meaning in found.values()]
    return one_hot(np.array(rows), words + languages + roles), np.array(labels)


def topics(recipe: Mapping[str, float]) -> Made:
    """Return texts as the mean of their words' vectors, of unit length, (N, width), and their topics (N,).

    Words are as frequent as Zipf says, and each topic prefers some by a factor of its own, as real ones do (a Dirichlet draw).
    """
    count, n, vocabulary, width, length = (int(recipe[name]) for name in ("topics", "texts", "words", "width", "length"))
    draw = generator(FIXED, "topics")
    vectors = draw.standard_normal((vocabulary, width))
    usual = 1 / np.arange(1, vocabulary + 1)
    labels = np.arange(n) % count
    texts = np.empty((n, vocabulary))
    for topic in range(count):
        preferred = usual * draw.gamma(recipe["concentration"], size=vocabulary)
        texts[labels == topic] = draw.multinomial(length, preferred / preferred.sum(), size=int((labels == topic).sum()))
    means = texts @ vectors
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32), labels


def associations(recipe: Mapping[str, float]) -> Made:
    """Return keys (N, width), each seen so many times with noise, and which key it is (N,).

    Split into tasks whose labels are shared, each task has keys of its own for the same values: what is recalled later of an
    early task is what was kept over that distance.
    """
    keys, times, width = (int(recipe[name]) for name in ("keys", "times", "width"))
    draw = generator(FIXED, "associations")
    labels = np.arange(keys * times) % keys
    vectors = draw.standard_normal((keys, width))[labels] + recipe["noise"] * draw.standard_normal((len(labels), width))
    return vectors.astype(np.float32), labels


def sides(recipe: Mapping[str, float]) -> Made:
    """Return (N, 2): -1 or 1, and the number of the sample, in [0, 1); and (N,) which of the two it is."""
    n = int(recipe["samples"])
    labels = np.arange(n) % 2
    return np.stack([2.0 * labels - 1, np.arange(n) / n], axis=1).astype(np.float32), labels


TRANSLATIONS: Final = Generated(
    name="translations",
    title="Sentences of two invented languages that share their words: what does the word asked for mean? 6,000 sentences",
    kind="sequence",
    input_shape=(5, 25),
    n_classes=20,
    modality="symbols",
    origin="made here, after section 9.2 of Behrouz et al. 2025, arXiv 2512.24695",
    licence="made here (Apache-2.0)",
    make=translations,
    recipe={"languages": 2, "meanings": 10, "synonyms": 2, "roles": 3, "sentences": 3000},
)

TOPICS: Final = Generated(
    name="topics",
    title="3,000 invented texts on ten topics, as mean word vectors",
    kind="features",
    input_shape=(64,),
    n_classes=10,
    modality="text",
    origin="made here, as the topics of Blei, Ng & Jordan 2003",
    licence="made here (Apache-2.0)",
    make=topics,
    recipe={"topics": 10, "texts": 3000, "words": 500, "width": 64, "length": 40, "concentration": 0.3},
)

ASSOCIATIONS: Final = Generated(
    name="associations",
    title="100 keys, each seen 50 times with noise; which key is the class",
    kind="vector",
    input_shape=(32,),
    n_classes=100,
    modality="symbols",
    origin="made here, after Fig. 7 of Behrouz et al. 2025, arXiv 2512.24695",
    licence="made here (Apache-2.0)",
    make=associations,
    recipe={"keys": 100, "times": 50, "width": 32, "noise": 0.3},
)

SIDES: Final = Generated(
    name="sides",
    title="1,250 numbers that are -1 or 1; which of the two is the class",
    kind="vector",
    input_shape=(2,),
    n_classes=2,
    modality="symbols",
    origin="made here",
    licence="made here (Apache-2.0)",
    make=sides,
    recipe={"samples": 1250},
)

SHORT_WORDS: Final = replace(
    FORMAL_LANGUAGES,
    name="short-words",
    title="Words of 3 to 13 symbols inside and beside five formal languages; for machines without a GPU",
    input_shape=(16, 9),
    recipe={"steps": 15, "shortest": 3, "longest": 13, "tries": 1500},
)

SHORT_RECALL: Final = replace(
    RECALL,
    name="short-recall",
    title="Associative recall: three pairs of six keys and four values, then a key; for machines without a GPU; 3,000 sequences",
    input_shape=(7, 10),
    n_classes=4,
    recipe={"pairs": 3, "keys": 6, "values": 4, "samples": 3000},
)
