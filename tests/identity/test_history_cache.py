"""Bodies that begin as one we have read."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from patchbay.body import Body
from patchbay.identity import history_cache
from patchbay.identity.history import conversation_of
from patchbay.identity.history_cache import HistoryCache, KnownPrefixes, SessionHistories
from patchbay.identity.turns import Conversation
from patchbay.values.answer import Fact
from patchbay.values.decision import Identity

from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES, Teller, request

LINE = "as much as one says in a line or so, "


def body(turns: int, *, after: Any = None, **before: Any) -> bytes:
    messages = [{"role": ("user", "assistant")[at % 2], "content": f"{at}: {LINE}" * 40} for at in range(turns)]
    return json.dumps({**before, "messages": messages, **(after or {})}).encode()


def names(short: Body | None) -> tuple[str, ...]:
    assert short is not None
    return short.names()


def known(first: bytes) -> SessionHistories:
    seen = SessionHistories(10)
    assert seen.shortened("s", Body(first)) is None
    return seen


def test_a_history_that_grows_is_read_from_where_it_ended():
    seen = known(body(21, model="m"))
    short = seen.shortened("s", Body(body(23, model="m", after={"session_id": "x"})))

    assert names(short) == ("model", "messages", "session_id")
    assert [message["content"][:3] for message in short.get("messages")] == ["21:", "22:"]
    assert seen.shortened("s", Body(body(25, model="m"))).get("messages")[0]["content"].startswith("23:")


def test_the_same_again_adds_nothing():
    seen = known(body(21))

    assert seen.shortened("s", Body(body(21))).get("messages") == []
    assert seen.shortened("s", Body(body(21))).get("messages") == []


@pytest.mark.parametrize(
    "other",
    [
        body(21, model="other"),
        body(19, model="m"),
        body(21, model="m")[:-1],
        body(21, model="m")[:-2],
        body(21, model="m")[:-2] + b",]}",
        body(21, model="m")[:-2] + b"x]}",
        body(21, model="m").replace(b"20: ", b"20, "),
        b'{"messages":[]}',
        b"",
    ],
)
def test_what_does_not_go_on_is_read_in_whole(other):
    assert known(body(21, model="m")).shortened("s", Body(other)) is None


@pytest.mark.parametrize("odd", [b'{"messages": [], "messages": [{"role": "user"}]}', b'{"messages": "a"}', b"[1]"])
def test_an_odd_body_is_not_remembered(odd):
    seen = known(odd)

    assert seen.shortened("s", Body(odd)) is None
    assert len(seen) == 0


def test_it_is_bounded():
    seen = SessionHistories(2)
    for seed in "abc":
        seen.shortened(seed, Body(body(3)))

    assert len(seen) == 2
    assert seen.shortened("a", Body(body(3))) is None
    assert seen.shortened("c", Body(body(3))) is not None


def asked(teller: Teller, content: bytes, **headers: str) -> Identity:
    return teller.ask(CHAT, content, {name.replace("_", "-"): value for name, value in headers.items()})


def test_an_id_that_appears_beside_a_known_history_is_seen():
    teller = Teller()
    asked(teller, body(21), x_session_id="s")
    assert len(body(21)) > history_cache.LONG
    named = asked(teller, body(23, after={"session_id": "weaker"}), x_session_id="s")
    alone = asked(teller, body(25, after={"session_id": "weaker"}))

    assert alone.affinity == named.affinity


PATHS = {"chat": CHAT, "responses": RESPONSES, "anthropic": MESSAGES, "gemini": GEMINI}
TOKENS = {"chat": "call_", "responses": "fc_", "anthropic": "toolu_", "gemini": "call-"}


def written(dialect: str, talk: list[str], system: str, more: dict[str, Any]) -> bytes:
    roles = ("user", "model" if dialect == "gemini" else "assistant")
    turns = [(roles[at % 2], text) for at, text in enumerate(talk)]
    if dialect == "gemini":
        contents = [{"role": role, "parts": [{"text": text}]} for role, text in turns]
        return json.dumps({"systemInstruction": {"parts": [{"text": system}]}, "contents": contents, **more}).encode()
    messages = [{"role": role, "content": text} for role, text in turns]
    if dialect == "chat":
        return json.dumps({"messages": [{"role": "system", "content": system}, *messages], **more}).encode()
    names = {"responses": ("instructions", "input"), "anthropic": ("system", "messages")}[dialect]
    return json.dumps({names[0]: system, names[1]: messages, **more}).encode()


class Story:
    """Talks of one kind of client, told to an identifier: they grow, branch, are edited, begin alike."""

    def __init__(self, seed: int, dialect: str) -> None:
        self._random = Random(seed)
        self._dialect = dialect
        self._talks: list[list[str]] = []
        self._teller = Teller()

    def tell(self, requests: int) -> list[Identity]:
        return [self._next() for _ in range(requests)]

    def _next(self) -> Identity:
        talk = self._talk()
        talk.append(self._said("question"))
        system = self._random.choice(["Be brief.", "Be kind.", "It is 2026-11-21 10:00, be brief."])
        more = self._random.choice([{}, {}, {"tools": [{"name": "ls"}]}, {"max_tokens": 1}, {"session_id": "s1"}])
        content = written(self._dialect, talk, system, more)
        said = self._said("answer")
        token = Fact("token", f"{TOKENS[self._dialect]}{self._random.getrandbits(64):016x}Zk", "tool")
        facts = [Fact("text", said), *([token] if self._random.random() < 0.3 else [])]
        identity = self._teller.serve(PATHS[self._dialect], content, {}, facts, account=self._random.choice("abc"))
        talk.append(said)
        return identity

    def _talk(self) -> list[str]:
        what = self._random.random()
        if what < 0.2 or not self._talks:
            self._talks.append([])
        elif what < 0.3:
            self._talks.append(list(self._random.choice(self._talks)))  # a branch
        talk = self._random.choice(self._talks)
        if what > 0.9 and len(talk) > 3:
            del talk[-2:]  # said once more
        elif what > 0.85 and talk:
            talk[self._random.randrange(len(talk))] = self._said("edited")
        elif what > 0.8 and len(talk) > 6:
            del talk[:2]  # what is oldest is forgotten
        return talk

    def _said(self, what: str) -> str:
        words = [self._random.choice(["hi", "no", "<think>x</think>", "é", "#1", "T\r\n"]) for _ in range(3)]
        return " ".join((what, *words)) * self._random.choice([1, 30])


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("dialect", sorted(PATHS))
def test_what_is_known_changes_no_identity(dialect, monkeypatch):
    for seed in range(8):
        monkeypatch.setattr(history_cache, "LONG", 256)
        known = Story(seed, dialect).tell(60)
        monkeypatch.setattr(history_cache, "LONG", 10**9)
        whole = Story(seed, dialect).tell(60)

        assert known == whole


def told(content: bytes) -> tuple[Body, Conversation]:
    return Body(content), conversation_of(Body(content))


def test_a_history_is_known_by_all_its_bytes():
    seen = KnownPrefixes(1000, ttl=60)
    seen.note(*told(body(21)), None, 0)
    grown = seen.find(Body(body(23)), 1)

    assert grown is not None
    assert [message["content"][:3] for message in grown.short.get("messages")] == ["21:", "22:"]
    assert seen.find(Body(body(23).replace(b"10: as", b"10: so", 1)), 1) is None
    assert seen.find(Body(body(23, model="m")), 1) is None
    assert seen.find(Body(body(23)), 60) is None


def test_the_longest_known_history_counts():
    seen = KnownPrefixes(1000, ttl=60)
    for turns in (19, 23, 21):
        seen.note(*told(body(turns)), None, 0)

    assert [len(seen.find(Body(body(turns)), 1).short.get("messages")) for turns in (20, 22, 25)] == [1, 1, 2]


@pytest.mark.parametrize(
    "after", [{"contents": []}, {"messages": []}, {"messages": [{"role": "user", "content": "a"}]}]
)
def test_another_history_behind_it_is_not_overlooked(after):
    seen = KnownPrefixes(1000, ttl=60)
    seen.note(*told(body(21)), None, 0)
    content = body(23)[:-1] + b"," + json.dumps(after).encode()[1:]
    found = seen.find(Body(content), 1)

    assert (found is not None) == ("contents" in after)  # messages come before contents, and the last of two counts


def test_histories_are_bounded():
    seen = KnownPrefixes(100, ttl=60)
    for number in range(10):
        seen.note(*told(body(21, model=str(number))), None, 0)

    known = [number for number in range(10) if seen.find(Body(body(21, model=str(number))), 1)]
    assert known == [6, 7, 8, 9]
    assert len(seen) == 4


def test_what_grew_takes_the_place_of_what_it_grew_out_of():
    seen = KnownPrefixes(1000, ttl=60)
    seen.note(*told(body(21)), None, 0)
    seen.note(*told(body(23)), seen.find(Body(body(23)), 1), 1)

    assert len(seen) == 1
    assert seen.find(Body(body(21)), 1) is None


def test_an_answer_that_nobody_saw_is_learned_from_a_known_history():
    teller = Teller()
    talk = json.loads(body(21))["messages"]
    call = {"id": "call_Zk3v9QxWm2TnB7cL", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
    calls = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "a.txt"}]
    first = teller.serve(CHAT, {"messages": talk})
    teller.serve(CHAT, {"messages": [*talk, *calls, *results]})
    shortened = teller.ask(CHAT, {"messages": [{"role": "user", "content": "go on"}, *calls, *results]})

    assert (shortened.tier, shortened.affinity) == ("token", first.affinity)


@pytest.mark.parametrize("headers", [{}, {"session-id": "s"}])
def test_what_only_one_account_can_read_is_seen_wherever_it_stands(headers):
    teller = Teller()
    talk = json.loads(body(21))["messages"]
    secret = {
        "type": "reasoning",
        "id": "rs_1",
        "encrypted_content": "gAAAAABo" + "Zk3v9QxWm2TnB7cL" * 40,
        "summary": [],
    }
    answer = {"id": "resp_1", "object": "response", "output": [secret]}
    more = [{"role": "assistant", "content": "so"}, {"role": "user", "content": "go on"}]
    teller.serve(RESPONSES, {"input": talk}, headers, answer, account="b")

    assert teller.serve(RESPONSES, {"input": [*talk, secret, *more]}, headers, account="b").owner == {"b"}
    assert teller.serve(RESPONSES, {"input": [*talk, secret, *more, *more]}, headers, account="b").owner == {"b"}


@pytest.mark.parametrize(("size", "is_long"), [(16_383, False), (16_384, True)])
def test_so_long_a_body_is_looked_up(size, is_long):
    assert history_cache.is_long(Body(b"x" * size)) == is_long
    assert not history_cache.is_long(Body(None))


def test_a_session_vouches_for_its_history_and_bytes_must_prove_others():
    cache = HistoryCache(100, 60)
    changed = body(23).replace(b"10: as", b"10: so", 1)
    assert cache.shortened(request(CHAT, body(21)), "s", 0) is None
    first = request(CHAT, body(21))
    assert cache.shortened(first, "", 0) is None
    cache.keep(first, 0)

    assert names(cache.shortened(request(CHAT, changed), "s", 1)) == ("messages",)
    assert cache.shortened(request(CHAT, changed), "", 1) is None
    extending = request(CHAT, body(23))
    assert names(cache.shortened(extending, "", 1)) == ("messages",)
    assert cache.known_turns(extending) == 21
    assert (cache.new_messages(extending)[0], len(cache.new_messages(extending)[1])) == (21, 2)
    assert cache.conversation(extending).turns == conversation_of(extending.body).turns


def test_a_session_without_a_history_is_forgotten():
    seen = known(body(21))
    seen.shortened("s", Body(b'{"messages": []}'))

    assert len(seen) == 0


@pytest.mark.parametrize(("limit", "kept"), [(41, 1), (42, 2)])
def test_so_many_turns_are_kept(limit, kept):
    seen = KnownPrefixes(limit, ttl=60)
    for model in "ab":
        seen.note(*told(body(21, model=model)), None, 0)

    assert len(seen) == len(seen._by_head) == kept


def test_a_new_limit_and_a_new_life_hold_from_the_next_request_on():
    seen = KnownPrefixes(1000, ttl=60)
    seen.note(*told(body(21)), None, 0)
    seen.resize(20, 600)
    assert seen.find(Body(body(23)), 599) is not None

    seen.note(*told(body(23)), None, 1)
    assert len(seen) == 1


@pytest.mark.parametrize(("place", "is_known"), [(511, False), (512, True), (-513, True), (-512, False)])
def test_512_bytes_at_either_end_of_a_session_s_history_are_compared(place: int, is_known: bool):
    seen = known(body(21))
    content = bytearray(body(23))
    start, end = content.index(b"[") + 1, len(body(21)) - 2
    content[start + place if place > 0 else end + place] ^= 1

    assert (seen.shortened("s", Body(bytes(content))) is not None) == is_known


@pytest.mark.parametrize(("before", "is_known"), [(65_536, True), (65_537, False)])
def test_so_many_bytes_may_stand_before_a_history(before: int, is_known: bool):
    model = "m" * (before - body(1, model="").index(b"[") - 1)
    seen = known(body(3, model=model))

    assert len(seen) == is_known


def test_so_many_histories_may_begin_with_the_same_bytes():
    seen = KnownPrefixes(10**6, ttl=60)
    common = json.loads(body(10))["messages"]
    contents = [
        json.dumps({"messages": [*common, {"role": "user", "content": str(number)}]}).encode() for number in range(65)
    ]
    for content in contents[:64]:
        seen.note(*told(content), None, 0)
    assert len(seen) == 64

    seen.note(*told(contents[64]), None, 0)
    assert len(seen) == 64
    assert [number for number in range(65) if seen.find(Body(contents[number]), 1) is None] == [0]


@pytest.mark.parametrize(("turns", "is_known"), [(5, True), (6, False)])
def test_five_turns_are_kept_for_each_session_of_the_limit(turns: int, is_known: bool):
    cache = HistoryCache(1, 60)
    content = body(turns, model="m" * history_cache.LONG)
    kept = request(CHAT, content)
    cache.keep(kept, 0)

    assert (cache.shortened(request(CHAT, content), "", 1) is not None) == is_known


def test_the_history_that_was_found_last_leaves_last():
    seen = KnownPrefixes(42, ttl=60)
    for model in "ab":
        seen.note(*told(body(21, model=model)), None, 0)
    seen.find(Body(body(21, model="a")), 1)
    seen.note(*told(body(21, model="c")), None, 1)

    assert [model for model in "abc" if seen.find(Body(body(21, model=model)), 1)] == ["a", "c"]


def test_a_history_that_grows_is_read_in_whole_as_soon_as_one_that_does_not():
    seen = KnownPrefixes(1000, ttl=60)
    seen.note(*told(body(21)), None, 0)
    seen.note(*told(body(23)), seen.find(Body(body(23)), 59), 59)

    assert seen.find(Body(body(25)), 59) is not None
    assert seen.find(Body(body(25)), 60) is None


def test_a_history_without_an_answer_is_not_kept():
    seen = KnownPrefixes(1000, ttl=60)
    seen.note(*told(body(1, model="m" * history_cache.LONG)), None, 0)

    assert len(seen) == 0


def test_blanks_at_the_end_of_a_history_are_no_part_of_it():
    content = body(21)[:-2]
    for blanks in (b" \r\n\t", b""):
        seen = known(content + blanks + b"]}")
        grown = content + b',{"role":"user","content":"go on"}]}'
        assert [message["content"] for message in seen.shortened("s", Body(grown)).get("messages")] == ["go on"]


def test_a_history_in_another_member_is_known_too():
    seen = KnownPrefixes(1000, ttl=60)
    first, again = (body(turns).replace(b'"messages"', b'"input"', 1) for turns in (21, 23))
    seen.note(*told(first), None, 0)

    found = seen.find(Body(again), 1)
    assert found is not None
    assert [message["content"][:3] for message in found.short.get("input")] == ["21:", "22:"]


def test_heads_of_histories_that_left_are_forgotten():
    seen = KnownPrefixes(1000, ttl=60)
    common = json.loads(body(10))["messages"]
    for texts in (["a"], ["b"]):
        seen.note(*told(json.dumps({"messages": [*common, *chat_of(texts)]}).encode()), None, 0)
    grown = json.dumps({"messages": [*common, *chat_of(["a", "x", "y"])]}).encode()
    seen.note(*told(grown), seen.find(Body(grown), 1), 1)

    assert (len(seen), len(seen._by_head)) == (2, 1)


def chat_of(texts: list[str]) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
