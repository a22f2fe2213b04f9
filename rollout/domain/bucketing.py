"""The bucket of a targeting key: 0 .. 9 999, the same in every process and release, and independent between salts.

A key is live where its bucket lies below ``share · 10 000``, so raising a share only adds keys. Changing anything here
moves users between arms in the middle of their ramps; the test holds known buckets against it.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Final

BUCKETS: Final = 10_000

_number = Struct(">Q").unpack


def bucket(salt: str, key: str) -> int:
    """The bucket of a key under a salt, in 0 .. 9 999. Any two strings will do, also with lone surrogates."""
    return bucket_bytes(salted(salt), key.encode("utf-8", "surrogatepass"))


def salted(salt: str) -> bytes:
    """A salt as ``bucket_bytes`` takes it. Its length stands first, so that no pair can pose as another."""
    raw = salt.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(4, "big") + raw


def bucket_bytes(salt: bytes, key: bytes) -> int:
    """``bucket`` for the hot path: ``salt`` of ``salted``, made once; the key encoded. About 0.5 µs.

    64 bits of the hash are used, so that the remainder favours no bucket by more than 10⁻¹⁵.
    """
    found: int = _number(blake2b(salt + key, digest_size=8).digest())[0]
    return found % BUCKETS
