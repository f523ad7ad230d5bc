"""What holds for every conversation, not only for those somebody thought of."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from hypothesis import given, settings, strategies as st

from patchbay.identity.signals import usable

from ..each_row import each_row
from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES, Teller, chat

words = st.text(min_size=1, max_size=30).filter(lambda text: text.strip() and not text.lstrip().startswith("<"))
talks = st.lists(words, min_size=1, max_size=7).map(lambda texts: texts if len(texts) % 2 else texts[:-1])
quick = settings(max_examples=60, deadline=None)


PATHS = {"chat": CHAT, "responses": RESPONSES, "anthropic": MESSAGES, "gemini": GEMINI}
dialects = st.sampled_from(sorted(PATHS))


class Client:
    """Writes a talk down in one dialect, each time with whatever noise a client may add."""

    def __init__(self, dialect: str, draw: Any) -> None:
        self.dialect = dialect
        self.path = PATHS[dialect]
        self._draw = draw

    def _maybe(self) -> bool:
        return bool(self._draw(st.booleans()))

    def body(self, texts: list[str]) -> bytes:
        """Return the body of the request that *texts* end in: a user's, an assistant's, a user's, …"""
        messages = [message for place, text in enumerate(texts) for message in self._turn(place, text)]
        body = getattr(self, f"_{self.dialect}")(messages)
        members = self._draw(st.permutations(list(body.items())))
        written = json.dumps(
            dict(members), indent=self._draw(st.sampled_from([None, 2])), ensure_ascii=self._maybe(),
            separators=self._draw(st.sampled_from([None, (",", ":"), (" , ", " : ")])),
        )  # fmt: skip
        return (" " * self._draw(st.integers(0, 2)) + written).encode("utf-8", "surrogatepass")

    def _turn(self, place: int, text: str) -> list[dict[str, Any]]:
        role = ("user", "assistant")[place % 2]
        if self.dialect == "gemini":
            part = {"text": text} | ({"thoughtSignature": "Cg8B"} if role == "assistant" and self._maybe() else {})
            thought = [{"text": "…", "thought": True}] if role == "assistant" and self._maybe() else []
            return [self._shuffled({"role": {"assistant": "model"}.get(role, role), "parts": [*thought, part]})]
        turn = [self._shuffled({"role": role, "content": self._content(role, text)})]
        if self.dialect == "responses" and role == "assistant" and self._maybe():
            turn.insert(0, {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "…"}]})
        if self.dialect in ("chat", "responses") and place and self._maybe():  # comes and goes inside a conversation
            later = {"role": self._draw(st.sampled_from(["system", "developer"])), "content": "Be brief"}
            turn.append(later)
        return turn

    def _content(self, role: str, text: str) -> Any:
        if self._maybe():
            return text
        kind = {"user": "input_text", "assistant": "output_text"}[role] if self.dialect == "responses" else "text"
        block: dict[str, Any] = {"type": kind, "text": text}
        if self.dialect == "anthropic" and self._maybe():
            block["cache_control"] = {"type": "ephemeral"}
        content = [self._shuffled(block)]
        if self.dialect == "anthropic" and role == "assistant" and self._maybe():
            content.insert(0, {"type": "thinking", "thinking": "…", "signature": "EpQB"})
        return content

    def _shuffled(self, value: dict[str, Any]) -> dict[str, Any]:
        return dict(self._draw(st.permutations(list(value.items()))))

    def _sampling(self) -> dict[str, Any]:
        draw = self._draw
        body: dict[str, Any] = {
            "model": draw(st.sampled_from(["a", "b"])),
            "temperature": draw(st.sampled_from([0, 1])),
        }
        if self._maybe():
            body["stream"] = self._maybe()
        if self._maybe():
            tool = {"name": draw(st.sampled_from(["read", "write"])), "description": "x"}
            body["tools"] = [tool if self.dialect != "chat" else {"type": "function", "function": tool}]
        return body

    def _chat(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._sampling(), "messages": messages, "max_tokens": self._draw(st.integers(2, 9))}

    def _responses(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        store = {"store": False} if self._maybe() else {}
        return {**self._sampling(), "input": messages, **store}

    def _anthropic(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        system = [{"type": "text", "text": f"x-anthropic-billing-header: cch={self._draw(st.integers(0, 99))};"}]
        more = {"system": [*system, {"type": "text", "text": "Help."}]}
        return {**self._sampling(), "messages": messages, "max_tokens": 5, **more}

    def _gemini(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        body = self._sampling()
        body.pop("stream", None)
        settings = {"temperature": body.pop("temperature")}
        name = self._draw(st.sampled_from(["generationConfig", "generation_config"]))
        return {**body, "contents": messages, name: settings}


@quick
@given(talks, dialects, st.data())
def test_a_conversation_that_grows_keeps_its_affinity_under_noise(texts, dialect, data):
    teller, client = Teller(), Client(dialect, data.draw)
    seen = {teller.serve(client.path, client.body(texts[: end + 1])).affinity for end in range(0, len(texts), 2)}

    assert len(seen) == 1
    assert seen != {""}


@quick
@given(talks, dialects, st.data())
def test_without_memory_too(texts, dialect, data):
    client = Client(dialect, data.draw)
    seen = {Teller().ask(client.path, client.body(texts[: end + 1])).affinity for end in range(0, len(texts), 2)}

    assert len(seen) == 1


@quick
@given(talks.filter(lambda texts: len(texts) > 2), dialects, st.data())
def test_the_thread_is_final_from_the_second_turn(texts, dialect, data):
    teller, client = Teller(), Client(dialect, data.draw)
    ends = range(2, len(texts), 2)

    assert len({teller.serve(client.path, client.body(texts[: end + 1])).thread for end in ends}) == 1


@quick
@given(talks, words, dialects, st.data())
def test_another_first_question_is_another_conversation_in_every_dialect(texts, other, dialect, data):
    client = Client(dialect, data.draw)
    one, two = (Teller().ask(client.path, client.body(talk)) for talk in (texts, [other, *texts[1:]]))

    assert (one.affinity == two.affinity) == (_normal(texts[0]) == _normal(other))
    assert (one.thread == two.thread) == (_normal(texts[0]) == _normal(other))


@quick
@given(talks, words)
def test_another_first_question_is_another_conversation(texts, other):
    one, two = (Teller().ask(CHAT, chat(*opening)) for opening in (texts, [other, *texts[1:]]))

    assert (one.affinity == two.affinity) == (_normal(texts[0]) == _normal(other))


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


ids = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12).filter(usable)


@quick
@given(ids, ids)
def test_explicit_ids_meet_only_when_they_are_equal(one, other):
    teller = Teller()
    first, second = (teller.ask(CHAT, chat("a"), {"X-Session-ID": each}) for each in (one, other))

    assert (first.affinity == second.affinity) == (one == other)


@quick
@given(words)
def test_what_is_said_never_meets_an_id_of_the_same_letters(text):
    named = Teller().ask(CHAT, chat("a", session_id=text))
    said = Teller().ask(CHAT, chat(text))

    assert said.affinity != named.affinity


@quick
@given(st.lists(words, min_size=2, max_size=3))
def test_part_boundaries_cannot_be_forged(texts):
    parts = [{"type": "text", "text": text} for text in texts]
    joined = [{"type": "text", "text": "".join(texts)}]
    one, other = (Teller().ask(CHAT, {"messages": [{"role": "user", "content": each}]}) for each in (parts, joined))

    assert one.affinity != other.affinity


names = st.sampled_from(
    [
        "messages", "input", "contents", "parts", "role", "content", "type", "text", "tool_calls", "function", "id",
        "functionCall", "metadata", "user_id", "session_id", "conversation", "prompt_cache_key", "system", "request",
        "previous_response_id", "container", "source", "file", "data", "encrypted_content", "generationConfig",
        "tools", "file_id", "inlineData", "thought", "signature", "client_metadata", "cachedContent", "prompt",
    ]
)  # fmt: skip
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | names, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(names, values, max_size=6), st.sampled_from([CHAT, RESPONSES, MESSAGES, GEMINI]))
def test_no_body_makes_it_raise(body, path):
    teller = Teller()
    teller.serve(path, body)
    teller.serve(path, body, {"session-id": "known"})


@quick
@given(st.binary(max_size=200), st.text(max_size=40))
def test_no_bytes_make_it_raise(body, header):
    Teller().serve(CHAT, body, {"x-codex-turn-metadata": header, "session-id": header})


def _truncated(body: bytes) -> list[bytes]:
    return [body[: len(body) * part // 7] for part in range(7)]


DEEP = b'{"messages":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
NESTED = b'{"messages":[{"role":"user","content":' + b'[{"content":' * 500 + b'"x"' + b"}]" * 500 + b"}]}"
HUGE = json.dumps({"messages": [{"role": "user", "content": "long " * 2_000_000}]}).encode()
STRANGE = [
    b"", b"\xff\xfe", b"null", b"[]", b"0", b"{", b"\xef\xbb\xbf" + b'{"messages":[{"role":"user","content":"hi"}]}',
    b'{"messages":[{"role":"user","content":"\\ud83d"}]}', b'{"messages":[{"role":"user","content":NaN}],"x":Infinity}',
    b'{"messages":1,"messages":[{"role":"user","content":"hi"}],"messages":null}', DEEP, NESTED, HUGE, HUGE[:-3],
    *_truncated(b'{"contents":[{"role":"user","parts":[{"text":"hi"},{"inlineData":{"data":"AAAA"}}]}],"a":1}'),
]  # fmt: skip


@each_row("path", PATHS.values())
@each_row("body", STRANGE)
def test_whatever_a_body_is_it_is_answered(body, path):
    teller = Teller()
    first = teller.serve(path, body)

    assert teller.ask(path, body).affinity == first.affinity
