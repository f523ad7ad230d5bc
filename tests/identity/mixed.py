"""Conversations as the clients of a busy day hold them. `KINDS` says how many of each, and what a kind hangs on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from . import fleets
from .talks import CHAT, GEMINI, MESSAGES, RESPONSES, Call, History, Kind, Reply, Talk, Turn, call, text, token, words

STREAMED_GEMINI = GEMINI.replace("generateContent", "streamGenerateContent?alt=sse")
TOOLS = [{"name": "read_file", "description": "Read a file", "input_schema": {"type": "object"}}]
COMPACT = "Your task is to create a detailed summary of the conversation so far."


@dataclass(frozen=True, slots=True)
class Share:
    """So many conversations of a kind. *row*: what must be mended for it to stay at home, empty when nothing must."""

    count: int
    talk: Kind
    row: str = ""


def uuid(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


def _ask(random: Random) -> str:
    return f"please {words(random, 6)}"


def _working(
    history: History, random: Random, turns: int, headers: Mapping[str, str] | None = None, path: str = ""
) -> Talk:
    """An agent under way: a text now and then, else calls, each answered by its result."""
    for number in range(turns):
        reply = call(random, history.path) if number % 3 < 2 else text(random, history.path)
        yield Turn(path or history.path, history.body(), reply, headers or {})
        history.hear(reply)
        if reply.calls:
            history.result(reply, words(random, 25))
        else:
            history.say(_ask(random))


def _billed(random: Random) -> str:
    return f"x-anthropic-billing-header: cc_version=2.1.{random.randrange(90)}; cch={random.getrandbits(20):05x};"


def claude_code(number: int, random: Random) -> Talk:
    """Claude Code: its own header, a topic call beside each question, a sub-agent, a compaction under the same id."""
    session = uuid(random)
    headers = {"X-Claude-Code-Session-Id": session, "User-Agent": "claude-cli/2.1.90 (external, cli)"}
    who = {"device_id": "d" * 64, "account_uuid": "", "session_id": session}
    more = {"metadata": {"user_id": json.dumps(who)}, "stream": True, "tools": TOOLS}
    main = History(MESSAGES, "You are Claude Code.", **more)
    main.say(f"<system-reminder>Today's date is 2026-11-{number % 28 + 1:02}.</system-reminder>{_ask(random)}")
    topic = {"model": "haiku", "max_tokens": 512, "system": "Analyze if this message indicates a new topic.",
             "messages": [{"role": "user", "content": main.messages[0]["content"]}]}  # fmt: skip
    yield Turn(MESSAGES, topic, text(random, MESSAGES, 3), headers, side=True)
    yield from _working(main, random, 4, headers)
    agent = History(MESSAGES, "You are a sub-agent.", **more)
    agent.say("Look through the repository and report what is dead code.")
    yield from _working(agent, random, 3, {**headers, "X-Claude-Code-Agent-Id": f"agent-{number}"})
    main.messages = [{"role": "user", "content": f"This session is continued: {words(random, 60)}"}]
    yield from _working(main, random, 3, headers)


def claude_stripped(number: int, random: Random) -> Talk:
    """Claude Code behind something that takes its ids away; a billing line that changes in each request."""
    history = History(MESSAGES, "", stream=True, tools=TOOLS)
    history.say(_ask(random))
    for turn in _working(history, random, 7):
        system = [{"type": "text", "text": _billed(random)}, {"type": "text", "text": "You are Claude Code."}]
        yield Turn(turn.path, {**turn.body, "system": system}, turn.reply)


def claude_stripped_compacts(number: int, random: Random) -> Talk:
    """The same, and the history is replaced by the summary that the model wrote."""
    yield from _compacting(History(MESSAGES, "You are Claude Code.", stream=True, tools=TOOLS), random)


def _compacting(history: History, random: Random, path: str = "") -> Talk:
    history.say(_ask(random))
    yield from _working(history, random, 5, path=path)
    history.say(COMPACT)
    summary = text(random, history.path, 60)
    yield Turn(path or history.path, history.body(), summary)
    history.messages = []
    history.say(f"<state_snapshot>\n{summary.text}\n</state_snapshot>\n\nGo on.")
    yield from _working(history, random, 4, path=path)


def codex(number: int, random: Random) -> Talk:
    """Codex over HTTP: one session for the tree, a thread for each of its histories."""
    session = uuid(random)
    headers = {"session-id": session, "thread-id": session, "User-Agent": "codex_cli_rs/0.145.0"}
    history = History(RESPONSES, "You are Codex.", stream=True, prompt_cache_key=session)
    history.say("<environment_context>\n<cwd>/repo</cwd>\n</environment_context>")
    history.say(_ask(random))
    yield from _working(history, random, 5, headers)
    child = History(RESPONSES, "You are Codex.", stream=True, prompt_cache_key=session)
    child.say("Review the diff.")
    yield from _working(child, random, 3, {**headers, "thread-id": uuid(random), "x-openai-subagent": "review"})
    yield from _working(history, random, 2, headers)


def codex_socket(number: int, random: Random) -> Talk:
    """Codex as on a WebSocket: only what is new goes up, behind the id of the last response."""
    session = uuid(random)
    before: dict[str, Any] = {}
    headers = {"session-id": session, "User-Agent": "codex_cli_rs/0.145.0"}
    for _ in range(6):
        reply = text(random, RESPONSES)
        item = {"role": "user", "content": [{"type": "input_text", "text": _ask(random)}]}
        body = {"model": "m", "input": [item], "prompt_cache_key": session, "stream": True, **before}
        yield Turn(RESPONSES, body, reply, headers)
        before = {"previous_response_id": reply.id}


def codex_stripped(number: int, random: Random) -> Talk:
    """Codex without its headers and its cache key."""
    history = History(RESPONSES, "You are Codex.", stream=True)
    history.say("<environment_context>\n<cwd>/repo</cwd>\n</environment_context>")
    history.say(_ask(random))
    yield from _working(history, random, 7)


def codex_stripped_compacts(number: int, random: Random) -> Talk:
    """The same with a compaction."""
    yield from _compacting(History(RESPONSES, "You are Codex.", stream=True), random)


def gemini_cli(number: int, random: Random) -> Talk:
    """Gemini CLI with an API key: a block about the day and the folder, calls without ids."""
    history = History(GEMINI, "You are Gemini CLI.")
    history.say("This is the Gemini CLI. We are setting up the context for our chat.\nToday's date is Thursday.")
    history.hear(Reply("Got it. Thanks for the context!"))
    history.say(_ask(random))
    yield from _working(history, random, 7, path=STREAMED_GEMINI)


def gemini_compresses(number: int, random: Random) -> Talk:
    """`/compress`: the new first message is the model's own summary."""
    yield from _compacting(History(GEMINI, "You are Gemini CLI."), random, STREAMED_GEMINI)


