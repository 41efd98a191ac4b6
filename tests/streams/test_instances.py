from __future__ import annotations

import numpy as np
import pytest
import torch
from small_streams import declared_stream

from nlbench.errors import DataError


@pytest.mark.parametrize("part", ["train", "test"])
def test_tasks_share_all_samples_out_with_as_many_of_each_class(part: str) -> None:
    stream = declared_stream("instances", tasks=7)
    shares = [getattr(stream, part)(task) for task in range(1, 8)]
    rows = torch.cat([share.rows[0] for share in shares])
    assert sorted(rows.tolist()) == list(range(len(rows)))
    assert np.ptp([len(share) for share in shares]) <= 1
    counts = np.stack([np.bincount(share.labels[0], minlength=10) for share in shares])
    assert np.ptp(counts, axis=0).max() <= 1
    assert not all(torch.equal(share.rows[0].diff(), torch.full_like(share.rows[0].diff(), 7)) for share in shares)


def test_labels_are_shared_or_offset_and_too_many_tasks_are_refused() -> None:
    assert declared_stream("instances", tasks=3).task_classes(3).all()
    told = declared_stream("instances", tasks=3, scenario="task-il")
    assert set(told.test(2).labels[0].tolist()) == set(range(10, 20))
    with pytest.raises(DataError, match="test samples are too few for 500 tasks"):
        declared_stream("instances", tasks=500)
