"""A stream of your own arrays: handwritten digits that get noisier from task to task. Run `python arrays.py`."""

import numpy as np
from sklearn.datasets import load_digits

import nlbench

rng = np.random.default_rng(0)
images, labels = load_digits(return_X_y=True)
order = rng.permutation(len(images))
train, test = order[:1400], order[1400:]


def task(noise):
    """Training and test inputs and labels, as seen through a sensor with this much noise."""
    seen = (images / 16 + noise * rng.normal(size=images.shape)).astype(np.float32)
    return seen[train], labels[train], seen[test], labels[test]


stream = nlbench.stream_from_arrays("noisy-digits", [task(noise) for noise in (0.0, 0.3, 0.6)], scenario="domain-il", batch=16)

if __name__ == "__main__":
    records = [nlbench.run(model, stream, seeds=10, results="results/noisy-digits").path for model in ("mlp", "joint-one-pass")]
    print(nlbench.compare(records, baseline="mlp").to_markdown())
