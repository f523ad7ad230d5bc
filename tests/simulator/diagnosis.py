"""
What a provider says about a request one turn later: how it differs from the one whose answer it names.

Anthropic: `diagnostics` and, about reasoning that was made in another conversation, `input_transformations`; OpenAI:
`prompt_cache_diagnostics`. The shapes are those of their SDKs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

from .asking import Asked, Turn, objects

# `wrong`: it always finds a difference; `sloppy`: at each eighth request; `late`: it has never compared yet
Care = Literal["right", "sloppy", "wrong", "late"]
# `wrong`: all reasoning is said to be another conversation's; `sloppy`: that of each eighth; `missing`: none ever is
Binds = Literal["right", "sloppy", "wrong", "missing"]
# `wrong`: a thread always has other members; `sloppy`: at each eighth request; `missing`: it goes on with any
Threads = Literal["right", "sloppy", "wrong", "missing"]
FIXED = ("model", "system", "tools", "tool_choice", "thinking", "output_config")  # members of a thread
_KEPT = 10_000
_PARTS = ("model", "system", "tools", "messages")
_ANTHROPIC = {part: f"{part}_changed" for part in _PARTS}
_OPENAI = {"model": "model_changed", "system": "input_changed", "tools": "tools_changed", "messages": "input_changed"}


class Diagnoses:
    """The prompts of all answers, by their ids, each for the account that asked; and the seals of reasoning."""

    def __init__(self, care: Care = "right", binds: Binds = "right", threads: Threads = "right") -> None:
        self.care, self.binds, self.threads = care, binds, threads
        self._fixed: OrderedDict[tuple[str, str], Mapping[str, Any]] = OrderedDict()
        self._went_on = 0
        self._asked: OrderedDict[tuple[str, str], Asked] = OrderedDict()
        self._seals: OrderedDict[str, tuple[Turn, ...]] = OrderedDict()
        self._made = self._looked = 0

    def keep(self, answer: str, account: str, asked: Asked, seal: str = "") -> None:
        """Remember that *answer*, with reasoning under *seal*, was given to *asked*."""
        self._asked[account, answer] = asked
        if isinstance(thread := asked.document.get("thread"), dict):
            own = {name: asked.document[name] for name in FIXED if name in asked.document}
            before = self._fixed.get((account, str(thread.get("previous_message_id"))), {})
            self._fixed[account, answer] = {**before, **own}
        if seal:
            self._seals[seal] = asked.turns
        for kept in (self._asked, self._seals, self._fixed):
            while len(kept) > _KEPT:
                kept.popitem(last=False)

    def told(self, asked: Asked, account: str) -> Mapping[str, Any]:
        """Return the members that an answer to *asked* has for this."""
        if asked.dialect == "anthropic":
            return {**self._anthropic(asked, account), **self._transformations(asked)}
        return self._openai(asked, account) if asked.dialect == "responses" else {}

    def differing(self, document: Mapping[str, Any], account: str) -> list[str]:
        """Return the members of *document*, which goes on with a thread, that are not those of the thread."""
        thread = document.get("thread")
        previous = str(thread.get("previous_message_id")) if isinstance(thread, dict) else ""
        fixed = self._fixed.get((account, previous))
        if fixed is None or self.threads == "missing":
            return []
        self._went_on += 1
        if self.threads == "wrong" or (self.threads == "sloppy" and self._went_on % 8 == 0):
            return ["model"]
        return [name for name in FIXED if name in document and document[name] != fixed.get(name)]

    def clear(self) -> None:
        """Forget everything."""
        self._asked.clear()
        self._fixed.clear()
        self._seals.clear()

    def _anthropic(self, asked: Asked, account: str) -> Mapping[str, Any]:
        wanted = asked.document.get("diagnostics")
        if not isinstance(wanted, dict):
            return {}
        previous = wanted.get("previous_message_id")
        if previous is None:
            return {"diagnostics": None}
        if self.care == "late":
            return {"diagnostics": {"cache_miss_reason": None}}
        before = self._asked.get((account, str(previous)))
        if before is None:
            return {"diagnostics": {"cache_miss_reason": {"type": "previous_message_not_found"}}}
        part = self._difference(before, asked)
        reason = {"type": _ANTHROPIC[part], "cache_missed_input_tokens": 100} if part else None
        return {"diagnostics": {"cache_miss_reason": reason} if reason else None}

    def _openai(self, asked: Asked, account: str) -> Mapping[str, Any]:
        wanted = asked.document.get("prompt_cache_options")
        previous = wanted.get("comparison_response_id") if isinstance(wanted, dict) else None
        if previous is None:
            return {}
        before = self._asked.get((account, str(previous)))
        if before is None:
            return {"prompt_cache_diagnostics": {"type": "comparison_response_not_found"}}
        if self.care == "late":
            return {"prompt_cache_diagnostics": {"type": "unavailable"}}
        part = self._difference(before, asked)
        miss = {"type": "cache_miss", "reason": _OPENAI.get(part, ""), "cache_missed_tokens": 100}
        return {"prompt_cache_diagnostics": miss if part else {"type": "cache_hit"}}

    def _transformations(self, asked: Asked) -> Mapping[str, Any]:
        """Tell of reasoning that was made in another conversation: it is left out of the prompt."""
        if self.binds == "missing":
            return {}
        self._looked += 1
        lie = self.binds == "wrong" or (self.binds == "sloppy" and self._looked % 8 == 0)
        found: list[dict[str, str]] = []
        messages = objects(asked.document.get("messages"))
        for at, message in enumerate(messages):
            for place, block in enumerate(objects(message.get("content"))):
                made = self._seals.get(str(block.get("signature"))) if block.get("type") == "thinking" else None
                if made is not None and (lie or not _begins(made, asked.turns)):
                    path = f"messages.{at}.content.{place}"
                    found.append({"type": "thinking_dropped", "path": path, "reason": "prefix_binding_mismatch"})
        return {"input_transformations": found} if found else {}

    def _difference(self, before: Asked, now: Asked) -> str:
        self._made += 1
        if self.care == "wrong" or (self.care == "sloppy" and self._made % 8 == 0):
            return "messages"
        if before.model != now.model:
            return "model"
        for part in ("system", "tools"):
            if _of(before, part) != _of(now, part):
                return part
        return "" if _begins(before.turns, now.turns) else "messages"


def _of(asked: Asked, role: str) -> list[Turn]:
    return [turn for turn in asked.turns if turn.role == role]


def _begins(first: tuple[Turn, ...], turns: tuple[Turn, ...]) -> bool:
    return len(first) < len(turns) and turns[: len(first)] == first
