"""
Auxiliary calls beside a conversation: token counts, requests for one token, chat titles, follow-up suggestions. They
may follow a binding, but make none; nor do calls without any conversation, such as embeddings.

A conversation mistaken for an auxiliary call is bound from its second turn on, to the account of its first answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..values.http import Endpoint, Request
from .history import instructions, messages_of, role_of, text_of
from .normalise import clipped

_COUNTING = ("/count_tokens", ":counttokens", ":computetokens", "/input_tokens")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_LIMITING = frozenset((*_LIMITS, "generationConfig", "generation_config"))
_TITLE = re.compile(
    r"\b(?:generate|write|create|produce|suggest|summari[sz]e|come up with)\b[^.\n]{0,100}\b(?:title|topic)\b"
    r"|\btitle generator\b",
    re.IGNORECASE,
)
_LEADING = 2000  # characters of instructions that are searched
TITLE_MESSAGES = 3
_NO_TALK = re.compile(
    r"/(?:embeddings|moderations|rerank|images/\w+|audio/\w+)$"
    r"|:(?:embedContent|batchEmbedContents|asyncBatchEmbedContent|predict|predictLongRunning|batchGenerateContent)$"
)
# Instructions of the other chores of tools beside a chat.
_CHORE = re.compile(
    r"\b(?:generate|write|create|produce|suggest|provide|propose|extract|determine|give|return|reply|predict|formulate)\b"
    r"[^.\n]{0,100}\b(?:title|tags?|follow-?ups?|search (?:quer|term|keyword)\w*|search-ready|emoji"
    r"|standalone (?:quest|quer)\w*)\b"
    r"|\b(?:rephrase|rewrite|reformulate|condense)\b[^.\n]{0,120}\b(?:standalone|search|follow-?up)\b"
    r"|\bnew (?:conversation )?topic\b|\bemoji expert\b|\bauto-?complet(?:e|ion)\b|\bcode completion (?:engine|model)\b"
    r"|(?:总结|生成|概括)[^。\n]{0,60}标题",
    re.IGNORECASE,
)
# Every match of _CHORE and _TITLE holds one of these words: a text without them is not searched.
_CHORE_WORDS = ("title", "tag", "follow", "search", "emoji", "topic", "standalone", "complet", "标题")
# The same in a user message: it must be about a chat, and no other text.
_OF_THE_CHAT = re.compile(
    r"\btitle\b[^.\n]{0,80}\b(?:chat|conversation|session|thread|discussion|dialog(?:ue)?)\b"
    r"|\b(?:chat|conversation|session|thread)(?:'s)? title\b",
    re.IGNORECASE,
)
_BRIEF = (
    "summar", "compact", "compress", "condens", "recap", "checkpoint", "handoff", "hand-off", "snapshot", "distil",
    "continued from", "continue from", "总结", "摘要", "概括", "压缩",
)  # fmt: skip
_BRIEFLY = re.compile("|".join(_BRIEF))
_OF_A_CHAT = re.compile(
    "conversation|session|chat|histor|context|dialog|transcript|thread|so far|previous|earlier|language model|messages"
    "|对话|会话|聊天|上下文|历史"
)
_NEAR = 160  # characters between the two
# A heading or a tag of a summary, and a message that only asks for one.
_SUMMARY = re.compile(
    r"state_snapshot|<(?:\w+_)?summary>|^\W*(?:[a-z]+ )?summary\b[^\n.]{0,40}(?::|\n)"
    rf"|^\W*(?:please |now )*(?:{_BRIEFLY.pattern})\w*(?: (?:it|this|that|everything|all|above|of|the))*\W*$"
)
_SEARCHED = 2000  # characters at either end of a message that may be a summary, or ask for one
_TASK_CHARACTERS = 1600  # at the ends of a message, where its task stands
_TRANSCRIPT = re.compile(
    r"<(?:chat_?history|conversation(?:_history)?|chat|transcript)>|\"role\"\s*:\s*\"(?:assistant|model)\"",
    re.IGNORECASE,
)
_SPEAKER = re.compile(
    r"^[^\w\n]{0,4}(user|human|assistant|ai|bot|model)\b[^\w\n]{0,4}(?::|$)", re.IGNORECASE | re.MULTILINE
)
_TRANSCRIPT_CHARACTERS = 32_768
_HOLES = re.compile(r"<\|?(?:fim_|PRE\b|prefix\b)|<.fim.begin|\[SUFFIX\]")  # marks of fill-in-the-middle prompts
_SHORT_ANSWER = 64  # tokens: too few for an answer to a person


def counts_tokens(request: Request) -> bool:
    """Whether *request* only counts the tokens of a history."""
    return request.path.partition("?")[0].lower().endswith(_COUNTING)


def wants_no_answer(request: Request) -> bool:
    """Whether *request* only counts tokens, or asks for at most one: it warms no cache."""
    return counts_tokens(request) or any([_is_at_most(1, limit) for limit in _limits(request)])  # noqa: C419 - nearly always none


def converses(endpoint: Endpoint) -> bool:
    """Whether requests for *endpoint* hold a conversation."""
    return endpoint.kind == "generation" and not _NO_TALK.search(endpoint.suffix)


def serves_a_chat(request: Request) -> bool:
    """
    Whether *request* is a chore beside a chat: a title, tags, follow-up suggestions, or fill-in-the-middle.

    Such a call is one message without tools. The task stands in its instructions, or in the message, which then quotes
    the chat.
    """
    if _fills_a_gap(request):
        return True
    messages, tools = messages_of(request.body), request.body.get("tools")
    if len(messages) > TITLE_MESSAGES:
        return False
    led = [*instructions(request.body), *(text_of(message) for message in messages if role_of(message) == "system")]
    if not tools and any(_TITLE.search(text[:_LEADING]) for text in led):
        return True
    if any(role_of(message) in ("assistant", "tool") for message in messages) or not _has_no_tool_choice(request):
        return False
    asked = [text_of(message) for message in messages if role_of(message) == "user"]
    if any(_is_chore(text[:_LEADING]) for text in led):
        return True
    task = "\n".join(clipped(text, _TASK_CHARACTERS) for text in asked)
    is_chore = _is_chore(task)
    if is_chore and len(asked) == 1 and _OF_THE_CHAT.search(task):
        return True
    is_task = is_chore or says_summary(task) or any(_is_at_most(_SHORT_ANSWER, limit) for limit in _limits(request))
    return is_task and any(_quotes_a_chat(text[:_TRANSCRIPT_CHARACTERS]) for text in (*asked, *led))


def says_summary(text: str) -> bool:
    """Whether *text* is, or asks for, the summary of a conversation, by the words at either end."""
    return _speaks_of_summary(text[:_SEARCHED].lower()) or _speaks_of_summary(text[_SEARCHED:][-_SEARCHED:].lower())


def _speaks_of_summary(text: str) -> bool:
    if not _holds(text, _BRIEF):
        return False
    places = (match.span() for match in _BRIEFLY.finditer(text))
    near = (text[max(0, start - _NEAR) : end + _NEAR] for start, end in places)
    return _SUMMARY.search(text) is not None or any(_OF_A_CHAT.search(around) for around in near)


def _is_chore(text: str) -> bool:
    return _holds(text.lower(), _CHORE_WORDS) and bool(_CHORE.search(text) or _TITLE.search(text))


def _holds(text: str, words: Sequence[str]) -> bool:
    """Whether *text*, in lower case, holds one of *words*: most hold none, and a pattern takes far longer."""
    return any(word in text for word in words)


def _quotes_a_chat(text: str) -> bool:
    if _TRANSCRIPT.search(text):
        return True
    speakers = {match[1].lower() in ("user", "human") for match in _SPEAKER.finditer(text)}
    return len(speakers) == 2


def _has_no_tool_choice(request: Request) -> bool:
    tools = request.body.get("tools")
    choice = request.body.get("tool_choice") if tools else None
    forced = choice == "required" or (isinstance(choice, dict) and choice.get("type") not in ("auto", "none"))
    return not tools or (isinstance(tools, list) and len(tools) == 1 and forced)


def _fills_a_gap(request: Request) -> bool:
    prompt = request.body.get("prompt") if "prompt" in request.body else None
    if not isinstance(prompt, str):
        return False
    return bool(request.body.text("suffix")) or _HOLES.search(prompt[:_LEADING]) is not None


def _limits(request: Request) -> list[Any]:
    if not request.body.holds_any(_LIMITING):
        return []
    limits = [request.body.get(name) for name in _LIMITS if name in request.body]
    for name in ("generationConfig", "generation_config"):
        settings = request.body.get(name) if name in request.body else None
        if isinstance(settings, dict):
            limits += [settings.get("maxOutputTokens"), settings.get("max_output_tokens")]
    return limits


def _is_at_most(most: int, limit: Any) -> bool:
    return isinstance(limit, int) and not isinstance(limit, bool) and limit <= most
