"""What goes wrong on demand, and that the truth says so."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import anthropic
import httpx
import openai
import pytest

from simulator import Record, Simulator
from simulator.play import Play

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for plain HTTP: to read the roots takes longer than a test
SENT = "X-Request-ID"


def mark() -> str:
    return f"MARK-{secrets.token_hex(16)}"


def together(sim: Simulator, question: Any, streams: Sequence[bool]) -> None:
    """Ask marked questions at once, one for each of *streams*."""

    def one(stream: bool) -> None:
        with httpx.Client(verify=NOBODY, base_url=sim.url, timeout=30) as client:
            question.ask(client, mark(), stream)

    with ThreadPoolExecutor(len(streams)) as pool:
        list(pool.map(one, streams))


def pair(sim: Simulator, question: Any, stream: bool, **more: Any) -> list[tuple[str, str, httpx.Response]]:
    """Ask two marked questions at once; return mark, request id and answer of each."""

    def one(name: str) -> tuple[str, str, httpx.Response]:
        mine = mark()
        with httpx.Client(verify=NOBODY, base_url=sim.url, timeout=30) as client:
            return mine, name, question.ask(client, mine, stream, headers={SENT: name}, **more)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, ("rid-1", "rid-2")))


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        ("rate", (429, 429, 429)),
        ("quota", (429, 402, 402)),
        ("overload", (503, 529, 503)),
        ("auth", (401, 401, 400)),
        ("permission", (403, 403, 403)),
        ("model", (404, 404, 404)),
        ("request", (400, 400, 400)),
        ("server", (500, 500, 500)),
    ],
)
def test_each_kind_of_error_is_said_in_the_dialects_words(sim, client, question, kind, statuses):
    sim.fault("status", {"kind": kind, "message": "so it is"})
    answer = question.ask(client, "hello")
    expected = {"anthropic": statuses[1], "gemini": statuses[2]}.get(question.dialect, statuses[0])
    assert (answer.status_code, answer.json()["error"]["message"]) == (expected, "so it is")
    assert sim.truth.last().status == expected


def test_a_rate_limit_may_say_when_to_come_back(sim, client, chat):
    sim.fault("status", {"status": 429, "retry_after": 7, "headers": {"x-ratelimit-reset-requests": "7s"}}, times=1)
    answer = chat.ask(client, "hello")
    assert (answer.headers["retry-after"], answer.headers["x-ratelimit-reset-requests"]) == ("7", "7s")
    assert chat.ask(client, "hello").status_code == 200


def test_an_error_leaves_the_cache_untouched(sim, client, chat):
    sim.fault("status", {"status": 503}, nth=1)
    chat.ask(client, "hello")
    chat.ask(client, "hello")
    assert sim.truth.last().cached_tokens == 0


def test_the_credential_is_quoted_in_body_and_header(sim, client, question):
    sim.fault("quote_credential", {"status": 403})
    answer = question.ask(client, "hello", key="sk-b")
    assert answer.headers["x-debug-key"] == "sk-b"
    assert "sk-b" in answer.json()["error"]["message"]


def test_an_error_at_the_start_of_a_stream_comes_under_a_200(sim, client, question):
    sim.fault("stream_error", {"message": "too much"})
    answer = question.ask(client, "hello", stream=True)
    data = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert (answer.status_code, len(data)) == (200, 1)
    assert "too much" in answer.text


def test_an_error_in_mid_stream_reaches_the_sdks(sim):
    sim.fault("stream_error", {"after": 3})
    claude = anthropic.Anthropic(api_key="sk-a", base_url=sim.url, max_retries=0)
    hello: list[Any] = [{"role": "user", "content": "hi"}]
    asked = claude.messages.stream(model="m", max_tokens=9, messages=hello)
    with claude, asked as stream, pytest.raises(anthropic.APIStatusError):
        list(stream)
    with openai.OpenAI(api_key="sk-a", base_url=f"{sim.url}/v1", max_retries=0) as gpt:
        with pytest.raises(openai.APIError):
            list(gpt.chat.completions.create(model="m", messages=hello, stream=True))
        events = list(gpt.responses.create(model="m", input="hi", stream=True))
    assert (events[-1].type, events[-1].response.error.code) == ("response.failed", "server_is_overloaded")


# --- somebody else's answer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_swap_gives_each_the_others_answer_with_its_ids(sim, question, stream):
    sim.fault("swap")
    (mark1, name1, answer1), (mark2, name2, answer2) = pair(sim, question, stream)
    assert mark2 in answer1.text and mark1 not in answer1.text
    assert mark1 in answer2.text and mark2 not in answer2.text
    assert (answer1.headers[SENT], answer2.headers[SENT]) == (name2, name1)
    assert name2 in answer1.text and name1 not in answer1.text


@pytest.mark.parametrize(
    ("part", "header", "body", "words"),
    [("head", 1, 0, 0), ("body", 0, 1, 1), ("text", 0, 0, 1), ("reply", 0, 0, 1)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_swap_may_be_of_one_part_only(sim, question, stream, part, header, body, words):
    sim.fault("swap", {"part": part})
    answers = pair(sim, question, stream)
    for at, (_, _, answer) in enumerate(answers):
        names = [name for _, name, _ in answers]
        marks = [own for own, _, _ in answers]
        assert answer.headers[SENT] == names[at ^ header]
        assert names[at ^ body] in answer.text and names[at ^ body ^ 1] not in answer.text
        assert marks[at ^ words] in answer.text and marks[at ^ words ^ 1] not in answer.text
    for record in sim.truth:
        other = next(each.seq for each in sim.truth if each is not record)
        given = (record.head_of == other, record.body_of == other, record.text_of == other)
        assert given == (bool(header), bool(body), bool(words))
        assert record.is_victim


def test_with_the_reply_come_the_settings_that_it_repeats(sim):
    sim.fault("swap", {"part": "reply"})

    def ask(turn: str) -> Any:
        asked = {"model": "sim", "input": "hello", "metadata": {"turn": turn}}
        with httpx.Client(verify=NOBODY, base_url=sim.url, timeout=30) as client:
            return client.post("/v1/responses", json=asked, headers={"api-key": "sk-a", SENT: turn}).json()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, ("one", "two"))

    assert (first["metadata"], first["request_id"]) == ({"turn": "two"}, "one")
    assert (second["metadata"], second["request_id"]) == ({"turn": "one"}, "two")


def test_who_finds_nobody_to_swap_with_gets_its_own_answer(sim, client, chat):
    sim.fault("swap", {"timeout": 0.05})
    own = mark()
    assert own in chat.ask(client, own).text
    assert sim.truth.victims() == []
    assert "swap: nobody came" in sim.truth.last().faults


def test_who_goes_away_while_waiting_is_not_met(sim, chat):
    sim.fault("swap", {"timeout": 30})
    with httpx.Client(verify=NOBODY, base_url=sim.url, timeout=30) as client, pytest.raises(httpx.ReadTimeout):
        client.post(chat.path(), json=chat.body(mark()), headers={"api-key": "sk-a"}, timeout=0.1)
    wait_until(lambda: len(sim.truth) > 0 and sim.truth.last().ended == "cancelled")
    (mark1, _, answer1), (mark2, _, answer2) = pair(sim, chat, stream=False)
    assert mark2 in answer1.text and mark1 in answer2.text


def test_three_may_pass_their_answers_round(sim, chat):
    sim.fault("swap", {"size": 3})
    together(sim, chat, [False, False, False])
    taken = {record.seq: record.body_of for record in sim.truth}
    assert sorted(taken) == sorted(taken.values())
    assert all(mine != theirs for mine, theirs in taken.items())


def test_only_like_answers_are_swapped_unless_told_otherwise(sim, chat):
    rule = sim.fault("swap", {"timeout": 0.1})
    together(sim, chat, [True, False])
    assert sim.truth.victims() == []
    sim.provider.rules.remove(rule)
    sim.fault("swap", {"alike": False})
    together(sim, chat, [True, False])
    assert len(sim.truth.victims()) == 2


def test_a_stale_answer_is_the_one_before(sim, client, question):
    sim.fault("stale")
    marks = [mark() for _ in range(3)]
    texts = [question.ask(client, each).text for each in marks]
    assert marks[0] in texts[0] and marks[0] in texts[1] and marks[1] in texts[2]
    assert [record.body_of - record.seq for record in sim.truth] == [0, -1, -1]


@pytest.mark.parametrize("new_id", [False, True])
def test_a_repeated_answer_comes_under_the_same_id_or_a_new_one(sim, client, chat, new_id):
    sim.fault("repeat", {"new_id": new_id})
    answers = [chat.ask(client, mark()).json() for _ in range(3)]
    assert len({answer["choices"][0]["message"]["content"] for answer in answers}) == 1
    assert len({answer["id"] for answer in answers}) == (3 if new_id else 1)
    assert [record.body_of for record in sim.truth] == [sim.truth.requests[0].seq] * 3


@pytest.mark.parametrize("interleave", [False, True])
def test_a_spliced_stream_carries_both_answers_ids(sim, question, interleave):
    sim.fault("splice", {"after": 3, "interleave": interleave})
    (_, _, answer), _ = pair(sim, question, stream=True)
    assert "rid-1" in answer.text and "rid-2" in answer.text


# --- what the answer says of itself ----------------------------------------------------------------------------------


def test_the_model_the_ids_and_the_echo_can_be_wrong(sim, client, chat):
    sim.fault("wrong_model", {"model": "cheaper"}, nth=1)
    sim.fault("strip_id", nth=2)
    sim.fault("foreign_id", {"value": "not-yours"}, nth=3)
    sim.fault("mangle_id", {"how": "case", "part": "head"}, nth=4)
    sim.fault("answer_id", {"value": "chatcmpl-7"}, nth=5)
    sim.fault("fields", {"headers": {"x-cache": "HIT"}}, nth=6)
    answers = [chat.ask(client, "hello", headers={SENT: "rid-1"}) for _ in range(6)]
    assert answers[0].json()["model"] == "cheaper"
    assert "id" not in answers[1].json()
    assert answers[2].headers[SENT] == answers[2].json()["request_id"] == "not-yours"
    assert (answers[3].headers[SENT], answers[3].json()["request_id"]) == ("RID-1", "rid-1")
    assert answers[4].json()["id"] == "chatcmpl-7"
    assert answers[5].headers["x-cache"] == "HIT"


# --- the wire --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["reset_head", "close_head"])
@pytest.mark.parametrize("http2", [False, True])
def test_a_connection_may_break_before_the_head(sim, chat, fault, http2):
    sim.fault(fault)
    with (
        httpx.Client(verify=NOBODY, base_url=sim.url, http1=not http2, http2=http2, timeout=30) as client,
        pytest.raises(httpx.TransportError),
    ):
        chat.ask(client, "hello")
    assert sim.truth.last().status is None
    assert sim.truth.last().ended == ("reset" if fault == "reset_head" else "closed")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("http2", [False, True])
def test_a_connection_may_break_in_mid_body(sim, question, stream, http2):
    sim.fault("reset_body")
    with httpx.Client(verify=NOBODY, base_url=sim.url, http1=not http2, http2=http2, timeout=30) as client:
        body, headers = question.body("hello", stream), {"api-key": "sk-a"}
        with client.stream("POST", question.path(stream), json=body, headers=headers) as answer:
            assert answer.status_code == 200
            got = []
            with pytest.raises(httpx.TransportError):
                got.extend(answer.iter_bytes())
    assert sim.truth.last().ended == "reset"


def test_a_reset_is_a_reset_and_not_an_end(sim):
    sim.fault("reset_head")
    with socket.create_connection(("127.0.0.1", sim.port), 30) as link:
        link.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\napi-key: sk-a\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            link.recv(1)


def test_an_answer_may_be_empty_cut_or_ended_twice(sim, client, chat):
    sim.fault("empty", nth=1)
    sim.fault("cut", nth=2)
    sim.fault("twice", nth=3)
    texts = [chat.ask(client, "hello", stream=True).text for _ in range(3)]
    assert texts[0] == ""
    assert texts[1] and "[DONE]" not in texts[1]
    assert texts[2].count("[DONE]") == 2


def test_delays_come_where_they_are_asked_for(sim, client, chat):
    sim.fault("delay_head", {"seconds": 0.1}, nth=1)
    sim.fault("delay_events", {"seconds": 0.02}, nth=2)
    for _ in range(2):
        began = time.monotonic()
        chat.ask(client, "hello", stream=True)
        assert time.monotonic() - began > 0.1


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("http2", [False, True])
def test_a_stream_may_be_cut_at_every_byte(sim, question, http2):
    with httpx.Client(verify=NOBODY, base_url=sim.url, http1=not http2, http2=http2, timeout=30) as client:
        whole = question.ask(client, "hello", stream=True).text
        sim.fault("split", {"at": 1})
        again = question.ask(client, "hello", stream=True).text
    assert len(again) >= len(whole) - 40  # ids, times and cached tokens differ


def test_pieces_go_out_one_by_one(sim):
    sim.fault("split", {"at": 5})
    with socket.create_connection(("127.0.0.1", sim.port), 30) as link:
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\napi-key: sk-a\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        link.sendall(head + body)
        data = b""
        while b"0\r\n\r\n" not in data:
            data += link.recv(65536)
    assert data.count(b"\r\n5\r\n") > 50


def test_an_answer_nobody_asked_for_comes_on_the_idle_connection(sim):
    sim.fault("unsolicited", {"seconds": 0.01})
    with socket.create_connection(("127.0.0.1", sim.port), 30) as link:
        link.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\napi-key: sk-a\r\n\r\n")
        data = b""
        while b"stray" not in data:
            data += link.recv(65536)
    assert data.count(b"HTTP/1.1 200") == 2


def test_a_stray_head_stands_in_the_body_and_compression_is_undone_by_the_client(sim, client, chat):
    sim.fault("head_in_body", nth=1)
    sim.fault("compress", nth=2)
    assert "\nHTTP/1.1 200 OK\r\n" in chat.ask(client, "hello", stream=True).text
    packed = chat.ask(client, "hello", stream=True)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text.endswith("data: [DONE]\n\n")


# --- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "hit"),
    [
        ({"account": "b"}, [False, True, False, True]),
        ({"credential": "sk-a"}, [True, False, True, False]),
        ({"path": "*/chat/*"}, [True] * 4),
        ({"path": "*/messages"}, [False] * 4),
        ({"streaming": True}, [False, False, True, True]),
        ({"nth": [2, 3]}, [False, True, True, False]),
        ({"every": 2}, [False, True, False, True]),
        ({"times": 1}, [True, False, False, False]),
        ({"when": lambda record: record.seq == 3}, [False, False, True, False]),
        ({"account": "b", "nth": 2}, [False, False, False, True]),
    ],
)
def test_a_rule_hits_what_it_names(sim, client, chat, where, hit):
    sim.fault("status", {"status": 500}, **where)
    asked = [("sk-a", False), ("sk-b", False), ("sk-a", True), ("sk-b", True)]
    assert [chat.ask(client, "hi", stream, key=key).status_code == 500 for key, stream in asked] == hit


def test_the_same_seed_chooses_the_same_victims():
    def victims(seed: int) -> list[bool]:
        rule = Simulator(seed=seed).fault("status", probability=0.3)
        return [rule.strikes(record()) for _ in range(200)]

    assert victims(1) == victims(1) != victims(2)
    assert 30 < sum(victims(1)) < 90


def test_a_new_fault_is_one_function(sim, client, chat):
    async def shout(play: Play, louder: str = "") -> None:
        assert play.reply
        play.reply = replace(play.reply, text=play.reply.text.upper() + louder)

    sim.fault(shout, {"louder": "!"})
    said = chat.ask(client, "hello").json()["choices"][0]["message"]["content"]
    assert said.isupper() or said.startswith("ANSWER-")
    assert said.endswith("!")
    assert sim.truth.last().faults == ["shout"]


def test_several_faults_may_hit_one_request(sim, client, chat):
    sim.fault("wrong_model")
    sim.fault("split", {"at": 3})
    sim.fault("echo", {"mode": "header"})
    answer = chat.ask(client, "hello", headers={SENT: "rid-1"}).json()
    assert (answer["model"], "request_id" in answer) == ("another-model", False)
    assert sim.truth.last().faults == ["echo", "wrong_model", "split"]


def test_an_unknown_fault_is_a_mistake(sim):
    with pytest.raises(ValueError, match="'swop' is none of"):
        sim.fault("swop")


def test_mended_is_mended(sim, client, chat):
    sim.fault("status")
    sim.mend()
    assert chat.ask(client, "hello").status_code == 200


def record() -> Record:
    return Record(1, "GET", "/", "", (), b"", "1.1", 1, 0, 0.0)


def wait_until(true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert true()
