"""A convolutional network of your own on your own images: five tasks, resumed if it is interrupted, used afterwards.

Run `python own_network.py`. Stop it within a task and run it again: it goes on, to the same numbers.
"""

import numpy as np
from torch import nn

import nlbench


class Network(nn.Sequential):
    def __init__(self, n_classes):
        first = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU()
        second = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(4)
        super().__init__(*first, *second, nn.Flatten(), nn.Linear(64, n_classes))


def images(rng, labels):
    """Return noise with a bright square whose place and colour say the label: (n, 3, 32, 32)."""
    x = rng.normal(size=(len(labels), 3, 32, 32)).astype(np.float32)
    for image, label in zip(x, labels, strict=True):
        image[label % 3, 6 * (label // 2) : 6 * (label // 2) + 6, 16 * (label % 2) : 16 * (label % 2) + 16] += 3
    return x


rng = np.random.default_rng(0)
labels = [np.arange(200) % 2 + 2 * task for task in range(5)]
tasks = [(images(rng, y), y, images(rng, y[:50]), y[:50]) for y in labels]
stream = nlbench.stream_from_arrays("squares", tasks, batch=10, confusion=True)
if __name__ == "__main__":
    run = nlbench.run(Network, stream, seeds=2, save="learners", progress=True)
    print(run.metric("average_accuracy"), run.path)
    print(run.record.confusion()[0])
    print(run.learner(0).predict(tasks[4][2]).argmax(-1)[:10])
