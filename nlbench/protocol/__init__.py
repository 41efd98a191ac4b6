"""How a learner meets a stream and is measured: schedule, feed, evaluation, pixel order, and the loop over them."""

from nlbench.protocol.evaluation import Count
from nlbench.protocol.feed import problem_of
from nlbench.protocol.loop import BOUNDARY, Meeting, evaluate_stream
from nlbench.protocol.policy import evaluated_tasks
from nlbench.protocol.progress import Progress
from nlbench.protocol.schedule import START, Position, Schedule, Stretch

__all__ = [
    "BOUNDARY",
    "START",
    "Count",
    "Meeting",
    "Position",
    "Progress",
    "Schedule",
    "Stretch",
    "evaluate_stream",
    "evaluated_tasks",
    "problem_of",
]