def qwen(number: int, random: Random) -> Talk:
    """Qwen Code, half of them with the header that it sends of late."""
    headers = {"X-Qwen-Code-Session-Id": uuid(random)} if number % 2 else {}
    history = History(CHAT, "You are Qwen Code.", stream=True)
    history.say(_ask(random))
    yield from _working(history, random, 7, headers)


def opencode(number: int, random: Random) -> Talk:
    """OpenCode: a session of its own for the child, whose parent is named; a title beside the first question."""
    session, child = (token(random, "ses_") for _ in range(2))
    history = History(CHAT, "You are OpenCode.", stream=True)
    history.say(_ask(random))
    title = History(CHAT, "You are a title generator. You output ONLY a thread title.", stream=True)
    title.say(history.messages[0]["content"])
    yield Turn(CHAT, title.body(), text(random, CHAT, 4), {"x-session-affinity": session}, side=True)
    yield from _working(history, random, 4, {"x-session-affinity": session, "X-Session-Id": session})
    task = History(CHAT, "You are OpenCode.", stream=True)
    task.say(_ask(random))
    yield from _working(task, random, 3, {"x-session-affinity": child, "x-parent-session-id": session})


def roo(number: int, random: Random) -> Talk:
    """Roo Code and Cline: what is open on the screen stands in each message; a task id, or none."""
    headers = {"X-Task-ID": uuid(random)} if number % 2 else {}
    history = History(CHAT, "You are Roo.", stream=True)
    for turn in range(6):
        history.say(f"{'<task>' if not turn else ''}{_ask(random)}\n<environment_details>{words(random, 30)}"
                    "</environment_details>")  # fmt: skip
        reply = text(random, CHAT, 20)
        yield Turn(CHAT, history.body(), reply, headers)
        history.hear(reply)


