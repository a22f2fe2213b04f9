"""Signed tokens: what is refused and why; and the keys, which are fetched seldom, from one place, within bounds."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from math import inf, nan
from typing import Any

import jwt
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from rollout.testing import ManualClock
from rollout_webhook import Jwks
from rollout_webhook.keyset import FETCH_EVERY_S, FRESH_S, MOST_BYTES, STALE_S, KeySet
from rollout_webhook.verifying import KeysMissing, Refusal
from tests.webhook.platform import (
    EVENT,
    ISSUER,
    NOW,
    Platform,
    claims,
    ec_key,
    jwk,
    pem,
    rsa_key,
    running_platform,
    token,
)

NO_HEADERS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    async with running_platform() as running:
        yield running


@pytest.fixture
async def verify(platform: Platform) -> AsyncIterator[Jwks]:
    made = jwks(platform)
    yield made
    await made.close()


def jwks(platform: Platform, **options: Any) -> Jwks:
    return Jwks(platform.url, **{"audience": "shop", "issuer": ISSUER, **options})


async def reason(verify: Jwks, body: bytes, now: float = NOW) -> str:
    with pytest.raises(Refusal) as caught:
        await verify.verify(NO_HEADERS, body, now)
    return caught.value.reason


def segment(value: Any) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


# Accepted


async def test_the_claims_of_a_good_token_are_the_event(verify: Jwks) -> None:
    verified = await verify.verify(NO_HEADERS, b"  " + token() + b"\r\n", NOW)
    assert verified.id == "e-1"
    assert json.loads(verified.body) == claims()
    assert json.loads(verified.body)["user"] == EVENT["user"]


@pytest.mark.parametrize("alg", ["ES256", "RS512", "PS256"])
async def test_other_algorithms_are_accepted_where_they_are_named(platform: Platform, alg: str) -> None:
    key = ec_key("k-2") if alg == "ES256" else rsa_key("k-1")
    platform.keys = [jwk("k-2", key, alg=alg)]
    verify = jwks(platform, algorithms=[alg])
    assert (await verify.verify(NO_HEADERS, token(key=key, kid="k-2", alg=alg), NOW)).id == "e-1"
    await verify.close()


async def test_one_of_several_audiences_is_enough_on_either_side(platform: Platform) -> None:
    verify = jwks(platform, audience=["store", "shop"])
    assert (await verify.verify(NO_HEADERS, token(aud=["other", "shop"]), NOW)).id == "e-1"
    assert await reason(verify, token(aud=["other"])) == "audience"
    await verify.close()


@pytest.mark.parametrize("typ", ["application/secevent+jwt", "SecEvent+JWT"])
async def test_the_type_may_be_written_in_all_its_ways(verify: Jwks, typ: str) -> None:
    assert (await verify.verify(NO_HEADERS, token(typ=typ), NOW)).id == "e-1"


async def test_a_token_without_jti_has_no_id(verify: Jwks) -> None:
    assert (await verify.verify(NO_HEADERS, token(None), NOW)).id is None


# Refused


async def test_a_signature_of_another_key_is_refused(verify: Jwks) -> None:
    assert await reason(verify, token(key=rsa_key("somebody else"))) == "signature"


async def test_changed_claims_are_refused(verify: Jwks) -> None:
    header, _, signature = token().split(b".")
    assert await reason(verify, b".".join([header, segment(claims(sub="root")), signature])) == "signature"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, ["RS256"], "HS256", "RS384", "ES256K"])
async def test_an_algorithm_that_is_not_named_is_refused_whatever_the_signature(verify: Jwks, alg: Any) -> None:
    _, body, signature = token().split(b".")
    for one in (b"", signature):
        forged = b".".join([segment({"alg": alg, "kid": "k-1", "typ": "secevent+jwt"}), body, one])
        assert await reason(verify, forged) == "algorithm"


@pytest.mark.parametrize("secret", [pem(rsa_key("k-1")), json.dumps(jwk("k-1", rsa_key("k-1"))).encode()])
async def test_hs256_with_the_public_key_as_its_secret_is_refused(verify: Jwks, secret: bytes) -> None:
    signed = segment({"alg": "HS256", "kid": "k-1", "typ": "secevent+jwt"}) + b"." + segment(claims())
    signature = base64.urlsafe_b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).rstrip(b"=")
    assert await reason(verify, signed + b"." + signature) == "algorithm"


async def test_a_token_that_brings_its_own_key_is_refused(verify: Jwks) -> None:
    mine = rsa_key("somebody else")
    header = {"kid": "k-1", "typ": "secevent+jwt", "jwk": jwk("k-1", mine), "jku": "http://127.0.0.1:9/jwks.json"}
    forged = jwt.encode(claims(), mine, algorithm="RS256", headers=header).encode()
    assert await reason(verify, forged) == "signature"


async def test_an_algorithm_that_is_not_the_key_s_is_refused(platform: Platform) -> None:
    platform.keys = [jwk("k-1", rsa_key("k-1"), alg="RS256")]
    verify = jwks(platform, algorithms=["RS256", "PS256", "ES256"])
    assert await reason(verify, token(alg="PS256")) in ("algorithm", "signature")
    assert await reason(verify, token(key=ec_key("k-2"), alg="ES256")) in ("algorithm", "signature")
    await verify.close()


async def test_a_key_that_is_too_short_is_refused(platform: Platform) -> None:
    weak = rsa_key("weak", 1024)
    platform.keys = [jwk("k-1", weak)]
    verify = jwks(platform)
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        signed = token(key=weak)
    assert await reason(verify, signed) == "algorithm"
    await verify.close()


@pytest.mark.parametrize("kid", [None, "k-2", ""])
async def test_an_unknown_or_missing_key_id_is_refused(verify: Jwks, kid: str | None) -> None:
    assert await reason(verify, token(kid=kid)) == "key"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "another shop"}, "audience"),
        ({"aud": None}, "audience"),
        ({"iat": None}, "age"),
        ({"jti": None, "sub": 7}, "malformed"),
        ({"typ": "JWT"}, "type"),
        ({"typ": "at+jwt"}, "type"),
    ],
)
async def test_a_token_for_somebody_or_something_else_is_refused(
    verify: Jwks, changes: dict[str, Any], why: str
) -> None:
    assert await reason(verify, token(changes.pop("jti", "e-1"), **changes)) == why


DAY = 86400


@pytest.mark.parametrize(
    ("times", "accepted"),
    [
        ({"iat": NOW - 3 * DAY}, True),
        ({"iat": NOW - 3 * DAY - 61}, False),
        ({"iat": NOW + 60}, True),
        ({"iat": NOW + 61}, False),
        ({"exp": NOW - 59}, True),
        ({"exp": NOW - 60}, False),
        ({"exp": NOW + 1000 * DAY, "iat": NOW - 4 * DAY}, False),
        ({"nbf": NOW + 60}, True),
        ({"nbf": NOW + 61}, False),
        ({"iat": NOW - 0.5}, True),
        ({"iat": str(NOW)}, False),
        ({"iat": True}, False),
        ({"iat": nan}, False),
        ({"iat": inf}, False),
        ({"exp": inf}, False),
        ({"exp": 10**400}, False),
        ({"nbf": -(10**400)}, False),
        ({"exp": [NOW]}, False),
    ],
)
async def test_a_token_is_good_for_its_time(verify: Jwks, times: dict[str, Any], accepted: bool) -> None:
    # Written by hand: PyJWT itself would not sign all of these.
    signed = jwt.PyJWS().encode(
        json.dumps(claims(**times)).encode(),
        rsa_key("k-1"),
        algorithm="RS256",
        headers={"kid": "k-1", "typ": "secevent+jwt"},
    )
    if accepted:
        assert (await verify.verify(NO_HEADERS, signed.encode(), NOW)).id == "e-1"
    else:
        assert await reason(verify, signed.encode()) == "age"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b".", b"..", b"a.b.c", b"\xff\xfe", b"{}", b"." * 60_000),
        segment([]) + b"..",
        segment("x") + b"..",
        base64.urlsafe_b64encode(b"[" * 40_000) + b".e30.",
        base64.urlsafe_b64encode(b'{"a":' * 9_000) + b".e30.",
    ],
    ids=range(11),
)
async def test_what_is_no_token_is_refused(verify: Jwks, body: bytes) -> None:
    assert await reason(verify, body) == "malformed"


@given(st.binary(max_size=200) | st.text(alphabet="eyJ0.-_ABC", max_size=200).map(str.encode))
async def test_no_bytes_make_it_stumble(body: bytes) -> None:
    verify = Jwks("http://127.0.0.1:9/", audience="shop", issuer=ISSUER)
    assert await reason(verify, body) in ("malformed", "algorithm")


# The keys


class Keys:
    """A key set over a platform, in time that moves when told."""

    def __init__(self, platform: Platform) -> None:
        self.clock = ManualClock()
        self.set = KeySet(platform.url, self.clock.monotonic)

    async def has(self, kid: str) -> bool:
        return await self.set.find(kid) is not None


@pytest.fixture
async def keys(platform: Platform) -> AsyncIterator[Keys]:
    made = Keys(platform)
    yield made
    await made.set.close()


async def test_the_keys_are_fetched_once_for_all_who_ask(keys: Keys, platform: Platform) -> None:
    assert await asyncio.gather(*(keys.has("k-1") for _ in range(50))) == [True] * 50
    assert platform.asked == 1


async def test_a_new_key_is_fetched_when_it_is_first_seen(keys: Keys, platform: Platform) -> None:
    assert await keys.has("k-1")
    platform.keys.append(jwk("k-2", rsa_key("k-2")))
    keys.clock.advance(FETCH_EVERY_S)
    assert await keys.has("k-2")
    assert platform.asked == 2


async def test_invented_key_ids_cause_one_fetch_a_minute(keys: Keys, platform: Platform) -> None:
    for minute in range(1, 4):
        for n in range(50):
            assert not await keys.has(f"invented {n}")
        assert platform.asked == minute
        keys.clock.advance(FETCH_EVERY_S)


async def test_a_platform_that_is_away_is_asked_once_a_minute_too(keys: Keys, platform: Platform) -> None:
    platform.answer = web.Response(status=500)
    for _ in range(20):
        with pytest.raises(KeysMissing):
            await keys.has("k-1")
    assert platform.asked == 1
    platform.answer = None
    keys.clock.advance(FETCH_EVERY_S)
    assert await keys.has("k-1")


async def test_known_keys_serve_without_waiting_while_they_are_fetched_anew(keys: Keys, platform: Platform) -> None:
    assert await keys.has("k-1")
    keys.clock.advance(FRESH_S)
    platform.hold.clear()
    assert await keys.has("k-1")
    platform.hold.set()
    assert not await keys.has("k-2")  # waits for the fetch under way
    assert platform.asked == 2


async def test_known_keys_serve_for_a_day_without_their_platform_and_no_longer(keys: Keys, platform: Platform) -> None:
    assert await keys.has("k-1")
    platform.answer = web.Response(status=503)
    keys.clock.advance(STALE_S - 1)
    assert await keys.has("k-1")
    with pytest.raises(KeysMissing):  # it may be a new key: nobody knows
        await keys.has("k-2")
    keys.clock.advance(1)
    with pytest.raises(KeysMissing):
        await keys.has("k-1")


async def test_a_key_that_was_withdrawn_is_unknown_after_the_next_fetch(keys: Keys, platform: Platform) -> None:
    assert await keys.has("k-1")
    platform.keys = [jwk("k-2", rsa_key("k-2"))]
    keys.clock.advance(FRESH_S)
    assert await keys.has("k-2")
    assert not await keys.has("k-1")


async def test_a_sender_that_hangs_up_does_not_take_the_fetch_from_the_others(keys: Keys, platform: Platform) -> None:
    platform.hold.clear()
    leaving, staying = asyncio.create_task(keys.has("k-1")), asyncio.create_task(keys.has("k-1"))
    await platform.reached.wait()
    leaving.cancel()
    platform.hold.set()
    assert await staying


ANSWERS = {
    "redirect": lambda: web.Response(status=302, headers={"Location": "/jwks.json"}),
    "not found": lambda: web.Response(status=404),
    "too large": lambda: web.json_response({"keys": [jwk("k-1", rsa_key("k-1"))], "x": "x" * MOST_BYTES}),
    "no json": lambda: web.Response(text="<html>"),
    "a list": lambda: web.json_response([]),
    "keys that are a text": lambda: web.json_response({"keys": "k-1"}),
    "keys that are an object": lambda: web.json_response({"keys": {"k-1": {}}}),
    "nested": lambda: web.Response(text="[" * 100_000),
    "no keys": lambda: web.json_response({"keys": []}),
    "a secret": lambda: web.json_response({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k-9", "use": "enc"}]}),
    "keys that are none": lambda: web.json_response(
        {"keys": [7, None, {}, {"kid": "k-1"}, {"kid": "k-1", "kty": "?"}]}
    ),
    "a key without id": lambda: web.json_response({"keys": [{**jwk("k-1", rsa_key("k-1")), "kid": None}]}),
    "a key to encrypt": lambda: web.json_response({"keys": [jwk("k-1", rsa_key("k-1"), use="enc")]}),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_answer_without_keys_leaves_those_that_are_known(keys: Keys, platform: Platform, answer: str) -> None:
    assert await keys.has("k-1")
    platform.answer = ANSWERS[answer]()
    keys.clock.advance(FETCH_EVERY_S)
    with pytest.raises(KeysMissing):
        await keys.has("k-2")
    assert await keys.has("k-1")
    assert platform.asked == 2  # a redirect is not followed


async def test_one_bad_key_does_not_spoil_the_others(keys: Keys, platform: Platform) -> None:
    platform.keys = [{"kid": "bad", "kty": "RSA", "n": "!", "e": []}, *platform.keys]
    assert await keys.has("k-1")
    assert not await keys.has("bad")


async def test_nobody_at_the_address_is_missing_keys() -> None:
    keys = KeySet("http://127.0.0.1:9/jwks.json")
    with pytest.raises(KeysMissing):
        await keys.find("k-1")


async def test_nothing_is_left_running_after_it_is_closed(platform: Platform) -> None:
    keys = Keys(platform)
    platform.hold.clear()
    asking = asyncio.create_task(keys.has("k-1"))
    await platform.reached.wait()
    await keys.set.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "rollout-jwks"]
    platform.hold.set()


# Declared wrongly


@pytest.mark.parametrize(
    ("url", "options", "named"),
    [
        ("", {}, "not an address"),
        ("ftp://id.example/jwks.json", {}, "not an address"),
        (None, {}, "not an address"),
        ("http://id.example/jwks.json", {}, "over http"),
        ("https://id.example/", {"audience": ""}, "audience is"),
        ("https://id.example/", {"audience": []}, "audience is"),
        ("https://id.example/", {"issuer": None}, "issuer is None"),
        ("https://id.example/", {"algorithms": ["RS256", "none"]}, "algorithms is"),
        ("https://id.example/", {"algorithms": ["HS256"]}, "algorithms is"),
        ("https://id.example/", {"algorithms": []}, "algorithms is"),
        ("https://id.example/", {"max_age_s": 0}, "max_age_s is 0"),
        ("https://id.example/", {"max_age_s": inf}, "max_age_s is inf"),
        ("https://id.example/", {"leeway_s": -1}, "leeway_s is -1"),
        ("https://id.example/", {"leeway_s": nan}, "leeway_s is nan"),
    ],
)
def test_a_mistake_is_named(url: Any, options: dict[str, Any], named: str) -> None:
    (problem,) = Jwks(url, **{"audience": "shop", "issuer": ISSUER, **options}).problems()
    assert named in str(problem)


@pytest.mark.parametrize(
    "url", ["https://id.example/jwks.json", "http://127.0.0.1:8080/jwks.json", "http://localhost/"]
)
def test_a_good_declaration_has_no_mistake(url: str) -> None:
    assert list(Jwks(url, audience="shop", issuer=ISSUER).problems()) == []
