"""Plans carried out: prepared, run and recorded, checkpointed, or only estimated."""

from nlbench.runner import trained
from nlbench.runner.checkpoint import Checkpoint
from nlbench.runner.dry_run import Estimate, estimate
from nlbench.runner.execution import execute
from nlbench.runner.pace import Moment
from nlbench.runner.preparing import build_learner, build_stream, prepare, threads, torch_device
from nlbench.runner.shortages import shortages_told

__all__ = [
    "Checkpoint",
    "Estimate",
    "Moment",
    "build_learner",
    "build_stream",
    "estimate",
    "execute",
    "prepare",
    "shortages_told",
    "threads",
    "torch_device",
    "trained",
]