def langchain(number: int, random: Random) -> Talk:
    """LangChain with the whole history: short answers, nothing that names it."""
    return fleets._chat(History(CHAT, "You are a helpful assistant."), random, _ask(random), count=4)


def _window(random: Random, headers: Mapping[str, str], size: int) -> Talk:
    history = History(CHAT, "You are a helpful assistant.")
    for _ in range(8):
        history.say(_ask(random))
        reply = text(random, CHAT, 4)
        yield Turn(CHAT, history.body(history.messages[-size:]), reply, headers)
        history.hear(reply)


def n8n_window(number: int, random: Random) -> Talk:
    """n8n: the last five messages go up, and the answers are short."""
    return _window(random, {}, 5)


def n8n_named(number: int, random: Random) -> Talk:
    """The same, and a header names the chat."""
    return _window(random, {"X-Session-ID": f"telegram-{random.randrange(10**8, 10**9)}"}, 5)


def langchain_window(number: int, random: Random) -> Talk:
    """LangChain with a window memory of four exchanges."""
    return _window(random, {}, 9)


def rag(number: int, random: Random) -> Talk:
    """An application that puts what it found, and the hour, before the first question: another text each time."""
    said: list[dict[str, Any]] = []
    asked = _ask(random)
    for turn in range(6):
        found = f"It is 2026-11-26 {turn + 8:02}:{random.randrange(60):02}.\n"
        history = History(CHAT, "Answer from the context.")
        history.say(found + asked)
        history.messages += said
        reply = text(random, CHAT, 4)
        yield Turn(CHAT, history.body(), reply)
        said += [{"role": "assistant", "content": reply.text}, {"role": "user", "content": _ask(random)}]


def _with_side_calls(random: Random, prompts: tuple[str, ...], headers: Mapping[str, str]) -> Talk:
    history = History(CHAT, "")
    for turn in range(5):
        history.say(_ask(random))
        reply = text(random, CHAT, 16)
        yield Turn(CHAT, {**history.body(), "stream": True}, reply, headers)
        history.hear(reply)
        for prompt in prompts if not turn else prompts[-1:]:
            told = "\n".join(f"{each['role'].upper()}: {each['content']}" for each in history.messages[-4:])
            side = History(CHAT, "")
            side.say(f"{prompt}\n### Chat History:\n<chat_history>\n{told}\n</chat_history>")
            yield Turn(CHAT, side.body(), text(random, CHAT, 4), headers, side=True)


WEBUI = (
    "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.",
    "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history.",
    "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might naturally ask next.",
)


def open_webui(number: int, random: Random) -> Talk:
    """Open WebUI: title, tags and follow-ups beside the chat; half of them forward the id of the chat."""
    return _with_side_calls(random, WEBUI, {"X-OpenWebUI-Chat-Id": uuid(random)} if number % 2 else {})


