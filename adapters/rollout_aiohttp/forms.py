"""What aiohttp's own parsers make of the copy of a request: its form, its cookies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from rollout_aiohttp.sealed import seal
from rollout_aiohttp.snapshot import RequestSnapshot

_IN_MEMORY = 2**20  # above, aiohttp keeps a file field on disk


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a multipart form: ``filename`` and ``content_type`` as the client said, ``content`` its bytes."""

    filename: str
    content_type: str
    content: bytes


async def form_of(snapshot: RequestSnapshot, body: bytes) -> Mapping[str, Any]:
    """The fields as a read-only multidict: text as ``str``, files as ``Upload``, other typed fields as ``bytes``.

    Raises ``ValueError`` where the body is not what its content type says, or above aiohttp's own limits.
    """
    request = seal(snapshot, body)
    try:
        fields = await request.post()
    except web.HTTPException as error:
        raise ValueError(f"The form of {snapshot!r} cannot be read: {error.text or error.reason}") from error
    out: MultiDict[Any] = MultiDict()
    for name, value in fields.items():
        out.add(name, await _value(value))
    return MultiDictProxy(out)


async def _value(value: str | bytes | bytearray | web.FileField) -> str | bytes | Upload:
    if isinstance(value, bytearray):
        return bytes(value)
    if not isinstance(value, web.FileField):
        return value
    with value.file as file:
        large = file.seek(0, 2) > _IN_MEMORY
        file.seek(0)
        content = await asyncio.to_thread(file.read) if large else file.read()
    return Upload(value.filename, value.content_type, content)


def cookies_of(snapshot: RequestSnapshot) -> Mapping[str, str]:
    """The cookies of the request, read only."""
    return seal(snapshot, b"").cookies
