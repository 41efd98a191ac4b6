"""The battery that every learner passes, ours and a user's: `nlbench doctor` and `nlbench.check_learner`.

material   a tiny made stream, and a learner that is made anew as often as a check asks
checks     the rules, each a function that says what breaks it
examining  all of them in turn, what a learner is exempt from, and how it stands beside chance and plain fine-tuning
"""

from nlbench.conformance.examining import Examination, Finding, examine
from nlbench.conformance.material import SHAPE, Candidate

__all__ = ["SHAPE", "Candidate", "Examination", "Finding", "examine"]
