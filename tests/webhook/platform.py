"""An identity platform: keys, an address where their public halves are, and tokens signed with them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NOW = 1_767_614_400.0
ISSUER = "https://id.example"
EVENT = {"type": "user.created", "user": {"id": "u-1", "email": "ann@example.com"}}


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key by that name, always the same: making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """The public half as people paste it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(kid: str, key: Any, **more: Any) -> dict[str, Any]:
    algorithm: Any = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


def claims(event_id: object = "e-1", now: float = NOW, **changes: Any) -> dict[str, Any]:
    """Of a token that is right; a change to None leaves the claim out."""
    whole = {"iss": ISSUER, "aud": "shop", "iat": int(now), "jti": event_id, "sub": "u-1", **EVENT, **changes}
    return {name: value for name, value in whole.items() if value is not None}


def token(
    event_id: object = "e-1",
    *,
    key: Any = None,
    kid: str | None = "k-1",
    alg: str = "RS256",
    typ: str | None = "secevent+jwt",
    now: float = NOW,
    **changes: Any,
) -> bytes:
    header = {name: value for name, value in (("kid", kid), ("typ", typ)) if value is not None}
    return jwt.encode(claims(event_id, now, **changes), key or rsa_key("k-1"), algorithm=alg, headers=header).encode()


class Platform:
    """Serves ``keys`` at ``url``. ``asked``: how often; ``reached``: at all. ``answer``: instead of the keys, once it
    is set. ``hold``: while it is not set, nothing is answered.
    """

    def __init__(self) -> None:
        self.keys: list[Any] = [jwk("k-1", rsa_key("k-1"))]
        self.asked = 0
        self.answer: web.StreamResponse | None = None
        self.reached = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()
        self.url = ""

    async def serve(self, _: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.reached.set()
        await self.hold.wait()
        return self.answer or web.json_response({"keys": self.keys})


@asynccontextmanager
async def running_platform() -> AsyncIterator[Platform]:
    platform = Platform()
    app = web.Application()
    app.router.add_get("/jwks.json", platform.serve)
    async with TestServer(app) as server:
        platform.url = str(server.make_url("/jwks.json"))
        yield platform