def librechat(number: int, random: Random) -> Talk:
    """LibreChat: a title after the first answer."""
    prompt = "Provide a concise, 5-word-or-less title for the conversation, using title case conventions."
    return _with_side_calls(random, (prompt,), {})


def regenerating(number: int, random: Random) -> Talk:
    """A chat whose first answer is asked for again, and whose second question is edited later."""
    history = History(CHAT, "You are a helpful assistant.", stream=True)
    history.say(_ask(random))
    for _ in range(2):
        reply = text(random, CHAT, 5)
        yield Turn(CHAT, history.body(), reply)
    history.hear(reply)
    root = list(history.messages)
    for _ in range(2):
        history.messages = list(root)
        yield from fleets._chat(history, random, _ask(random), count=5)


def retrying(number: int, random: Random) -> Talk:
    """A client that gives up on its first request, and on one in the middle, and asks again."""
    history = History(MESSAGES, "You are a helpful assistant.", stream=True)
    for turn in range(6):
        history.say(_ask(random))
        reply = text(random, MESSAGES, 5)
        if turn % 3 == 0:
            yield Turn(MESSAGES, history.body(), reply, ending="cut")
        yield Turn(MESSAGES, history.body(), reply)
        history.hear(reply)


def parallel_calls(number: int, random: Random) -> Talk:
    """An SDK loop whose answers hold three calls at once."""
    history = History(RESPONSES if number % 2 else MESSAGES, "You are an agent.", stream=number % 3 == 0)
    history.say(_ask(random))
    for _ in range(5):
        prefix = "call_" if history.path == RESPONSES else "toolu_01"
        calls = tuple(Call(token(random, prefix), "search", {"q": words(random, 3)}) for _ in range(3))
        reply = Reply("Let me look.", calls, id=token(random, "resp_"))
        yield Turn(history.path, history.body(), reply)
        history.hear(reply)
        history.result(reply, words(random, 10))


def agents_sdk(number: int, random: Random) -> Talk:
    """OpenAI's Agents SDK: a conversation that the provider keeps."""
    return fleets.stored_responses(number, random)


KINDS: Mapping[str, Share] = {
    "Claude Code": Share(10, claude_code),
    "Claude Code without ids": Share(6, claude_stripped),
    "Claude Code without ids, compacting": Share(3, claude_stripped_compacts, "I2"),
    "Codex": Share(9, codex),
    "Codex on a WebSocket": Share(6, codex_socket),
    "Codex without ids": Share(4, codex_stripped),
    "Codex without ids, compacting": Share(2, codex_stripped_compacts, "I2"),
    "Gemini CLI": Share(8, gemini_cli),
    "Gemini CLI, compressing": Share(3, gemini_compresses, "I2"),
    "Qwen Code": Share(6, qwen),
    "OpenCode": Share(8, opencode),
    "Aider": Share(6, fleets.aider),
    "Roo, Cline": Share(8, roo),
    "LangChain": Share(6, langchain),
    "LangChain, window": Share(3, langchain_window, "I3"),
    "n8n, window": Share(3, n8n_window, "I3"),
    "n8n, window and a name": Share(3, n8n_named),
    "dates before the first question": Share(3, rag, "I3"),
    "Open WebUI": Share(6, open_webui, "I4"),
    "LibreChat": Share(4, librechat, "I4"),
    "SDK loop, equal opening": Share(6, fleets.sdk_loop),
    "few-shot": Share(3, fleets.few_shot),
    "regenerating and editing": Share(3, regenerating),
    "giving up and asking again": Share(3, retrying),
    "parallel calls": Share(2, parallel_calls),
    "Agents SDK": Share(1, agents_sdk),
}


def talks(seed: int) -> list[tuple[str, Talk]]:
    """Return all conversations of `KINDS`, each with the name of its kind."""
    return [
        (name, share.talk(number, Random(f"{seed} {name} {number}")))
        for name, share in KINDS.items()
        for number in range(share.count)
    ]
