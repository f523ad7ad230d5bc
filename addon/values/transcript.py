"""
A request or an answer as a conversation for readers: system, tools, turns, blocks, usage, settings.

A long conversation has tens of thousands of these values; as dataclasses they would take most of the time of reading.
"""

from __future__ import annotations

from typing import Literal

import msgspec

BlockKind = Literal[
    "text", "thinking", "call", "result", "image", "audio", "video", "file", "refusal", "other"
]  # `other`: a type that its dialect does not read; its members stand in the details


class Detail(msgspec.Struct, frozen=True, gc=False):
    """
    A member that no other field holds: its dotted *name* and its *value*; a list stands as JSON text.

    Absent are null, and empty strings, lists and objects.
    """

    name: str
    value: str | int | float | bool


class Media(msgspec.Struct, frozen=True, gc=False):
    """
    Contents that are no text, without these contents.

    *type* is the media type or format; *size* counts the bytes that stand in the body itself, 0 where the contents are
    elsewhere; *place* is the URL or the id of the file.
    """

    type: str = ""
    size: int = 0
    place: str = ""


class Block(msgspec.Struct, frozen=True, gc=False):
    """
    One piece of a turn.

    *text*: the words of text, thinking and refusal; the arguments of a call (JSON text, as the model wrote it, or as it
    stood in the body); the text of a result. *name*: the tool of a call, and of a result where its call is in the same
    transcript; the type of `other`. *id*: of the call, for call and result. *blocks*: what a result holds besides its
    text. *media*: of image, audio, video and file. *details*: all other members, such as signatures and citations.
    """

    kind: BlockKind
    text: str = ""
    name: str = ""
    id: str = ""
    media: Media | None = None
    blocks: tuple[Block, ...] = ()
    details: tuple[Detail, ...] = ()


class TranscriptTurn(msgspec.Struct, frozen=True, gc=False):
    """
    One message or item: *role* is `system`, `developer`, `user`, `assistant`, `tool`, or what the body says.

    The first choice or candidate of an answer has *choice* 0, the next 1.
    """

    role: str
    blocks: tuple[Block, ...] = ()
    details: tuple[Detail, ...] = ()
    choice: int = 0


class OfferedTool(msgspec.Struct, frozen=True, gc=False):
    """A tool that a request offers: *schema* is the JSON text of its parameters; *name* its type, if it has none."""

    name: str
    description: str = ""
    schema: str = ""
    details: tuple[Detail, ...] = ()


class ErrorText(msgspec.Struct, frozen=True, gc=False):
    """An error of any shape: the sentence, and all else that it says (`type`, `code`, …)."""

    message: str
    details: tuple[Detail, ...] = ()


class Transcript(msgspec.Struct, frozen=True, gc=False):
    """
    A request, or an answer put together from its stream.

    *usage* holds every number of the usage (dotted names); *settings* the other top-level members: of a request its
    settings, of an answer its id, time and the like. *stop* is the reason that the (first choice of the) answer names.
    *other*: what could not be read (events of an unknown type, a body that is no JSON). *is_cut*: a stream that ended
    before its end, or in the middle of an event.
    """

    model: str = ""
    system: tuple[Block, ...] = ()
    tools: tuple[OfferedTool, ...] = ()
    turns: tuple[TranscriptTurn, ...] = ()
    usage: tuple[Detail, ...] = ()
    settings: tuple[Detail, ...] = ()
    stop: str = ""
    error: ErrorText | None = None
    other: tuple[Detail, ...] = ()
    is_stream: bool = False
    is_cut: bool = False
