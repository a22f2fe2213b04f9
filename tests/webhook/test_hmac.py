"""HMAC: what is accepted, what is refused and why, and that no header makes the parser stumble."""

import base64
import hashlib
import hmac
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from rollout_webhook import Hmac
from rollout_webhook.signatures import MOST_SIGNATURES, signatures_of
from rollout_webhook.verifying import Refusal, Verified

NOW = 1_767_614_400.0
NEW, OLD = b"the secret of this year", b"the secret of last year"
BODY = b'{"id": "e-1"}'
DIGESTS = st.binary(min_size=32, max_size=32)


def sign(body: bytes = BODY, secret: bytes = NEW, at: object = int(NOW)) -> bytes:
    return hmac.digest(secret, f"{at}.".encode() + body, "sha256")


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


async def verified(signature: str, at: object = int(NOW), body: bytes = BODY, verify: Hmac | None = None) -> Verified:
    sent = headers(("x-signature", signature), ("x-timestamp", str(at)))
    return await (verify or Hmac(NEW)).verify(sent, body, NOW)


async def reason(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(Refusal) as caught:
        await verified(*args, **kwargs)
    return caught.value.reason


WRITTEN = {
    "hex": lambda digest: digest.hex(),
    "upper hex": lambda digest: digest.hex().upper(),
    "base64": lambda digest: base64.b64encode(digest).decode(),
    "base64 without padding": lambda digest: base64.b64encode(digest).decode().rstrip("="),
    "base64 for urls": lambda digest: base64.urlsafe_b64encode(digest).decode(),
    "named": lambda digest: f"sha256={digest.hex()}",
    "named, base64": lambda digest: f"v1={base64.b64encode(digest).decode()}",
    "versioned": lambda digest: f"v1,{base64.b64encode(digest).decode()}",
    "among others": lambda digest: f"v1,{'A' * 43}= v1,{base64.b64encode(digest).decode()} v2,x",
    "with spaces": lambda digest: f"  {digest.hex()} ",
}


@pytest.mark.parametrize("write", WRITTEN.values(), ids=list(WRITTEN))
async def test_a_signature_is_understood_however_it_is_written(write: Any) -> None:
    assert (await verified(write(sign()))).body == BODY


@given(
    st.lists(
        st.tuples(DIGESTS, st.sampled_from([w for name, w in WRITTEN.items() if name != "among others"])), max_size=16
    )
)
def test_every_signature_of_a_header_is_found_in_its_order(written: list[tuple[bytes, Any]]) -> None:
    assert signatures_of(",".join(write(digest) for digest, write in written)) == [digest for digest, _ in written]


@given(st.text(max_size=300))
def test_no_text_makes_the_parser_stumble(text: str) -> None:
    assert all(len(one) == 32 for one in signatures_of(text))


@given(st.lists(st.sampled_from(["=", ",", " ", "v1", "sha256=", "A" * 43, "a" * 64, "\xa0", "é", "-_"]), max_size=40))
def test_no_pieces_of_signatures_make_the_parser_stumble(pieces: list[str]) -> None:
    found = signatures_of("".join(pieces))
    assert len(found) <= MOST_SIGNATURES
    assert all(len(one) == 32 for one in found)


@given(signature=DIGESTS, body=st.binary(max_size=50))
async def test_nobody_without_the_secret_gets_in(signature: bytes, body: bytes) -> None:
    assert await reason(signature.hex(), body=body) == "signature"


async def test_a_signature_of_another_body_time_or_secret_is_refused() -> None:
    good = sign().hex()
    assert await reason(good, body=BODY + b" ") == "signature"
    assert await reason(good, at=int(NOW) + 1) == "signature"
    assert await reason(sign(secret=OLD).hex()) == "signature"


@pytest.mark.parametrize("signature", ["", "sha256=", "zz" * 32, "ab" * 31, "ab" * 33, "A" * 42, "=" * 44])
async def test_a_header_without_a_signature_is_refused(signature: str) -> None:
    assert await reason(signature) == "header"


@pytest.mark.parametrize("at", ["", "now", "-1", "1.5", "1e9", "٣", "+5", "0x10", "9" * 13, "1 2"])
async def test_a_time_that_is_no_number_of_seconds_is_refused(at: str) -> None:
    assert await reason(hmac.digest(NEW, f"{at}.".encode() + BODY, "sha256").hex(), at=at) == "header"


@pytest.mark.parametrize(("off_by", "accepted"), [(-300, True), (300, True), (-301, False), (301, False)])
async def test_the_time_may_be_off_by_the_tolerance_in_both_directions(off_by: int, accepted: bool) -> None:
    at = int(NOW) + off_by
    if accepted:
        assert (await verified(sign(at=at).hex(), at=at)).body == BODY
    else:
        assert await reason(sign(at=at).hex(), at=at) == "age"


async def test_missing_headers_and_two_times_are_refused() -> None:
    signature, time = ("X-Signature", sign().hex()), ("X-Timestamp", str(int(NOW)))
    for given_headers in (headers(signature), headers(time), headers(signature, time, time), headers()):
        with pytest.raises(Refusal, match="header"):
            await Hmac(NEW).verify(given_headers, BODY, NOW)


async def test_two_signature_headers_are_as_good_as_one() -> None:
    both = headers(("X-Signature", "00" * 32), ("X-Signature", sign().hex()), ("X-Timestamp", str(int(NOW))))
    assert (await Hmac(NEW).verify(both, BODY, NOW)).body == BODY


# Rotation


async def test_while_secrets_change_any_of_them_will_do() -> None:
    both = Hmac([NEW, OLD])
    for secret in (NEW, OLD):
        assert (await verified(sign(secret=secret).hex(), verify=both)).body == BODY
    assert await reason(sign(secret=OLD).hex(), verify=Hmac([NEW])) == "signature"


async def test_one_request_has_one_id_whichever_of_its_signatures_is_sent_again() -> None:
    both = Hmac([NEW, OLD])
    new, old = sign(secret=NEW).hex(), sign(secret=OLD).hex()
    ids = {(await verified(text, verify=both)).id for text in (f"{new},{old}", new, old, f"{old} {new.upper()}")}
    assert len(ids) == 1


async def test_another_body_or_time_is_another_event() -> None:
    later = int(NOW) + 1
    requests = [(BODY, int(NOW)), (BODY, later), (b"{}", later)]
    ids = {(await verified(sign(body, at=at).hex(), at=at, body=body)).id for body, at in requests}
    assert len(ids) == 3


# An id in a header


async def test_an_id_in_a_header_is_signed_too() -> None:
    verify = Hmac(NEW, header="webhook-signature", timestamp_header="webhook-timestamp", id_header="webhook-id")
    signature = base64.b64encode(hmac.digest(NEW, f"msg_1.{int(NOW)}.".encode() + BODY, "sha256")).decode()

    def named(event_id: str) -> CIMultiDictProxy[str]:
        return headers(
            ("webhook-id", event_id), ("webhook-timestamp", str(int(NOW))), ("webhook-signature", f"v1,{signature}")
        )

    assert await verify.verify(named("msg_1"), BODY, NOW) == Verified(BODY, "msg_1")
    for event_id, why in (("msg_2", "signature"), ("", "header"), ("a.b", "header"), ("a" * 201, "header")):
        with pytest.raises(Refusal, match=why):
            await verify.verify(named(event_id), BODY, NOW)


async def test_an_example_of_standard_webhooks_is_accepted() -> None:
    """The parts by hand: the secret's base64 decoded, id, time and body parted by dots."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    verify = Hmac(secret, header="webhook-signature", timestamp_header="webhook-timestamp", id_header="webhook-id")
    body = b'{"test": 2432232314}'
    signature = base64.b64encode(
        hmac.new(secret, b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + body, hashlib.sha256).digest()
    ).decode()
    assert signature == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    got = await verify.verify(
        headers(
            ("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("Webhook-Timestamp", "1614265330"),
            ("Webhook-Signature", f"v1,{signature}"),
        ),
        body,
        1614265331.0,
    )
    assert got.id == "msg_p5jXN8AQM9LWM0D4loKWxJek"


# Declared wrongly


@pytest.mark.parametrize(
    ("verify", "named"),
    [
        (Hmac(b"short"), "less than 16 bytes"),
        (Hmac([NEW, b""]), "less than 16 bytes"),
        (Hmac(None), "less than 16 bytes"),  # type: ignore[arg-type]
        (Hmac([]), "no secret"),
        (Hmac(NEW, header=""), "header is ''"),
        (Hmac(NEW, timestamp_header=None), "timestamp_header is None"),  # type: ignore[arg-type]
        (Hmac(NEW, id_header=""), "id_header is ''"),
        (Hmac(NEW, tolerance_s=0), "tolerance_s is 0"),
        (Hmac(NEW, tolerance_s=nan), "tolerance_s is nan"),
        (Hmac(NEW, tolerance_s=inf), "tolerance_s is inf"),
    ],
)
def test_a_mistake_is_named(verify: Hmac, named: str) -> None:
    (problem,) = verify.problems()
    assert named in str(problem)


def test_a_secret_is_never_shown() -> None:
    assert "secret of" not in repr(Hmac([NEW, OLD]))
    assert "short" not in "".join(map(str, Hmac(b"short").problems())).replace("shorter", "")
