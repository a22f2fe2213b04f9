"""Tables for a terminal and pages for a browser."""

from rollout_render.emit import emit, say

__all__ = ["emit", "say"]
