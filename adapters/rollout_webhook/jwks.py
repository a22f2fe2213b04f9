"""Signed tokens: the body of the request is a JWT, as RFC 8417 and 8935 (security event tokens) and some identity
platforms have it, and the sender's public keys are at an address that it publishes.

A token in a header beside a plain body proves nothing about that body, and is not supported.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import jwt

from rollout.errors import Problem
from rollout.mistakes.checks import is_number, is_time
from rollout_webhook.keyset import KeySet
from rollout_webhook.verifying import Headers, Refusal, Verified

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
_FAR: Final = 1e12  # epoch seconds; no time that anybody means is so far away
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")

log = logging.getLogger("rollout.webhook")


class Jwks:
    """A JWT as the body (``application/secevent+jwt``, ``application/jwt``; the type is not looked at), verified by the
    keys at ``url``. It must have ``kid``, ``iss``, ``aud``, ``iat`` and, unless ``event_id=`` names another place,
    ``jti``.

    * ``url``: of the JWKS; ``https``, or ``http`` on this machine. Redirects are not followed. Fetched when needed,
      again after an hour, and for an unknown key id at most once a minute. Away for a day: 503, the sender tries again.
    * ``audience``: who we are, as ``aud`` must say (it may list others too); or several names. ``issuer``: ``iss``.
    * ``typ``: what the token's header must say it is. Default ``secevent+jwt``, as RFC 8417 advises: where the platform
      signs identity tokens with the same keys for the same audience, every user holds some, and only this (or another
      audience) tells them from an event. None: not looked at.
    * ``algorithms``: those accepted, of RS, PS, ES 256 to 512 and EdDSA. Default RS256 and ES256. Never ``none`` or HS.
    * ``max_age_s``: how old ``iat`` may be, however late ``exp`` is. Default 3 days, for a sender that tried for long.
    * ``leeway_s``: what the sender's clock may be wrong, for ``exp``, ``nbf`` and ``iat``. Default 60 seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        audience: str | Sequence[str],
        issuer: str,
        typ: str | None = "secevent+jwt",
        algorithms: Sequence[str] = ("RS256", "ES256"),
        max_age_s: float = 3 * 86400.0,
        leeway_s: float = 60.0,
    ) -> None:
        self.url = url
        self.audience = [audience] if isinstance(audience, str) else list(audience)
        self.issuer = issuer
        self.typ = typ
        self.algorithms = list(algorithms)
        self.max_age_s = max_age_s
        self.leeway_s = leeway_s
        self._keys = KeySet(url)

    @property
    def window_s(self) -> float:
        return self.max_age_s + 2 * self.leeway_s

    def problems(self) -> Iterator[Problem]:
        where = f"Jwks({self.url!r})"
        address = urlsplit(self.url) if isinstance(self.url, str) else urlsplit("")
        if not address.hostname or address.scheme not in ("https", "http"):
            yield Problem(where, "this is not an address", 'write for example "https://id.example/jwks.json"')
        elif address.scheme == "http" and address.hostname not in _LOCAL:
            yield Problem(where, "keys that come over http can be exchanged on their way", "write https")
        for name, texts in (("audience", self.audience), ("issuer", [self.issuer])):
            if not texts or not all(isinstance(text, str) and text for text in texts):
                yield Problem(where, f"{name} is {getattr(self, name)!r}", "name who the tokens must be for, and from")
        if not self.algorithms or not set(self.algorithms) <= set(ALGORITHMS):
            yield Problem(where, f"algorithms is {self.algorithms}", f"choose of {', '.join(ALGORITHMS)}")
        if not is_time(self.max_age_s):
            yield Problem(where, f"max_age_s is {self.max_age_s!r}", "give seconds above 0, say 259200")
        if not is_number(self.leeway_s) or not 0 <= self.leeway_s <= 3600:
            yield Problem(where, f"leeway_s is {self.leeway_s!r}", "give 0 to 3600 seconds")

    async def verify(self, headers: Headers, body: bytes, now: float) -> Verified:
        token = body.strip()
        key = await self._keys.find(self._key_id(token))
        if key is None:
            raise Refusal("key")
        claims = self._claims(token, key)
        if not self._in_time(claims, now):
            raise Refusal("age")
        event_id = claims.get("jti")
        return Verified(json.dumps(claims).encode(), event_id if isinstance(event_id, str) else None)

    async def close(self) -> None:
        await self._keys.close()

    def _key_id(self, token: bytes) -> str:
        """Which key the token says it is signed with; ``Refusal`` if it could not be accepted with any."""
        try:
            header = jwt.get_unverified_header(token)
        except Exception as error:  # whatever a stranger's bytes make a parser raise
            raise Refusal("malformed") from error
        if header.get("alg") not in self.algorithms:
            raise Refusal("algorithm")
        if self.typ is not None and _bare(header.get("typ")) != _bare(self.typ):
            raise Refusal("type")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise Refusal("key")
        return kid

    def _claims(self, token: bytes, key: jwt.PyJWK) -> Mapping[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=self.algorithms,
                audience=self.audience,
                issuer=self.issuer,
                # The times are looked at below: against the clock that was given, and PyJWT fails at an infinite one.
                options={
                    "require": ["iss", "aud", "iat"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "enforce_minimum_key_length": True,
                },
            )
        except Exception as error:
            log.debug("a token was refused: %s", type(error).__name__)
            raise Refusal(_reason(error)) from error

    def _in_time(self, claims: Mapping[str, Any], now: float) -> bool:
        """Whether a token is valid now: RFC 7519, 4.1.4 to 4.1.6. A time that is no finite number never is."""
        times = {name: claims[name] for name in ("iat", "nbf", "exp") if name in claims}
        if not all(is_number(time) and abs(time) < _FAR for time in times.values()):
            return False
        oldest, latest = now - self.max_age_s - self.leeway_s, now + self.leeway_s
        begun = oldest <= times["iat"] <= latest and times.get("nbf", now) <= latest
        return begun and ("exp" not in times or now < times["exp"] + self.leeway_s)


def _bare(typ: object) -> str:
    """A media type as tokens name it: in any case, and ``application/`` may be left out (RFC 7515, 4.1.9)."""
    return str(typ).lower().removeprefix("application/")


def _reason(error: Exception) -> str:
    kinds: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
        (jwt.InvalidSignatureError, "signature"),
        ((jwt.InvalidAlgorithmError, jwt.InvalidKeyError), "algorithm"),
        (jwt.InvalidIssuerError, "issuer"),
        (jwt.InvalidAudienceError, "audience"),
    )
    if isinstance(error, jwt.MissingRequiredClaimError):
        return {"iss": "issuer", "aud": "audience"}.get(error.claim, "age")
    return next((reason for kind, reason in kinds if isinstance(error, kind)), "malformed")
