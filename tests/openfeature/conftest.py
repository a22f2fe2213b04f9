"""OpenFeature keeps its providers, hooks and contexts for the whole process; each test gets them empty."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider import AbstractProvider, Metadata
from openfeature.provider._registry import provider_registry

from rollout.domain.state import BranchPolicy, BranchState, FlagOverride, Policy, Snapshot
from rollout_openfeature import OpenFeatureFlags


@pytest.fixture(autouse=True)
def no_providers() -> Iterator[None]:
    yield
    for provider in provider_registry._providers.values():
        with contextlib.suppress(Exception):
            provider.shutdown()
    provider_registry._providers.clear()  # api.shutdown() fails with an unhashable one
    api.shutdown()


@pytest.fixture
def flags() -> Iterator[OpenFeatureFlags]:
    """A source that was fed with one rollout, ``profile``, and is bound; patient, as a busy machine is no failure."""
    yield from bound(OpenFeatureFlags(timeout_s=10.0))


@pytest.fixture
def hasty() -> Iterator[OpenFeatureFlags]:
    """The same, with little room, and the time limit of the product."""
    yield from bound(OpenFeatureFlags(threads=2, waiting=3))


def bound(source: OpenFeatureFlags) -> Iterator[OpenFeatureFlags]:
    source.update(snapshot())
    source.bind()
    yield source
    source.close()


class Answers(AbstractProvider):
    """A provider that does what a function does: ``(flag) -> value or FlagResolutionDetails``."""

    def __init__(self, answer: Callable[[str], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def get_metadata(self) -> Metadata:
        return Metadata("answers")

    def _resolve(self, kind: str, flag: str) -> FlagResolutionDetails[Any]:
        self.asked.append((kind, flag))
        found = self.answer(flag)
        return found if isinstance(found, FlagResolutionDetails) else FlagResolutionDetails(found)

    def resolve_boolean_details(self, flag_key: str, *_: Any, **__: Any) -> FlagResolutionDetails[Any]:
        return self._resolve("boolean", flag_key)

    def resolve_string_details(self, flag_key: str, *_: Any, **__: Any) -> FlagResolutionDetails[Any]:
        return self._resolve("string", flag_key)

    def resolve_integer_details(self, flag_key: str, *_: Any, **__: Any) -> FlagResolutionDetails[Any]:
        return self._resolve("integer", flag_key)

    def resolve_float_details(self, flag_key: str, *_: Any, **__: Any) -> FlagResolutionDetails[Any]:
        return self._resolve("float", flag_key)

    def resolve_object_details(self, flag_key: str, *_: Any, **__: Any) -> FlagResolutionDetails[Any]:
        return self._resolve("object", flag_key)


def snapshot(
    *overrides: FlagOverride, share: float = 0.25, sticky: bool = True, flag: str = "", revision: int = 1
) -> Snapshot:
    """``profile``: ``orders`` at a share; after it ``tickets``, with its own flag, at 50 %; ``summary`` in shadow."""
    branches = (
        BranchPolicy(name="orders", unit="orders", salt="profile/orders"),
        BranchPolicy(name="tickets", unit="tickets", salt="profile/tickets", after=("orders",), flag="tickets-flag"),
        BranchPolicy(name="summary", unit="summary", salt="profile/summary"),
    )
    shares = {"orders": share, "tickets": 0.5, "summary": 0.0}
    states = {
        name: BranchState(rollout="profile", branch=name, stage=3 if live else 0, share=live)
        for name, live in shares.items()
    }
    policy = Policy(rollout="profile", branches=branches, flag=flag, sticky=sticky, keyed=True)
    return Snapshot(
        revision=revision, policies={"profile": policy}, states={"profile": states}, flags=overrides, now=0.0
    )
