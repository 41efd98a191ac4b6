"""A static site from records: a leaderboard a stream, a page a record, data and badges. No server, no torch."""

from nlbench.publishing.hub import hub
from nlbench.publishing.site import Published, publish

__all__ = ["Published", "hub", "publish"]
