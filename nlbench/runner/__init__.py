"""Plans carried out: prepared, run and recorded, checkpointed, or only estimated."""

from nlbench.runner.checkpoint import Checkpoint
from nlbench.runner.dry_run import Estimate, estimate
from nlbench.runner.execution import execute
from nlbench.runner.preparing import build_learner, build_stream, prepare, threads, torch_device

__all__ = [
    "Checkpoint",
    "Estimate",
    "build_learner",
    "build_stream",
    "estimate",
    "execute",
    "prepare",
    "threads",
    "torch_device",
]
