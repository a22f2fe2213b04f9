"""The toolkit's own provider: ceilings, and arms."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode

from rollout.domain.bucketing import bucket
from rollout.domain.state import FlagOverride
from rollout_openfeature import OpenFeatureFlags

from .conftest import Answers, snapshot

ALICE = EvaluationContext("alice")


def ceiling_of(flag: str, key: str | None = None) -> str:
    return api.get_client("rollout").get_string_value(flag, "none", EvaluationContext(key))


def test_declared_flags_follow_the_ramp(flags: OpenFeatureFlags) -> None:
    assert ceiling_of("profile", "alice") == ceiling_of("tickets-flag") == "auto"


def test_a_rollout_with_a_flag_of_its_own_is_known_by_that(flags: OpenFeatureFlags) -> None:
    flags.update(snapshot(flag="new-profile"))
    assert ceiling_of("new-profile") == "auto"
    assert ceiling_of("profile") == "none"


def test_a_keys_own_value_beats_everybodys(flags: OpenFeatureFlags) -> None:
    flags.update(
        snapshot(FlagOverride(flag="profile", value="shadow"), FlagOverride(flag="profile", value="on", key="alice"))
    )
    assert ceiling_of("profile", "alice") == "on"
    assert ceiling_of("profile", "bob") == ceiling_of("profile") == "shadow"
    flags.update(snapshot(FlagOverride(flag="profile", value="on", key="alice")))
    assert ceiling_of("profile", "bob") == "auto"
    flags.update(snapshot())
    assert ceiling_of("profile", "alice") == "auto"


def test_a_stored_word_that_is_no_ceiling_is_off(flags: OpenFeatureFlags) -> None:
    flags.update(snapshot(FlagOverride(flag="profile", value="yes")))
    assert ceiling_of("profile") == "off"


def test_an_unknown_flag_is_not_found(flags: OpenFeatureFlags) -> None:
    details = api.get_client("rollout").get_string_details("orders", "none")
    assert (details.value, details.error_code) == ("none", ErrorCode.FLAG_NOT_FOUND)


def test_other_types_are_refused(flags: OpenFeatureFlags) -> None:
    client = api.get_client("rollout")
    assert client.get_boolean_details("profile", False).error_code == ErrorCode.TYPE_MISMATCH
    assert client.get_integer_details("profile", 0).error_code == ErrorCode.TYPE_MISMATCH
    assert client.get_float_details("profile", 0.0).error_code == ErrorCode.TYPE_MISMATCH
    assert client.get_object_details("profile", {}).error_code == ErrorCode.TYPE_MISMATCH


def test_handlers_hear_which_flags_changed(flags: OpenFeatureFlags) -> None:
    heard: list[list[str] | None] = []
    done = threading.Event()

    def handler(details: EventDetails) -> None:
        heard.append(details.flags_changed)
        done.set()

    api.get_client("rollout").add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, handler)
    flags.update(snapshot())
    flags.update(snapshot(FlagOverride(flag="profile", value="on", key="alice")))
    assert done.wait(5)
    assert heard == [["profile"]]


def arm_of(flag: str, key: str | None) -> str:
    return api.get_client("shop").get_string_value(flag, "unknown", EvaluationContext(key))


def test_arms_follow_the_middlewares_own_buckets(flags: OpenFeatureFlags) -> None:
    api.set_provider_and_wait(flags.arms(), "shop")
    keys = [f"user-{number}" for number in range(400)]
    for key in keys:
        live = bucket("profile/orders", key) < 2500
        assert arm_of("profile/orders", key) == ("live" if live else "shadow")
        after = live and bucket("profile/tickets", key) < 5000
        assert arm_of("profile/tickets", key) == arm_of("tickets-flag", key) == ("live" if after else "shadow")
        assert arm_of("profile/summary", key) == "shadow"
        assert arm_of("profile", key) == ("live" if live else "shadow")
    assert 70 < Counter(arm_of("profile", key) for key in keys)["live"] < 130


def test_arms_move_with_the_ramp(flags: OpenFeatureFlags) -> None:
    api.set_provider_and_wait(flags.arms(), "shop")
    flags.update(snapshot(share=1.0))
    assert arm_of("profile/orders", "anybody") == arm_of("profile/orders", None) == "live"


def test_arms_heed_the_ceilings(flags: OpenFeatureFlags) -> None:
    api.set_provider_and_wait(flags.arms(), "shop")
    flags.update(
        snapshot(
            FlagOverride(flag="profile", value="off", key="bob"),
            FlagOverride(flag="profile", value="on", key="alice"),
            FlagOverride(flag="tickets-flag", value="shadow", key="alice"),
        )
    )
    assert arm_of("profile", "bob") == arm_of("profile/orders", "bob") == "control"
    assert arm_of("profile/orders", "alice") == arm_of("profile/summary", "alice") == "live"
    assert arm_of("profile/tickets", "alice") == "shadow"


def test_arms_heed_the_ceilings_of_the_provider_that_is_bound(flags: OpenFeatureFlags) -> None:
    api.set_provider_and_wait(flags.arms(), "shop")
    api.set_provider_and_wait(Answers(lambda flag: "off"), "rollout")
    assert arm_of("profile", "alice") == "control"


@pytest.mark.parametrize(("sticky", "key"), [(True, None), (False, "alice")])
def test_who_is_drawn_call_by_call_has_no_arm(flags: OpenFeatureFlags, sticky: bool, key: str | None) -> None:
    api.set_provider_and_wait(flags.arms(), "shop")
    flags.update(snapshot(sticky=sticky))
    details = api.get_client("shop").get_string_details("profile/orders", "unknown", EvaluationContext(key))
    assert (details.value, details.error_code) == ("unknown", ErrorCode.TARGETING_KEY_MISSING)
    assert arm_of("profile/summary", key) == "shadow"


def test_arms_of_an_unknown_flag_are_not_found(flags: OpenFeatureFlags) -> None:
    api.set_provider_and_wait(flags.provider.arms(), "shop")
    assert arm_of("profiles", "alice") == "unknown"
    assert arm_of("profile/summary", "alice") == "shadow"
