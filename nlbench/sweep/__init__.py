"""Many runs: a grid of plans, of which what is not recorded is run by an engine, within a budget, and goes on where it stopped.

grid      a declaration, or options -> plans
cells     one plan and the seeds that it lacks -> work for an engine, and what became of it
engines   what runs work: `here`, `local` (worker processes), `ray`
running   plans in, outcomes out

Imports no torch: workers do.
"""

from nlbench.sweep.cells import Cell, Outcome
from nlbench.sweep.engines import Ended, Engine, Here, Needs, Work, drive
from nlbench.sweep.grid import Grid, Point, read_grid
from nlbench.sweep.running import Budget, Policy, sweep

__all__ = [
    "Budget",
    "Cell",
    "Ended",
    "Engine",
    "Grid",
    "Here",
    "Needs",
    "Outcome",
    "Point",
    "Policy",
    "Work",
    "drive",
    "read_grid",
    "sweep",
]
