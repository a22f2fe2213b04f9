"""The notification as it shall be: the event is stored, acknowledged, and fanned out to its senders after.

Two things are declared. The fan-out of senders, which the inbox runs for each event, as often as it takes. And the
rollout, which moves customers from the handler that sends to the inbox: for them, to be stored is the whole answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from rollout import Branch, Budget, Call, FanOut, Ramp, Retry, Rollout, gates
from rollout_aiohttp import handler_branch
from rollout_demo.notification.monolith import order_paid
from rollout_demo.notification.orders import CHANNELS, Order, key_of, text_of
from rollout_demo.notification.senders import Senders
from rollout_webhook import Event, Webhook

#: Thresholds, which state no error bound: half a minute of events is too little to show anything by evidence.
GATES: Final = (
    gates.errors(worse_by=0.05, mode="threshold", minimum=10, fewest=5),
    gates.latency(q=0.9, worse_by=0.0, mode="threshold", minimum=10),
    gates.fallbacks(at_most=0.05, mode="threshold", minimum=10),
)


class Undelivered(Exception):
    """Some messages of an event could not be sent: the inbox tries those again."""


def notifications(senders: Senders) -> FanOut:
    """The text, and then the senders side by side, for a call whose ``value`` is the event. No sender is required: each
    message goes out whatever becomes of the others.
    """
    send = {"email": senders.email, "sms": senders.sms, "push": senders.push}
    writers = [
        Branch(
            channel,
            _step(channel, send[channel]),
            effects="write",
            idempotency=_key(channel),
            after="text",
            when=_is_open(channel),
            retry=Retry(attempts=2, base_s=0.1),
            hard_timeout_s=2.0,
            required=False,
        )
        for channel in CHANNELS
    ]
    return FanOut("order-paid-senders", [Branch("text", write_text), *writers], budget=Budget(latency_s=3.0))


async def write_text(call: Call) -> str:
    return text_of(call.value.payload)


def delivery(senders: Senders) -> Callable[[Event], Awaitable[None]]:
    """What the inbox does with an event. ``Undelivered`` where a message is not sent."""
    fan_out = notifications(senders)

    async def deliver(event: Event) -> None:
        answer = await fan_out.run(event)
        if not answer.is_complete:
            raise Undelivered(", ".join(f"{name}: {why}" for name, why in answer.parts.missing.items()))

    return deliver


def rollout(hook: Webhook, *, stages: str = "shadow 25% 100%", soak: str = "1s") -> Rollout:
    """To store an event is a write, so it never runs in shadow, and its key allows control to step in if it fails."""
    return Rollout(
        "order-paid",
        control=order_paid,
        join="replace",
        branches=[
            Branch("inbox", handler_branch(hook.receive), part="$", effects="write", idempotency=_event_id),
        ],
        methods=["POST"],
        key=lambda call: call.headers.get("X-Customer"),  # the body is read only for calls that are drawn
        budget=Budget(latency_s=1.5),
        ramp=Ramp.parse(stages, soak=soak),
        gates=GATES,
    )


def _step(channel: str, send: Callable[[Order, str], Awaitable[None]]) -> Callable[[Call], Awaitable[str]]:
    """Send, then remember it. A crash between the two sends again, with the same key."""

    async def run(call: Call) -> str:
        event: Event = call.value
        await send(event.payload, call.parts["text"])
        await event.finish(channel)
        return "sent"

    return run


def _is_open(channel: str) -> Callable[[Call], bool]:
    return lambda call: channel not in call.value.done


def _key(channel: str) -> Callable[[Call], str]:
    return lambda call: key_of(call.value.payload, channel)


def _event_id(call: Call) -> str:
    return str(call.json()["id"])
