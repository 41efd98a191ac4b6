"""HOPE on digits that come two classes at a time: what its memories keep by slow levels alone, and in the metric of their keys.

Run `python continual_digits.py`. Chance is .10 of average accuracy and .50 of learning accuracy.
"""

import nlbench

LEARNERS = (
    "hope-paper",  # the paper's blocks: memories that start fresh for each sample
    "hope-paper-stream",  # the same blocks: memories that go on along the stream
    "cms-headwise",  # a continuum memory alone
    "hope",  # a memory in the metric of surprises, with values of its own
)

if __name__ == "__main__":
    records = [nlbench.run(model, "split-digits", seeds=3, results="results/continual-digits").path for model in LEARNERS]
    print(nlbench.compare(records, baseline="hope-paper").to_markdown())
