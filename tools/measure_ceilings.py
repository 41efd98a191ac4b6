"""What all classes at once allow: test accuracy of 3,000 random features and ridge on pooled data sets.

`python tools/measure_ceilings.py [NAMES]` prints a Markdown table. The features are ReLU of a random projection for word vectors
and cosines of one (Rahimi and Recht 2007) for tables; the ridge is chosen among four values on a fifth of the training set.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from nlbench import sources
from nlbench.seeds import FIXED, generator
from nlbench.sources import read

NAMES = ("newsgroups-wordllama", "r8-wordllama", "r52-wordllama", "letters")
WIDTH = 3000
RIDGES = (0.01, 0.1, 1.0, 10.0)


def features(inputs: NDArray[np.float32], modality: str | None) -> NDArray[np.float32]:
    """Return (N, WIDTH) of inputs (N, D) of deviation 1."""
    draw = generator(FIXED, f"ceilings/{modality}")
    d = inputs.shape[1]
    if modality == "tables":
        projection = (draw.standard_normal((d, WIDTH)) / np.sqrt(d)).astype(np.float32)
        return np.cos(2 * inputs @ projection + draw.uniform(0, 2 * np.pi, WIDTH).astype(np.float32))
    projection = (draw.standard_normal((d, WIDTH)) / np.sqrt(d)).astype(np.float32)
    return np.maximum(inputs @ projection, 0)


def fitted(x: NDArray[np.float32], labels: NDArray[np.int64], ridge: float) -> NDArray[np.float64]:
    """Return weights (WIDTH, C) of ridge regression onto one-hot labels, `ridge` per sample."""
    gram = (x.T @ x).astype(np.float64)
    gram[np.diag_indices(len(gram))] += ridge * len(x) / 1000
    factor = np.linalg.cholesky(gram)
    target = (x.T @ np.eye(labels.max() + 1, dtype=np.float32)[labels]).astype(np.float64)
    return np.linalg.solve(factor.T, np.linalg.solve(factor, target))


def ceiling(name: str) -> tuple[float, float]:
    """Return the test accuracy of a data set and the ridge that was chosen for it."""
    source = sources.find(name)
    arrays = read(source)
    train, test = (
        features(((part.reshape(len(part), -1) - source.mean) / source.std).astype(np.float32), source.modality)
        for part in (arrays.train_inputs, arrays.test_inputs)
    )
    order = generator(FIXED, f"ceilings/{name}").permutation(len(train))
    cut = len(order) // 5
    held, kept = order[:cut], order[cut:]

    def accuracy(weights: NDArray[np.float64], x: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        return float(((x @ weights).argmax(1) == labels).mean())

    labels = arrays.train_labels
    scores = {ridge: accuracy(fitted(train[kept], labels[kept], ridge), train[held], labels[held]) for ridge in RIDGES}
    best = max(scores, key=lambda ridge: scores[ridge])
    return accuracy(fitted(train, labels, best), test, arrays.test_labels), best


def main() -> None:
    sys.stdout.write("| data set | test accuracy | ridge |\n|---|---|---|\n")
    for name in sys.argv[1:] or NAMES:
        score, ridge = ceiling(name)
        sys.stdout.write(f"| {name} | {score:.4f} | {ridge} |\n")


if __name__ == "__main__":
    main()
