"""Paired statistics between records: who is better, by how much, and whether the seeds can tell."""

from nlbench.comparison.groups import SHOWN, TESTED, at_chance, compare
from nlbench.comparison.model import Entry, Estimate, Group, Paired, Ranking
from nlbench.comparison.tables import Comparison, Table, learner_table, paired_table, remarks

__all__ = [
    "SHOWN",
    "TESTED",
    "Comparison",
    "Entry",
    "Estimate",
    "Group",
    "Paired",
    "Ranking",
    "Table",
    "at_chance",
    "compare",
    "learner_table",
    "paired_table",
    "remarks",
]
