"""Kinds of streams: the row of each names its class and its config."""

from __future__ import annotations

from typing import Final

from nlbench.catalog.extension import Extension

STREAMS: Final = {
    "split": Extension("nlbench.streams.split:SplitStream", "nlbench.streams.config:Split"),
    "permuted": Extension("nlbench.streams.whole:PermutedStream", "nlbench.streams.config:Permuted"),
    "rotated": Extension("nlbench.streams.whole:RotatedStream", "nlbench.streams.config:Rotated"),
    "drifting": Extension("nlbench.streams.whole:DriftingStream", "nlbench.streams.config:Drifting"),
    "instances": Extension("nlbench.streams.instances:InstanceStream", "nlbench.streams.config:Instances"),
    "relabelled": Extension("nlbench.streams.whole:RelabelledStream", "nlbench.streams.config:Relabelled"),
    "arrays": Extension("nlbench.streams.arrays:ArrayStream", "nlbench.streams.config:Arrays"),
}
