"""
Calls beside a conversation: counting, warming up, naming a chat, suggesting what to ask next. They may follow a
binding, but not make one. So do calls that hold no conversation at all, such as embeddings.

A conversation that is taken for one of these is at home where its answer came from, from its second turn on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..values.http import Endpoint, Request
from .history import instructions, messages_of, role_of, text_of

_COUNTING = ("/count_tokens", ":counttokens", ":computetokens", "/input_tokens")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_LIMITING = frozenset((*_LIMITS, "generationConfig", "generation_config"))
_TITLE = re.compile(
    r"\b(?:generate|write|create|produce|suggest|summari[sz]e|come up with)\b[^.\n]{0,100}\b(?:title|topic)\b"
    r"|\btitle generator\b",
    re.IGNORECASE,
)
_LOOKED_AT = 2000  # characters of instructions; a title prompt says so at once
TITLE_MESSAGES = 3
_NO_TALK = re.compile(
    r"/(?:embeddings|moderations|rerank|images/\w+|audio/\w+)$"
    r"|:(?:embedContent|batchEmbedContents|asyncBatchEmbedContent|predict|predictLongRunning|batchGenerateContent)$"
)
# What instructions say of the other chores that tools have beside a chat.
_CHORE = re.compile(
    r"\b(?:generate|write|create|produce|suggest|provide|propose|extract|determine|give|return|reply|predict|formulate)\b"
    r"[^.\n]{0,100}\b(?:title|tags?|follow-?ups?|search (?:quer|term|keyword)\w*|search-ready|emoji"
    r"|standalone (?:quest|quer)\w*)\b"
    r"|\b(?:rephrase|rewrite|reformulate|condense)\b[^.\n]{0,120}\b(?:standalone|search|follow-?up)\b"
    r"|\bnew (?:conversation )?topic\b|\bemoji expert\b|\bauto-?complet(?:e|ion)\b|\bcode completion (?:engine|model)\b"
    r"|(?:总结|生成|概括)[^。\n]{0,60}标题",
    re.IGNORECASE,
)
_CHORE_WORDS = ("title", "tag", "follow", "search", "emoji", "topic", "standalone", "complet", "标题")
# The same, said in the user's name: they speak of the chat, and of no other text.
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
# A heading or a tag that says so by itself, and a message that is nothing but the order.
_SUMMARY = re.compile(
    r"state_snapshot|<(?:\w+_)?summary>|^\W*(?:[a-z]+ )?summary\b[^\n.]{0,40}(?::|\n)"
    rf"|^\W*(?:please |now )*(?:{_BRIEFLY.pattern})\w*(?: (?:it|this|that|everything|all|above|of|the))*\W*$"
)
_ASKED = 2000  # characters at either end of a message that may say it is a summary, or ask for one
_TASK_CHARACTERS = 800  # at either end of a message, where its task stands
_TRANSCRIPT = re.compile(
    r"<(?:chat_?history|conversation(?:_history)?|chat|transcript)>|\"role\"\s*:\s*\"(?:assistant|model)\"",
    re.IGNORECASE,
)
_SPEAKER = re.compile(
    r"^[^\w\n]{0,4}(user|human|assistant|ai|bot|model)\b[^\w\n]{0,4}(?::|$)", re.IGNORECASE | re.MULTILINE
)
_TRANSCRIPT_CHARACTERS = 32_768
_HOLES = re.compile(r"<\|?(?:fim_|PRE\b|prefix\b)|<.fim.begin|\[SUFFIX\]")  # how models are asked to fill a gap
_SHORT_ANSWER = 64  # tokens: no answer to a person


def counts_tokens(request: Request) -> bool:
    """Say whether *request* only asks how many tokens a history has."""
    return request.path.partition("?")[0].lower().endswith(_COUNTING)


def is_probe(request: Request) -> bool:
    """Say whether *request* only counts tokens, or asks for one at most: nothing stays warm after it."""
    return counts_tokens(request) or any(_is_one(limit) for limit in _limits(request))


def names_a_chat(request: Request) -> bool:
    """Say whether *request* asks for the title of a chat: short, without tools, and told so in its instructions."""
    body = request.body
    messages = messages_of(body)
    if body.get("tools") or len(messages) > TITLE_MESSAGES:
        return False
    texts = [*instructions(body), *(text_of(message) for message in messages if role_of(message) == "system")]
    return any(_TITLE.search(text[:_LOOKED_AT]) for text in texts)


def converses(endpoint: Endpoint) -> bool:
    """Say whether requests for *endpoint* hold a conversation."""
    return endpoint.kind == "generation" and not _NO_TALK.search(endpoint.suffix)


def serves_a_chat(request: Request) -> bool:
    """
    Say whether *request* does a chore beside a chat: it names it, tags it, asks what may be said next, or fills a gap.

    Such a call is one message without tools, told what to do by instructions, or by that message: then it quotes the
    chat it is about.
    """
    if names_a_chat(request) or _fills_a_gap(request):
        return True
    messages = messages_of(request.body)
    if len(messages) > TITLE_MESSAGES or any(role_of(message) in ("assistant", "tool") for message in messages):
        return False
    if not _has_no_choice(request):
        return False
    told = [text_of(message) for message in messages if role_of(message) == "user"]
    led = [*instructions(request.body), *(text_of(message) for message in messages if role_of(message) == "system")]
    if any(_is_chore(text[:_LOOKED_AT]) for text in led):
        return True
    task = "\n".join(text if len(text) <= 2 * _TASK_CHARACTERS else _ends(text) for text in told)
    is_chore = _is_chore(task)
    if is_chore and len(told) == 1 and _OF_THE_CHAT.search(task):
        return True
    is_task = is_chore or says_summary(task) or any(_is_short(limit) for limit in _limits(request))
    return is_task and any(_quotes_a_chat(text[:_TRANSCRIPT_CHARACTERS]) for text in (*told, *led))


def says_summary(text: str) -> bool:
    """Say whether *text* speaks, at either end, of the summary of a conversation: it is one, or asks for one."""
    return _speaks_of_summary(text[:_ASKED].lower()) or _speaks_of_summary(text[_ASKED:][-_ASKED:].lower())


def _speaks_of_summary(text: str) -> bool:
    if not _holds(text, _BRIEF):
        return False
    places = (match.span() for match in _BRIEFLY.finditer(text))
    near = (text[max(0, start - _NEAR) : end + _NEAR] for start, end in places)
    return _SUMMARY.search(text) is not None or any(_OF_A_CHAT.search(around) for around in near)


def _is_chore(text: str) -> bool:
    return _holds(text.lower(), _CHORE_WORDS) and bool(_CHORE.search(text) or _TITLE.search(text))


def _holds(text: str, words: Sequence[str]) -> bool:
    """Say whether *text*, in lower case, holds one of *words*: most hold none, and a pattern takes far longer."""
    return any(word in text for word in words)


def _ends(text: str) -> str:
    return f"{text[:_TASK_CHARACTERS]}\n{text[-_TASK_CHARACTERS:]}"


def _quotes_a_chat(text: str) -> bool:
    if _TRANSCRIPT.search(text):
        return True
    speakers = {match[1].lower() in ("user", "human") for match in _SPEAKER.finditer(text)}
    return len(speakers) == 2


def _has_no_choice(request: Request) -> bool:
    """Say whether *request* has no tools, or one that the answer has to be given with."""
    tools = request.body.get("tools")
    choice = request.body.get("tool_choice") if tools else None
    forced = choice == "required" or (isinstance(choice, dict) and choice.get("type") not in ("auto", "none"))
    return not tools or (isinstance(tools, list) and len(tools) == 1 and forced)


def _fills_a_gap(request: Request) -> bool:
    prompt = request.body.get("prompt") if "prompt" in request.body else None
    if not isinstance(prompt, str):
        return False
    return bool(request.body.text("suffix")) or _HOLES.search(prompt[:_LOOKED_AT]) is not None


def _limits(request: Request) -> list[Any]:
    if not request.body.holds_any(_LIMITING):
        return []
    limits = [request.body.get(name) for name in _LIMITS if name in request.body]
    for name in ("generationConfig", "generation_config"):
        settings = request.body.get(name) if name in request.body else None
        if isinstance(settings, dict):
            limits += [settings.get("maxOutputTokens"), settings.get("max_output_tokens")]
    return limits


def _is_short(value: Any) -> bool:
    return isinstance(value, int) and value <= _SHORT_ANSWER


def _is_one(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value <= 1
