"""Paired statistics between records: who is better, by how much, and whether the seeds can tell."""

from nlbench.comparison.chance import Learned, learned, mean_chance
from nlbench.comparison.costs import budgets, read_flops
from nlbench.comparison.groups import SHOWN, TESTED, compare
from nlbench.comparison.model import Entry, Estimate, Group, Paired, Ranking, Table
from nlbench.comparison.tables import Comparison, learner_table, paired_table, remarks

__all__ = [
    "SHOWN",
    "TESTED",
    "Comparison",
    "Entry",
    "Estimate",
    "Group",
    "Learned",
    "Paired",
    "Ranking",
    "Table",
    "budgets",
    "compare",
    "learned",
    "learner_table",
    "mean_chance",
    "paired_table",
    "read_flops",
    "remarks",
]
