"""The aiohttp side: ``setup``, handlers as branches, pages as aggregators, and the guard of outgoing requests."""

from rollout_aiohttp.branches import handler_branch, page
from rollout_aiohttp.guard import guard
from rollout_aiohttp.setup import ENGINE, setup

__all__ = ["ENGINE", "guard", "handler_branch", "page", "setup"]
