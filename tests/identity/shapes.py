"""
Conversations as real clients send them when they keep less than the whole history: windows, openings that change every
turn, and compaction, each with the words of the client it is taken from. Nothing names the conversation.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/gemini-sim:generateContent"
WORDS = (
    "brick lamp river tower garden model parser window queue signal harbour copper meadow ledger engine orchard pillar "
    "canvas thread valley bridge cipher walnut beacon magnet saddle timber quartz anchor basket"
).split()
SHORT = ("Done.", "Yes.", "OK, noted.", "No.", "Sure!", "Right.", "Not yet.")

Message = tuple[str, str]


@dataclass
class Asked:
    """One request: where it goes, its JSON, and what the model says to it."""

    path: str
    body: dict[str, Any]
    answer: str
    is_turn: bool = True  # False: a call beside the conversation


@dataclass
class Speaker:
    """What one conversation is about: every sentence is its own, as people's and models' are."""

    random: Random
    asides: float = 0.05  # share of questions that any conversation may hold
    history: list[Message] = field(default_factory=list)

    def words(self, count: int) -> str:
        return " ".join(self.random.choice(WORDS) for _ in range(count))

    def question(self) -> str:
        if self.history and self.random.random() < self.asides:
            return self.random.choice(("and then?", "go on", "why is that?", "are you sure?"))
        return f"What about the {self.words(4)}?"

    def short(self) -> str:
        return self.random.choice(SHORT) if self.random.random() < 0.25 else f"The {self.words(2)}."

    def long(self) -> str:
        return " ".join(f"The {self.words(9)}." for _ in range(6))

    def summary(self) -> str:
        lines = [f"{place}. The user asked for the {self.words(14)}. Files: {self.words(6)}." for place in range(1, 7)]
        return "\n".join(lines)

    def exchange(self, answer: str) -> str:
        """Add a question and its *answer* to the history; return the question."""
        question = self.question()
        self.history += [("user", question), ("assistant", answer)]
        return question


def body(path: str, messages: list[Message], system: str = "") -> dict[str, Any]:
    """Write *messages* and the instructions *system* down as the dialect of *path* has them."""
    if path == GEMINI:
        names = {"user": "user", "assistant": "model"}
        contents = [{"role": names[role], "parts": [{"text": text}]} for role, text in messages]
        return {"contents": contents} | ({"systemInstruction": {"parts": [{"text": system}]}} if system else {})
    plain = [{"role": role, "content": text} for role, text in messages]
    if path == RESPONSES:
        return {"model": "m", "store": False, "input": plain} | ({"instructions": system} if system else {})
    if path == MESSAGES:
        return {"model": "m", "max_tokens": 900, "messages": plain} | ({"system": system} if system else {})
    return {"model": "m", "messages": [*([{"role": "system", "content": system}] if system else []), *plain]}


# -- windows -------------------------------------------------------------------------------------------------------


def window(kept: int, path: str = CHAT) -> Callable[[Speaker, int], Iterator[Asked]]:
    """Return a talk of which the client keeps so many exchanges, and short answers (n8n, LangChain)."""

    def talk(speaker: Speaker, turns: int) -> Iterator[Asked]:
        speaker.asides *= kept > 1  # one exchange without a word of its own names nobody
        for turn in range(turns):
            answer, before = speaker.short(), speaker.history[-2 * kept :]
            question = speaker.exchange(answer)
            yield Asked(path, body(path, [*before, ("user", question)], f"You help. It is {_time(turn)}."), answer)

    return talk


def dated_opening(speaker: Speaker, turns: int) -> Iterator[Asked]:
    """Hold a talk whose first message says what time it is now."""
    for turn in range(turns):
        answer = speaker.short()
        question = speaker.exchange(answer)
        talk = [*speaker.history[:-2], ("user", question)]
        talk[0] = ("user", f"Current time: {_time(turn)}, request {turn * 37 + 5}\n\n{talk[0][1]}")
        yield Asked(MESSAGES, body(MESSAGES, talk), answer)


def looked_up(speaker: Speaker, turns: int) -> Iterator[Asked]:
    """Hold a talk before which stands what was looked up for the newest question, another text each time."""
    for _ in range(turns):
        answer, found = speaker.short(), f"Use these documents:\n{speaker.long()}"
        question = speaker.exchange(answer)
        yield Asked(CHAT, body(CHAT, [("user", found), *speaker.history[:-2], ("user", question)]), answer)


def looked_up_beside_the_question(speaker: Speaker, turns: int) -> Iterator[Asked]:
    """Hold a talk whose newest question carries what was looked up for it; the history keeps the bare question."""
    for _ in range(turns):
        answer, found = speaker.short(), speaker.long()
        question = speaker.exchange(answer)
        asked = f"<context>\n{found}\n</context>\n\nQuestion: {question}"
        yield Asked(CHAT, body(CHAT, [*speaker.history[-6:-2], ("user", asked)]), answer)


def _time(turn: int) -> str:
    return f"2026-11-{turn % 28 + 1:02}T{turn % 24:02}:{turn * 7 % 60:02}:00Z"


# -- compaction ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compaction:
    """How a client compacts: what it asks for, how the model answers, and what stands in the new history."""

    path: str
    system: str
    request: str
    answer: Callable[[str], str]
    begin: Callable[[list[Message], str], list[Message]]
    its_system: str = ""  # instructions of the call that compacts, where they are others
    in_one_message: bool = False  # the history is written into one message

    def talk(self, speaker: Speaker, turns: int) -> Iterator[Asked]:
        """Hold a talk that is compacted every five turns."""
        talk: list[Message] = []
        for turn in range(turns):
            if turn and turn % 5 == 0:
                told = self.answer(speaker.summary())
                yield Asked(self.path, self._asking(talk), told, is_turn=self.in_one_message is False)
                talk = self.begin(talk, told)
            answer = speaker.long() if turn % 2 else speaker.short()
            talk = [*talk, ("user", speaker.exchange(answer))]
            yield Asked(self.path, body(self.path, talk, self.system), answer)
            talk = [*talk, ("assistant", answer)]

    def _asking(self, talk: list[Message]) -> dict[str, Any]:
        system = self.its_system or self.system
        if not self.in_one_message:
            return body(self.path, [*talk, ("user", self.request)], system)
        written = "\n".join(f"# {role.upper()}\n{text}" for role, text in talk)
        return body(self.path, [("user", f"{self.request}\n\n{written}")], system)


def _claude(talk: list[Message], answer: str) -> list[Message]:
    summary = answer.partition("<summary>")[2].partition("</summary>")[0].strip()
    told = (
        "This session is being continued from a previous conversation that ran out of context. The summary below "
        f"covers the earlier portion of the conversation.\n\nSummary:\n{textwrap.indent(summary, '   ')}\n\nPlease "
        "continue the conversation from where we left it off without asking the user any further questions."
    )
    return [("user", told)]


def _codex(talk: list[Message], answer: str) -> list[Message]:
    told = (
        "Another language model started to solve this problem and produced a summary of its thinking process. Use this "
        f"to build on the work that has already been done. Here is the summary:\n{answer}"
    )
    return [*[message for message in talk if message[0] == "user"][-3:], ("user", told)]


def _quoted(talk: list[Message], answer: str) -> list[Message]:
    wrapped = textwrap.fill(" ".join(answer.split()), 60)
    return [("user", "## Conversation Summary\n" + textwrap.indent(wrapped, "> "))]


COMPACTIONS = {
    "gemini": Compaction(
        GEMINI, "You are an agent.",
        "First, reason in your scratchpad. Then, generate the <state_snapshot>.",
        lambda summary: f"<state_snapshot>\n{summary}\n</state_snapshot>",
        lambda talk, answer: [("user", answer), ("assistant", "Got it. Thanks for the additional context!")],
        "You are the component that summarizes internal chat history into a given structure.",
    ),
    "qwen": Compaction(
        CHAT, "You are Qwen Code.",
        "First, reason in your scratchpad. Then, generate the <state_snapshot>.",
        lambda summary: f"<scratchpad>Let me think.</scratchpad>\n<state_snapshot>\n{summary}\n</state_snapshot>",
        lambda talk, answer: [("user", answer), ("assistant", "Got it. Thanks for the additional context!")],
    ),
    "claude": Compaction(
        MESSAGES, "You are Claude Code.",
        "Your task is to create a detailed summary of the conversation so far, paying close attention to requests.",
        lambda summary: f"<analysis>\nLet me look at it.\n</analysis>\n\n<summary>\n{summary}\n</summary>",
        _claude,
    ),
    "codex": Compaction(
        RESPONSES, "You are Codex.",
        "You are performing a CONTEXT CHECKPOINT COMPACTION. Create a handoff summary for another LLM.",
        lambda summary: summary,
        _codex,
    ),
    "roo": Compaction(
        MESSAGES, "You are Roo.", "Summarize the conversation so far, as described in the prompt instructions.",
        lambda summary: summary, _quoted,
        "You are a helpful AI assistant tasked with summarizing conversations.",
    ),
    "opencode": Compaction(
        CHAT, "You are opencode.", "Provide a detailed prompt for continuing our conversation above.",
        lambda summary: summary,
        lambda talk, answer: [("user", "What did we do so far?"), ("assistant", answer)],
    ),
    "aider": Compaction(
        CHAT, "Act as an expert developer.", "*Briefly* summarize this partial conversation about programming.",
        lambda summary: summary,
        lambda talk, answer: [
            ("user", f"I spoke to you previously about a number of things.\n{answer}"), ("assistant", "Ok.")
        ],
        in_one_message=True,
    ),
    "unknown words": Compaction(
        CHAT, "", "Schreib alles auf, was man wissen muss.",
        lambda summary: summary,
        lambda talk, answer: [("user", f"Was bisher geschah.\n{answer}\nWeiter damit.")],
    ),
    "bare": Compaction(
        CHAT, "", "Write down all that the next one has to know.",
        lambda summary: summary,
        lambda talk, answer: [("user", answer), ("assistant", "Understood.")],
    ),
}  # fmt: skip

WINDOWS = {
    "window of one": window(1),
    "window of two": window(2),
    "window of five": window(5),
    "window of two, responses": window(2, RESPONSES),
    "window of two, gemini": window(2, GEMINI),
    "dated opening": dated_opening,
    "looked up": looked_up,
    "looked up beside the question": looked_up_beside_the_question,
}

SHAPES: dict[str, Callable[[Speaker, int], Iterator[Asked]]] = WINDOWS | {
    f"compaction of {name}": compaction.talk for name, compaction in COMPACTIONS.items()
}
