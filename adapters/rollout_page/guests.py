"""Who is there, and what they may do: tokens, the sessions that they buy, and how often one may guess.

A session is a cookie that the token itself seals: every process with the same tokens takes it, a new token ends it, and
nothing is stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from rollout_page.declared import Page

SESSION_S: Final = 12 * 3600.0
_LONGEST: Final = 4_096  # characters of a cookie that are looked at
_FAILURES: Final = 5  # within a window, of one peer
_ALL_FAILURES: Final = 100  # of all peers together
_WINDOW_S: Final = 60.0
_PEERS: Final = 1_000  # that are remembered


class Role(IntEnum):
    """What somebody may do; who may operate may view."""

    view = 1
    operate = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Somebody who may be here. ``name``: as they call themselves, for the audit. ``proof``: what a form must carry to
    be theirs; ``""``, and so nothing, for a bearer of a token, whom no browser lets in by itself.
    """

    role: Role
    name: str
    proof: str = ""

    @property
    def operates(self) -> bool:
        return self.role is Role.operate

    def made(self, proof: str) -> bool:
        """Whether a form with this proof was made for them."""
        return hmac.compare_digest(proof.encode(errors="replace"), self.proof.encode())


class Tokens:
    """The tokens of a page. All comparisons take the same time, whatever was guessed."""

    def __init__(self, page: Page) -> None:
        declared: Mapping[Role, str] = {Role.operate: page.operate, Role.view: page.view}
        self._keys = {role: token.encode() for role, token in declared.items() if token}

    def role_of(self, token: str) -> Role | None:
        """The role that a token has."""
        offered = hashlib.sha256(token.encode(errors="replace")).digest()
        matching = [
            role for role, key in self._keys.items() if hmac.compare_digest(hashlib.sha256(key).digest(), offered)
        ]
        return matching[0] if matching else None

    def session(self, role: Role, name: str, now: float, nonce: str) -> str:
        """A cookie for somebody who signed in. ``now``: epoch seconds; ``nonce``: chance, of this session alone."""
        content = base64.urlsafe_b64encode(json.dumps([name, now + SESSION_S, nonce]).encode())
        return f"{content.decode()}.{_seal(self._keys[role], b'session', content)}"

    def guest(self, cookie: str, now: float) -> Guest | None:
        """Whose cookie it is; None if no token of ours sealed it, or its time is over."""
        content, _, seal = cookie[:_LONGEST].partition(".")
        for role, key in self._keys.items():
            wanted = _seal(key, b"session", content.encode(errors="replace"))
            if hmac.compare_digest(wanted.encode(), seal.encode(errors="replace")):
                name, until, nonce = json.loads(base64.urlsafe_b64decode(content))
                proof = _seal(key, b"form", nonce.encode())
                return Guest(role=role, name=name, proof=proof) if now < until else None
        return None


def _seal(key: bytes, purpose: bytes, content: bytes) -> str:
    return hmac.new(key, purpose + b"\0" + content, hashlib.sha256).hexdigest()


class Failures:
    """How often somebody may guess: 5 different wrong tokens a minute from one address, 100 from all.

    Who is signed in is not held up. Behind a proxy all are one address, so guesses of one may keep others from signing
    in for a minute; but a proxy that sends a token of its own with every request guesses only once.
    """

    def __init__(self) -> None:
        self._by_peer: OrderedDict[str, _Guesses] = OrderedDict()
        self._all: _Guesses = {}

    def wait_s(self, peer: str, now: float) -> float:
        """How long this peer must wait before its next guess is looked at; 0 if it need not. ``now``: monotonic."""
        return max(
            _wait_s(self._by_peer.get(peer, {}), _FAILURES, now),
            _wait_s(self._all, _ALL_FAILURES, now),
        )

    def note(self, peer: str, token: str, now: float) -> None:
        """A wrong token came."""
        guess = hashlib.sha256(token.encode(errors="replace")).digest()
        self._all = {**_recent(self._all, now), guess: now}
        self._by_peer[peer] = {**_recent(self._by_peer.pop(peer, {}), now), guess: now}
        if len(self._by_peer) > _PEERS:
            self._by_peer.popitem(last=False)


_Guesses: TypeAlias = dict[bytes, float]  # when each came last, the digest of it


def _recent(guesses: _Guesses, now: float) -> _Guesses:
    return {guess: at for guess, at in guesses.items() if now - at < _WINDOW_S}


def _wait_s(guesses: _Guesses, most: int, now: float) -> float:
    recent = sorted(_recent(guesses, now).values())
    return recent[-most] + _WINDOW_S - now if len(recent) >= most else 0.0
