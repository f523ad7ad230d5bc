"""What the simulated model says: text that can be foretold, tokens that can be counted, ids that look minted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

try:
    from anthropic_tokenizer import count_tokens  # type: ignore[import-untyped]
except ImportError:  # there is no wheel for the newest Python
    count_tokens = None

from .asking import SIGN_WORDS, WORDS, Asked, Turn, stable

_STEMS = ("amber", "cedar", "delta", "ember", "maple", "ocean", "river", "stone")
LEXICON = tuple(stem + ending for stem in _STEMS for ending in ("", "s", "land", "side"))
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. *prompt* is all of the prompt; *cached* and *written* are parts of it."""

    prompt: int = 0
    cached: int = 0
    written: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Tool:
    """One call of a tool."""

    name: str
    arguments: Mapping[str, Any]
    call_id: str


@dataclass(frozen=True, slots=True)
class Echoed:
    """
    The ids an answer carries besides its own: what comes back in the header *header* (`name`, value), what stands in
    the body as `request_id`, in *every* event or only the first one.
    """

    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    every: bool = True
    error: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, before it is written down in a dialect. An empty *answer_id* is left out of the body."""

    asked: Asked
    answer_id: str
    item_id: str
    model: str
    text: str
    created: int
    usage: Usage
    tool: Tool | None = None
    stop: str = "stop"
    sealed: str = ""  # encrypted reasoning, where the dialect has it and it was asked for
    echoed: Echoed = Echoed()
    extra: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)  # what the provider says of the request: see `diagnosis`

    @property
    def pieces(self) -> tuple[str, ...]:
        """Return the text in the pieces a stream sends it in: one word each, with the space before it."""
        return tuple(re.findall(r"\s*\S+", self.text))


def speak(asked: Asked, words: int) -> tuple[str, str]:
    """Return the answer's text, the same for the same conversation, and `stop` or `length`."""
    user = asked.own[0] if asked.own else ""
    wanted = WORDS.findall(user)
    count = int(wanted[-1]) if wanted else words
    said_so_far = (turn for turn in asked.turns if turn.role in ("user", "tool", "assistant"))
    seed = "\x1e".join(f"{turn.role}\x1f{turn.text}" for turn in said_so_far)
    digest = hashlib.blake2b(seed.encode("utf-8", "replace"), digest_size=32).digest()
    first = asked.mark or f"Answer-{digest[:6].hex()}"
    rest = [LEXICON[(digest[n % 32] + n // 32) % len(LEXICON)] for n in range(max(count - 1, 0))]
    if SIGN_WORDS in user:
        rest = [f"{first}.{number}" for number in range(1, len(rest) + 1)]
    said = [first, *rest]
    cut = asked.limit is not None and asked.limit < len(said)
    return " ".join(said[: asked.limit] if cut else said), "length" if cut else "stop"


def call(asked: Asked, prefix: str, seed: str) -> Tool | None:
    """Return the call of the first offered tool when the user asked for one."""
    if not asked.wants_tool:
        return None
    arguments = {"subject": asked.mark or mint("s-", seed + "argument", 12)}
    return Tool(asked.tools[0], arguments, mint(prefix, seed + "tool", 24))


@lru_cache(20_000)
def tokens(text: str) -> int:
    """Count the tokens of *text*, at least one, as Claude 2 did; without its tokenizer, one in four characters."""
    if count_tokens is None:
        return max(1, (len(text) + 3) // 4)
    return max(1, int(count_tokens(text)))


def prompt_tokens(turns: Sequence[Turn]) -> list[int]:
    """Return the tokens of each turn, with what its framing costs."""
    return [tokens(turn.text) + 3 for turn in turns]


def completion_tokens(text: str, tool: Tool | None) -> int:
    """Return the tokens of an answer."""
    return tokens(tool.name + stable(tool.arguments)) if tool else tokens(text)


def mint(prefix: str, seed: str, length: int = 24) -> str:
    """Return *prefix* and *length* letters and digits that follow from *seed*."""
    digest = hashlib.blake2b(seed.encode("utf-8", "replace"), digest_size=64).digest()
    return prefix + "".join(_ALPHABET[byte % 62] for byte in digest[:length])
