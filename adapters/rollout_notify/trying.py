"""A message that only tests the way to its targets."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rollout.domain.state import Decision, Trigger
from rollout_notify.client import Client, NotTaken
from rollout_notify.document import TEST
from rollout_notify.targets import Target, place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of a test message. ``place``: the part of the address that may be shown. ``delivered``: whether it
    was taken; else ``why`` not, and ``transient``, whether another attempt may go better. ``seconds``: what it took.
    """

    target: str
    place: str
    delivered: bool
    transient: bool
    why: str
    seconds: float


def probe(actor: str) -> Decision:
    """A message that tells of nothing: number 0, action ``test``, and a key of its own."""
    return Decision(
        rollout="rollout",
        action=TEST,
        actor=actor,
        trigger=Trigger.person,
        reason="notifications of rollouts arrive here",
        at=time.time(),
        hash=secrets.token_hex(32),
    )


async def try_targets(targets: Sequence[Target], decision: Decision, client: Client | None = None) -> list[Tried]:
    """Send it to all of them, once each, side by side."""
    posts = client or Client()
    try:
        return list(await asyncio.gather(*(_try(target, decision, posts) for target in targets)))
    finally:
        await posts.close()


async def _try(target: Target, decision: Decision, posts: Client) -> Tried:
    began = time.monotonic()
    why, transient = "", False
    try:
        await posts.post(target, decision, target.body(decision))
    except NotTaken as error:
        why, transient = str(error), error.transient
    return Tried(
        target=target.name,
        place=place_of(target.url),
        delivered=not why,
        transient=transient,
        why=why,
        seconds=round(time.monotonic() - began, 3),
    )
