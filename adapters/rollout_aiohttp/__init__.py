"""The aiohttp side: ``setup``, handlers as branches, pages as aggregators, the guard of clients, faults by header."""

from rollout_aiohttp.branches import handler_branch, page
from rollout_aiohttp.chaos import chaos_branches, chaos_token
from rollout_aiohttp.guard import guard
from rollout_aiohttp.setup import ENGINE, setup

__all__ = ["ENGINE", "chaos_branches", "chaos_token", "guard", "handler_branch", "page", "setup"]
