"""What holds for every conversation, not only for those somebody thought of."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from hypothesis import given, settings, strategies as st

from patchbay.identity.signals import usable

from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES, Teller, chat

words = st.text(min_size=1, max_size=30).filter(lambda text: text.strip() and not text.lstrip().startswith("<"))
talks = st.lists(words, min_size=1, max_size=7).map(lambda texts: texts if len(texts) % 2 else texts[:-1])
quick = settings(max_examples=60, deadline=None)


def anthropic(texts: list[str], draw: Any) -> bytes:
    """Write a talk down with whatever noise a client may add: blocks, cache markers, thinking, key order, blanks."""
    messages = []
    for place, text in enumerate(texts):
        role, content = ("user", "assistant")[place % 2], text
        if draw(st.booleans()):
            block = {"type": "text", "text": text}
            if draw(st.booleans()):
                block["cache_control"] = {"type": "ephemeral"}
            content = [dict(reversed(block.items())) if draw(st.booleans()) else block]
            if role == "assistant" and draw(st.booleans()):
                content.insert(0, {"type": "thinking", "thinking": "…", "signature": "EpQB"})
        pairs = [("role", role), ("content", content)]
        messages.append(dict(pairs[:: draw(st.sampled_from([1, -1]))]))
    body = {"model": draw(st.sampled_from(["a", "b"])), "messages": messages, "max_tokens": draw(st.integers(2, 9))}
    return json.dumps(body, indent=draw(st.sampled_from([None, 2])), ensure_ascii=draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )


@quick
@given(talks, st.data())
def test_a_conversation_that_grows_keeps_its_affinity_under_noise(texts, data):
    teller = Teller()
    seen = {teller.serve(MESSAGES, anthropic(texts[: end + 1], data.draw)).affinity for end in range(0, len(texts), 2)}

    assert len(seen) == 1
    assert seen != {""}


@quick
@given(talks, st.data())
def test_without_memory_too(texts, data):
    seen = {Teller().ask(MESSAGES, anthropic(texts[: end + 1], data.draw)).affinity for end in range(0, len(texts), 2)}

    assert len(seen) == 1


@quick
@given(talks.filter(lambda texts: len(texts) > 2), st.data())
def test_the_thread_is_final_from_the_second_turn(texts, data):
    teller = Teller()
    ends = range(2, len(texts), 2)

    assert len({teller.serve(MESSAGES, anthropic(texts[: end + 1], data.draw)).thread for end in ends}) == 1


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
