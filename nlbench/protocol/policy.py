"""An evaluation policy: which tasks are measured at which boundary. Its spelling is checked where streams are declared."""

from __future__ import annotations


def evaluated_tasks(policy: str, task: int, n_tasks: int) -> range:
    """Return the tasks that an evaluation policy measures after `task`."""
    if policy == "full" or (policy == "final" and task == n_tasks):
        return range(1, n_tasks + 1)
    if policy == "final":
        return range(0)
    if policy == "seen":
        return range(1, task + 1)
    window = int(policy.removeprefix("window:"))
    return range(1, n_tasks + 1) if task == n_tasks else range(max(1, task - window + 1), task + 1)
