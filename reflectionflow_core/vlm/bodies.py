"""Reads a response's body up to a limit, even of a compression bomb.

HTTP clients decompress each chunk as a whole: a few kilobytes can become a hundred megabytes.
"""

from __future__ import annotations

import zlib
from typing import Any

PACKED = ("gzip", "x-gzip", "deflate")
ANY_HEADER = zlib.MAX_WBITS | 32  # gzip or zlib header
NO_HEADER = -zlib.MAX_WBITS


class UnreadableBodyError(Exception):
    """A body with an unsupported or broken compression."""


async def read_body(response: Any, most: int) -> bytes:
    """At most `most` + 1 decompressed bytes of an httpx response's body; more than `most`: it is
    longer.

    Raises UnreadableBodyError, and transport errors.
    """
    raw = bytearray()
    async for chunk in response.aiter_raw():
        raw += chunk
        if len(raw) > most:
            break
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return bytes(raw[: most + 1])
    if encoding not in PACKED:
        raise UnreadableBodyError(encoding)
    return _unpacked(bytes(raw), most, is_cut=len(raw) > most)


def _unpacked(raw: bytes, most: int, is_cut: bool) -> bytes:
    for header in (ANY_HEADER, NO_HEADER):
        unpacking = zlib.decompressobj(header)
        try:
            body = unpacking.decompress(raw, most + 1)
        except zlib.error:
            continue
        if not unpacking.eof and len(body) <= most and not is_cut:
            break
        return body
    raise UnreadableBodyError("broken")
