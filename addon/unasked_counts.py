"""The count of tokens that Patchbay asks for in a chat's stream, taken out of what the client gets, which did not."""

from __future__ import annotations

from msgspec import DecodeError, Raw, Struct, ValidationError, json

from .answer.sse import blocks

_USAGE = b'"usage"'


class _Chunk(Struct):
    choices: list[Raw]
    usage: dict[str, Raw]


_CHUNK = json.Decoder(_Chunk)


def without_count(events: bytes) -> bytes:
    """
    Return *events*, whole ones, without a chunk that holds nothing but the count.

    Source: https://platform.openai.com/docs/api-reference/chat/create, `stream_options`: its `choices` are empty.
    """
    if _USAGE not in events:
        return events
    return b"".join(block for block in blocks(events) if _USAGE not in block or not _is_count(block))


def _is_count(block: bytes) -> bool:
    data = [line[5:] for line in block.splitlines() if line.startswith(b"data:")]
    try:
        return not _CHUNK.decode(b"\n".join(data)).choices
    except (DecodeError, ValidationError, RecursionError, UnicodeDecodeError):
        return False
