"""Carries the decisions of ``rollout.domain`` out, on the event loop it is given."""
