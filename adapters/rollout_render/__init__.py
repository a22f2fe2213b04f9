"""Tables for a terminal and pages for a browser."""

from rollout_render.emit import deliver, document, emit, say

__all__ = ["deliver", "document", "emit", "say"]
