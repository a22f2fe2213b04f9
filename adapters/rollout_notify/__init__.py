"""Tells people what moved, and what waits for their approval: a signed webhook, and whatever takes Slack's payloads.

from rollout_notify import Slack, Webhook

setup(app, [profile], notify=[Webhook("https://ops.example/rollouts", secret=SECRET), Slack(SLACK_URL)])

A webhook gets the JSON of ``rollout_notify.document``, signed as ``rollout_webhook.Hmac`` verifies it. A message is
told at least once: its key, in the header ``Idempotency-Key`` and in the JSON, is the same whenever it is told again.
"""

from rollout_notify.document import document
from rollout_notify.notifications import Notifications
from rollout_notify.slack import Slack
from rollout_notify.targets import Target, problems_of
from rollout_notify.trying import Tried, probe, try_targets
from rollout_notify.webhook import Webhook

__all__ = [
    "Notifications",
    "Slack",
    "Target",
    "Tried",
    "Webhook",
    "document",
    "probe",
    "problems_of",
    "try_targets",
]
