"""Fleets: conversations of one application that begin alike, each a function of a number and a random source."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from .talks import CHAT, GEMINI, MESSAGES, RESPONSES, Call, History, Kind, Reply, Talk, Turn, call, text, token, words

TURNS = 4
ASKED = ("fix the failing test", "explain this module", "add a command line flag")
SYSTEM = "You are a careful engineer. Answer briefly, and change as little as you can."
STREAM = {"stream": True}


def _chat(
    history: History, random: Random, asked: str, headers: Mapping[str, str] | None = None, count: int = 12
) -> Talk:
    """A conversation of texts: *asked*, and then what comes to mind."""
    for number in range(TURNS):
        history.say(asked if not number else f"and then, {words(random, 3)}?")
        reply = text(random, history.path, count)
        yield Turn(history.path, history.body(), reply, headers or {})
        history.hear(reply)


def _agent(history: History, random: Random, asked: str, *, rewrites: bool = False, path: str = "") -> Talk:
    """An agent at work: it calls one tool after the other. *rewrites*: a framework gives the calls ids of its own."""
    history.say(asked)
    for number in range(TURNS):
        reply = call(random, history.path)
        yield Turn(path or history.path, history.body(), reply)
        ids = [f"call_{number}"] if rewrites else ()
        history.hear(reply, ids)
        history.result(reply, words(random, 20), ids)


def aider(number: int, random: Random) -> Talk:
    """Aider in one repository: equal rules and map, canned answers between them, files that move behind the history."""
    map_ = "Here are summaries of some files present in my git repo.\n" + words(Random(1), 200)
    files = "I have *added these files to the chat* so you can go ahead and edit them.\n" + words(Random(2), 120)
    done: list[dict[str, Any]] = []
    for turn in range(TURNS):
        history = History(CHAT, SYSTEM, stream=True)
        history.example("I am not sharing any files yet.\n" + map_, "Ok, I won't edit those files without asking.")
        history.messages += done
        history.example(files, "Ok, any changes I propose will be to those files.")
        asked = ASKED[number % 3] if not turn else f"now {words(random, 3)}"
        history.say(asked)
        reply = text(random, CHAT, 20)
        yield Turn(CHAT, history.body(), reply)
        done += [{"role": "user", "content": asked}, {"role": "assistant", "content": reply.text}]


def few_shot(number: int, random: Random) -> Talk:
    """An application that puts the same examples before each first question; its answers are labels."""
    history = History(CHAT, "Classify the ticket.")
    for place in range(4):
        history.example(f"Ticket {place}: {words(Random(place), 8)}", ("bug", "feature", "question", "bug")[place])
    return _chat(history, random, f"Ticket 17: {words(random, 6)}", count=1)


def gemini_hi(number: int, random: Random) -> Talk:
    """Gemini CLI, told `hi`: its first answer is a call without an id, and only its arguments tell it apart."""
    history = History(GEMINI, SYSTEM)
    path = GEMINI.replace("generateContent", "streamGenerateContent?alt=sse")
    return _agent(history, random, "hi", path=path if number % 2 else GEMINI)


def gemini_signed(number: int, random: Random) -> Talk:
    """The same with a model that thinks: all call the same thing, and the signature tells them apart."""
    history = History(GEMINI, SYSTEM)
    history.say("hi")
    for _ in range(TURNS):
        reply = Reply(calls=(Call("", "list_directory", {"path": "."}),), signature=token(random, "EvQB") * 3)
        yield Turn(GEMINI, history.body(), reply)
        history.hear(reply)
        history.result(reply, words(random, 20))


def rewritten_chat(number: int, random: Random) -> Talk:
    """A framework that numbers tool calls by itself, so that no id of the provider comes back."""
    return _agent(History(CHAT, SYSTEM, stream=number % 2 == 0), random, ASKED[0], rewrites=True)


def rewritten_messages(number: int, random: Random) -> Talk:
    """The same at Anthropic's."""
    return _agent(History(MESSAGES, SYSTEM, stream=number % 2 == 0), random, ASKED[0], rewrites=True)


def one_user(number: int, random: Random) -> Talk:
    """One `metadata.user_id` for all, as for an application with one service account; short answers."""
    history = History(MESSAGES, SYSTEM, metadata={"user_id": "svc-backend"}, stream=number % 2 == 0)
    return _chat(history, random, ASKED[number % 3], count=3)


def one_user_other_words(number: int, random: Random) -> Talk:
    """One user id, and a question of its own for each."""
    history = History(MESSAGES, SYSTEM, metadata={"user_id": "user-4711-8f2e"})
    return _chat(history, random, f"tell me about {words(random, 5)}", count=4)


def session_default(number: int, random: Random) -> Talk:
    """`X-Session-ID: default`, written into a list of headers once and for all."""
    history = History(CHAT, SYSTEM, stream=number % 2 == 0)
    return _chat(history, random, ASKED[number % 3], {"X-Session-ID": "default"}, count=4)


def session_main(number: int, random: Random) -> Talk:
    """A member `session_id: main` in each body."""
    return _chat(History(CHAT, SYSTEM, session_id="main"), random, f"question {words(random, 4)}", count=4)


def sdk_loop(number: int, random: Random) -> Talk:
    """A loop over an SDK: equal system, equal first question, another answer each time."""
    history = History(RESPONSES if number % 2 else CHAT, SYSTEM, stream=number % 4 < 2)
    return _chat(history, random, "hi", count=3)


def cache_key(number: int, random: Random) -> Talk:
    """One `prompt_cache_key` for all conversations of an application."""
    history = History(RESPONSES, SYSTEM, prompt_cache_key="support-bot-v2", stream=number % 2 == 0)
    return _chat(history, random, ASKED[number % 3], count=4)


def openai_user(number: int, random: Random) -> Talk:
    """`user: app` for all, and equal openings."""
    return _chat(History(CHAT, SYSTEM, user="app", safety_identifier="app"), random, ASKED[0], count=4)


def one_brief(number: int, random: Random) -> Talk:
    """Sub-agents that nobody names, started with one brief; their calls keep the ids of the provider."""
    return _agent(History(MESSAGES, SYSTEM), random, "Look through the repository and report what is dead code.")


def stored_responses(number: int, random: Random) -> Talk:
    """Equal openings that go on by `previous_response_id` alone."""
    before: dict[str, str] = {}
    for turn in range(TURNS):
        reply = text(random, RESPONSES, 3)
        asked = "hi" if not turn else words(random, 3)
        yield Turn(RESPONSES, {"model": "m", "input": asked, **before}, reply)
        before = {"previous_response_id": reply.id}


FLEETS: dict[str, Kind] = {
    "Aider in one repository": aider,
    "few-shot application": few_shot,
    "Gemini CLI, first answer a call": gemini_hi,
    "Gemini CLI, signed calls": gemini_signed,
    "tool ids rewritten (chat)": rewritten_chat,
    "tool ids rewritten (messages)": rewritten_messages,
    "one metadata.user_id": one_user,
    "one metadata.user_id, other questions": one_user_other_words,
    "X-Session-ID: default": session_default,
    "session_id: main": session_main,
    "SDK loop, equal opening": sdk_loop,
    "one prompt_cache_key": cache_key,
    "user: app": openai_user,
    "sub-agents with one brief": one_brief,
    "previous_response_id, equal opening": stored_responses,
}
