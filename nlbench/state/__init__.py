"""Everything that an object holds, as named tensors, and put back into a freshly built object of its kind: no pickle.

`collect` walks attributes and containers, however nested; `restore` walks the fresh object beside what was collected, so that
what refers to a tensor or a list goes on referring to it. What cannot be walked is named by `obstacles`, so that a run can say so
before its first batch. A class names in `made_anew` the attributes that hold nothing a resume needs.
"""

from nlbench.state.collecting import STRUCTURE, collect, left_out, obstacle, obstacles
from nlbench.state.comparing import as_bytes, digested, first_difference, same
from nlbench.state.restoring import UnlikeError, put, restore

__all__ = [
    "STRUCTURE",
    "UnlikeError",
    "as_bytes",
    "collect",
    "digested",
    "first_difference",
    "left_out",
    "obstacle",
    "obstacles",
    "put",
    "restore",
    "same",
]
