"""Reading a body without trusting its length."""

from __future__ import annotations

from aiohttp import StreamReader


async def read_at_most(stream: StreamReader, most: int) -> bytes | None:
    """The whole of a stream; None if it has more than ``most`` bytes, of which no more than a chunk was kept."""
    read = bytearray()
    async for chunk in stream.iter_any():
        read += chunk
        if len(read) > most:
            return None
    return bytes(read)
