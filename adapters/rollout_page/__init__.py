"""The live page: rollouts as they stand, and the forms that move them.

``page_of(Page("/rollout", …), …)`` makes an application to be mounted below a path. What it shows is looked up by the
use cases and drawn by whoever draws the report; what it does are the verbs of ``rollout.usecases.steer``.
"""

from rollout_page.declared import Page, as_page, page_problems
from rollout_page.serving import serve
from rollout_page.site import page_of

__all__ = ["Page", "as_page", "page_of", "page_problems", "serve"]
