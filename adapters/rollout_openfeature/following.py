"""``follow``: other code asks OpenFeature which side a user is on, and is told what the middleware does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollout.engine.process import Engine
from rollout.ports import FlagAnswer

from .arms import Arms
from .provider import ArmProvider
from .source import OpenFeatureFlags


def follow(engine: Engine) -> ArmProvider:
    """The provider to bind to a domain of one's own: ``api.set_provider(follow(engine), "shop")``.

    ``engine``: what ``setup`` returned. A string flag, by a rollout's name, its flag, ``"ROLLOUT/BRANCH"`` or a
    branch's flag, answers ``live``, ``shadow`` or ``control`` for a targeting key, from the middleware's own buckets,
    states and ceilings. Until the engine has begun, every flag is FLAG_NOT_FOUND.
    """
    flags = engine.flags
    if isinstance(flags, OpenFeatureFlags):
        provider = flags.arms()
    else:

        def ask(flag: str, key: str | None, _: Mapping[str, Any]) -> FlagAnswer:
            return flags.peek(flag, key) or FlagAnswer("off", "not_ready")

        provider = ArmProvider(Arms(ask))
        engine.listen(provider.update)
    return provider
