from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from nlbench.sources import Source, read
from nlbench.sources.invented import ASSOCIATIONS, SHORT_RECALL, SHORT_WORDS, SIDES, TOPICS, TRANSLATIONS

ALL = (TRANSLATIONS, TOPICS, ASSOCIATIONS, SIDES, SHORT_WORDS, SHORT_RECALL)
EACH = pytest.mark.parametrize("source", ALL, ids=lambda source: source.name)


def whole(source: Source) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    arrays = read(source)
    return np.concatenate([arrays.train_inputs, arrays.test_inputs]), np.concatenate([arrays.train_labels, arrays.test_labels])


@EACH
def test_it_is_as_it_is_declared_and_no_sample_is_there_twice(source: Source) -> None:
    inputs, labels = whole(source)
    assert inputs.dtype == np.float32
    assert inputs.shape[1:] == source.input_shape
    assert set(labels.tolist()) == set(range(source.n_classes))
    assert len(np.unique(inputs.reshape(len(inputs), -1), axis=0)) == len(inputs)


def test_a_word_means_the_same_in_every_sentence_of_its_language_and_something_else_in_the_other() -> None:
    recipe = {name: int(value) for name, value in TRANSLATIONS.recipe.items()}
    words, roles, meanings = recipe["meanings"] * recipe["synonyms"], recipe["roles"], recipe["meanings"]
    inputs, labels = whole(TRANSLATIONS)
    rows = inputs.argmax(-1)
    assert ((rows[:, 0] - words) == labels // meanings).all()
    lexicons = []
    for language in range(recipe["languages"]):
        own, asked = rows[labels // meanings == language], labels[labels // meanings == language] % meanings
        role = own[:, -1] - words - recipe["languages"]
        # in one of the word orders every word has one meaning, wherever it stands
        orders = []
        for place in range(roles):
            found = [
                {(int(word), int(meaning)) for word, meaning in zip(own[role == one, 1 + place], asked[role == one], strict=True)}
                for one in range(roles)
            ]
            orders.append([len(pairs) == words for pairs in found].index(True))
        assert sorted(orders) == list(range(roles))
        lexicons.append(
            {
                (int(word), int(meaning))
                for place, one in enumerate(orders)
                for word, meaning in zip(own[role == one, 1 + place], asked[role == one], strict=True)
            }
        )
    assert all(len(lexicon) == words for lexicon in lexicons)
    assert len(lexicons[0] & lexicons[1]) < words / 2


def test_topics_can_be_told_from_their_words_and_not_from_one_number() -> None:
    arrays = read(TOPICS)
    told = RidgeClassifier().fit(arrays.train_inputs, arrays.train_labels).score(arrays.test_inputs, arrays.test_labels)
    alone = (
        RidgeClassifier()
        .fit(arrays.train_inputs[:, :1], arrays.train_labels)
        .score(arrays.test_inputs[:, :1], arrays.test_labels)
    )
    assert 0.8 < told < 1.0
    assert alone < 0.4
    np.testing.assert_allclose(np.linalg.norm(arrays.test_inputs, axis=1), 1, atol=1e-5)


def test_an_association_is_a_key_with_noise() -> None:
    inputs, labels = whole(ASSOCIATIONS)
    keys = np.stack([inputs[labels == key].mean(0) for key in range(ASSOCIATIONS.n_classes)])
    noise = inputs - keys[labels]
    assert noise.std() == pytest.approx(ASSOCIATIONS.recipe["noise"], rel=0.03)
    assert np.bincount(labels).tolist() == [ASSOCIATIONS.recipe["times"]] * ASSOCIATIONS.n_classes


def test_the_sign_of_its_first_number_is_the_side() -> None:
    inputs, labels = whole(SIDES)
    assert ((inputs[:, 0] > 0) == labels).all()
