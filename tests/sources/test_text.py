from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from sklearn.feature_extraction.text import HashingVectorizer

from nlbench.errors import DataError
from nlbench.sources import text
from nlbench.sources.text import (
    NEWSGROUPS,
    NEWSGROUPS_WORDLLAMA,
    R8,
    R8_WORDLLAMA,
    R52,
    R52_WORDLLAMA,
    VECTORS,
    EmbeddedText,
    Text,
)

TRAIN = (("trade", "goods move goods"), ("acq", "one firm buys another"), ("trade", "tariff on steel"), ("", "no label"))
TEST = (("acq", "a firm buys"), ("trade", "steel goods"))
WORDS = ("goods", "move", "firm", "buys", "steel")


def table(rows: Sequence[tuple[str, str]]) -> bytes:
    return ("Category\tText\nd\tstring\nclass\t\n" + "".join(f"{label}\t{words}\n" for label, words in rows)).encode()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Text:
    """A small data set in the format of R8, below a folder that `NLBENCH_DATA` names."""
    monkeypatch.setenv("NLBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    contents = {file: table(rows) for file, rows in zip(R8.files, (TRAIN, TEST), strict=True)}
    (tmp_path / R8.folder).mkdir()
    for file, content in contents.items():
        (tmp_path / R8.folder / file).write_bytes(content)
    return replace(
        R8, n_classes=2, input_shape=(64,), files={file: sha256(content).hexdigest() for file, content in contents.items()}
    )


@pytest.fixture
def embedded(made: Text, tmp_path: Path) -> EmbeddedText:
    vocabulary = {word: number for number, word in enumerate(("[unk]", *WORDS))}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[unk]"}
    special = {"id": 0, "content": "[unk]", "single_word": False, "lstrip": False, "rstrip": False}
    words = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**special, "normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    weights = save({"embedding.weight": np.arange(12, dtype=np.float16).reshape(6, 2) % 5})
    contents = dict(zip(VECTORS.files, (json.dumps(words).encode(), weights), strict=True))
    (tmp_path / VECTORS.folder).mkdir()
    for file, content in contents.items():
        (tmp_path / VECTORS.folder / file).write_bytes(content)
    vectors = replace(VECTORS, files={file: sha256(content).hexdigest() for file, content in contents.items()})
    files = {**made.files, **vectors.files}
    return replace(R8_WORDLLAMA, n_classes=2, input_shape=(2,), texts=made, vectors=vectors, files=files)


def test_texts_are_scikit_learns_hashed_words_and_a_row_without_label_is_left_out(made: Text) -> None:
    arrays = made.read()
    assert arrays.train_labels.tolist() == [1, 0, 1]
    assert arrays.test_labels.tolist() == [0, 1]
    expected = HashingVectorizer(n_features=64).transform([words for label, words in TRAIN if label]).toarray()
    np.testing.assert_allclose(arrays.train_inputs, expected, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(arrays.train_inputs, axis=1), 1.0, rtol=1e-6)


def test_features_are_made_once_for_the_same_files(made: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made.read()
    monkeypatch.setattr(Text, "_hashed", lambda *_: pytest.fail("made again"))
    np.testing.assert_array_equal(made.read().train_inputs, first.train_inputs)


def test_word_vectors_are_averaged_over_a_text_s_tokens_and_brought_to_unit_length(embedded: EmbeddedText) -> None:
    arrays = embedded.read()
    vectors = (np.arange(12).reshape(6, 2) % 5).astype(np.float64)
    tokens = {word: number for number, word in enumerate(("[unk]", *WORDS))}
    for row, (_, words) in zip(arrays.test_inputs, TEST, strict=True):
        mean = np.mean([vectors[tokens.get(word, 0)] for word in words.split()], axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), rtol=1e-6)


def test_both_the_texts_and_the_vectors_identify_embedded_texts_and_must_be_there(embedded: EmbeddedText, tmp_path: Path) -> None:
    other = replace(embedded.vectors, files=dict.fromkeys(embedded.vectors.files, "0" * 64))
    changed = replace(embedded, vectors=other, files={**embedded.texts.files, **other.files})
    assert len({embedded.checksum, embedded.texts.checksum, changed.checksum}) == 3
    assert set(embedded.verify()) == {*embedded.texts.files, *embedded.vectors.files}
    (tmp_path / VECTORS.folder / next(iter(VECTORS.files))).unlink()
    assert embedded.locate() == {}
    with pytest.raises(DataError, match="wordllama: not found in"):
        embedded.verify()


def test_without_tokenizers_the_error_names_the_extra(embedded: EmbeddedText, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"need the package tokenizers. `pip install nlbench\[text\]`"):
        text.means(["goods"], b"", b"")


@pytest.mark.parametrize("source", [NEWSGROUPS, R8, R52], ids=lambda source: source.name)
def test_the_real_texts_are_as_many_and_of_as_many_topics_as_they_say(source: Text) -> None:
    if not source.locate():
        pytest.skip(f"needs {source.name}: `nlbench data fetch {source.name}`")
    parts = [text._rows(content) for content in source.contents().values()]
    sizes = {"newsgroups": (11293, 7528), "r8": (5485, 2189), "r52": (6532, 2568)}
    assert tuple(len(labels) for labels, _ in parts) == sizes[source.name]
    assert {len(set(labels)) for labels, _ in parts} == {source.n_classes}


@pytest.mark.slow
@pytest.mark.parametrize("source", [NEWSGROUPS_WORDLLAMA, R8_WORDLLAMA, R52_WORDLLAMA], ids=lambda source: source.name)
def test_constants_of_word_vectors_standardise_the_training_set(source: EmbeddedText) -> None:
    if not source.locate():
        pytest.skip(f"needs {source.name}: `nlbench data fetch {source.name}`")
    train = source.read().train_inputs.astype(np.float64)
    assert train.mean() == pytest.approx(source.mean, abs=1e-6)
    assert train.std() == pytest.approx(source.std, abs=1e-6)
