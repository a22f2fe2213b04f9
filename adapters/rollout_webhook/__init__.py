"""Signed webhooks as the originator of a fan-out (extra ``webhook``): verified, stored, acknowledged, then delivered.

from rollout_webhook import Jwks, webhook
from rollout_wiring.inbox import inbox

async def welcome(event):
    if "mail" not in event.done:
        await send_mail(event.payload["email"], key=event.idempotency_key("mail"))
        await event.finish("mail")

webhook(
    app,
    "/hooks/identity",
    "user-created",
    verify=Jwks("https://id.example/jwks.json", audience="shop", issuer="https://id.example"),
    deliver=welcome,
    inbox=inbox("sqlite:///rollout.db"),
)
"""

from rollout.domain.inbox import Redelivery
from rollout.engine.inbox import Event, InboxOptions
from rollout_webhook.jwks import Jwks
from rollout_webhook.receiving import Webhook, webhook
from rollout_webhook.signatures import Hmac

__all__ = ["Event", "Hmac", "InboxOptions", "Jwks", "Redelivery", "Webhook", "webhook"]
