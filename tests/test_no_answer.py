"""What comes under a good status and is no answer is a fault: asked elsewhere while unseen, an error in any case."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from patchbay import dialects
from patchbay.answer.reader import AnswerReader as Reader
from patchbay.body import Body
from patchbay.replacement import replacement
from patchbay.values.answer import Chunk, End, Fact, Failure, Head, Overdue
from patchbay.values.decision import Refusal
from patchbay.values.http import Endpoint, Headers

from .each_row import each_row
from .test_router import JSON, SSE, answer, opened, request, routed, router

PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/g:generateContent",
}
HTML = Headers([("content-type", "text/html; charset=utf-8")])
PAGE = b"<!doctype html><html><title>Just a moment...</title></html>"
DELTA = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
FINISH = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
PART = {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "index": 0}]}
LAST = {"candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP", "index": 0}]}


def lacking(path: str, *pieces: bytes, kind: str = "application/json", stream: bool = False) -> str:
    endpoint = dialects.endpoint("POST", path)
    reader = Reader(endpoint.dialect, asked_stream=stream)
    reader.head(Head(200, Headers([("content-type", kind)] if kind else [])))
    for piece in pieces:
        reader.feed(piece)
    reader.end()
    return reader.lacks(endpoint)


WHOLE: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {  # dialect: (no answers, answers)
    "/v1/chat/completions": (
        [{}, {"choices": []}, {"choices": None}, {"id": "c", "object": "chat.completion"}, {"choices": [{}]},
         {"choices": [None]}, {"choices": {}}, {"choices": "hi"}, {"choices": [{"message": None}]},
         {"choices": [{"message": {"content": ""}, "finish_reason": None}]}],
        [{"choices": [{"message": {"content": "hi"}}]},
         {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]},
         {"choices": [{"message": {"tool_calls": [{"id": "t"}]}}]},
         {"choices": [{"finish_reason": "content_filter"}]},
         {"choices": [{"message": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}}]},
         {"choices": [{"message": {"content": "", "images": [{"image_url": {"url": "data:"}}]}}]},
         {"choices": [{"message": {"refusal": "no"}}]}],
    ),
    "/v1/completions": ([{"choices": []}, {"choices": [{"text": ""}]}], [{"choices": [{"text": "hi"}]}]),
    "/v1/responses": (
        [{}, {"id": "r", "object": "response", "status": "completed"}, {"output": None, "status": "completed"},
         {"object": "response", "output": []}],
        [{"output": [{"type": "message", "content": []}], "status": "completed"},
         {"object": "response", "status": "queued", "output": []}, {"status": "in_progress"},
         {"object": "response", "status": "incomplete", "output": []},
         {"object": "response", "status": "completed", "output": []},
         {"object": "chat.completion", "choices": [{"message": {"content": "hi"}}]}],  # a server that answers so
    ),
    "/v1/messages": (
        [{}, {"type": "message", "content": None, "stop_reason": "end_turn"}, {"type": "message"},
         {"type": "message", "content": [], "stop_reason": None},
         {"type": "message", "content": [], "stop_reason": "tool_use"}],
        [{"type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"},
         {"type": "message", "content": [], "stop_reason": "end_turn"},
         {"type": "message", "content": [], "stop_reason": "max_tokens"},
         {"type": "message", "content": [], "stop_reason": "refusal"}],
    ),
    "/v1beta/models/g:generateContent": (
        [{}, {"candidates": []}, {"candidates": None}, {"candidates": [{}]}, {"usageMetadata": {"totalTokenCount": 1}},
         {"candidates": [], "promptFeedback": {}}, {"promptFeedback": {"blockReason": None}},
         {"candidates": [{"finishReason": "FINISH_REASON_UNSPECIFIED"}]}],
        [PART, LAST, {"candidates": [{"finishReason": "SAFETY"}]}, {"promptFeedback": {"blockReason": "SAFETY"}},
         {"candidates": [], "promptFeedback": {"blockReason": "OTHER"}}],
    ),
    "/v1internal:generateContent": ([{"response": {"candidates": []}}, {"response": None}], [{"response": PART}]),
    "/v1/embeddings": ([{}, {"data": []}, {"data": None}], [{"data": [{"embedding": [1]}]}, {"embedding": [1]}]),
    "/v1/rerank": ([{"results": []}], [{"results": [{"index": 0}]}]),
    "/v1/images/generations": ([{"data": []}], [{"data": [{"url": "u"}]}, {"task_id": "t"}]),
    "/v1/audio/transcriptions": ([{}], [{"text": ""}, {"text": "hi"}]),
    "/v1beta/models/g:embedContent": ([{"embedding": {}}], [{"embedding": {"values": [1]}}]),
    "/v1beta/models/imagen:predict": ([{"predictions": None}], [{"predictions": [{}]}]),
    "/v1beta/models/g:predictLongRunning": ([{}], [{"name": "operations/o"}]),
}  # fmt: skip


@pytest.mark.parametrize("path", WHOLE)
def test_a_body_without_an_answer_in_it_is_none_wherever_it_is_cut(path: str) -> None:
    """A10: `choices: []`, `null`, missing members: no answer; a blocked prompt, a finished turn without words: one."""
    nones, answers = WHOLE[path]
    for document in nones:
        body = json.dumps(document).encode()
        assert all(lacking(path, body[:at], body[at:]) for at in range(len(body))), document
    for document in answers:
        body = json.dumps(document).encode()
        assert not any(lacking(path, body[:at], body[at:]) for at in range(len(body))), document
        assert all(lacking(path, body[:at]) for at in range(len(body))), "cut short it is none"


STREAMS: dict[str, tuple[list[dict[str, Any] | str], str]] = {  # dialect: what a whole stream holds, and its last event
    "/v1/chat/completions": ([DELTA, FINISH], ""),
    "/v1/responses": (
        [{"type": "response.created", "response": {"id": "r"}}, {"type": "response.output_text.delta", "delta": "hi"}],
        json.dumps({"type": "response.completed", "response": {"id": "r", "status": "completed"}}),
    ),
    "/v1/messages": (
        [{"type": "message_start", "message": {"id": "m"}},
         {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
         {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
         {"type": "content_block_stop", "index": 0}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}],
        json.dumps({"type": "message_stop"}),
    ),
    "/v1beta/models/g:streamGenerateContent": ([PART], json.dumps(LAST)),
}  # fmt: skip


def _events(*events: dict[str, Any] | str) -> list[bytes]:
    texts = (each if isinstance(each, str) else json.dumps(each) for each in events)
    return [f"data: {text}\n\n".encode() for text in texts]


@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_lacks_its_end_until_its_last_event(path: str) -> None:
    """R11, R9: `message_stop`, `response.completed`, a finish reason: without it a stream is cut, however it ended."""
    events, last = STREAMS[path]
    whole = _events(*events, *([last] if last else []))
    if path == "/v1/chat/completions":
        assert not lacking(path, *_events(DELTA, "[DONE]"), kind="text/event-stream", stream=True)
    assert not lacking(path, *whole, kind="text/event-stream", stream=True)
    together = b"".join(whole)
    for at in range(len(together) - len(whole[-1])):
        assert lacking(path, together[:at], kind="text/event-stream", stream=True)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_done_alone_ends_no_stream_that_has_an_end_of_its_own(path: str) -> None:
    """R11: tools wait for `response.completed`, and `[DONE]` is nothing to them."""
    events, _ = STREAMS[path]
    assert lacking(path, *_events(*events, "[DONE]"), kind="text/event-stream", stream=True)


def test_a_stream_of_another_dialect_ends_as_that_one_does() -> None:
    """R11: a server that answers every endpoint in chat's form is no fault of the way."""
    for path in ("/v1/responses", "/v1/messages"):
        assert not lacking(path, *_events(DELTA, FINISH, "[DONE]"), kind="text/event-stream", stream=True)


@each_row("path", PATHS.values())
@each_row(
    ("kind", "body"),
    [("text/html", PAGE), ("application/json", PAGE), ("text/event-stream", b""), ("text/event-stream", b": ping\n\n"),
     ("application/json", b""), ("application/json", b" \n \n"), ("", b""), ("application/octet-stream", b"\x00\x01"),
     ("application/json", b"null"), ("application/json", b"[]"), ("application/json", b'"hi"' [:3]),
     ("text/plain", b"ok"), ("text/event-stream", b"data: [DONE]\n\n")],
)  # fmt: skip
def test_pages_blanks_and_noise_are_none(path: str, kind: str, body: bytes) -> None:
    """R9: a page, nothing, a stream without an event."""
    assert lacking(path, body, kind=kind)


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [("/v1/audio/speech", "audio/mpeg", b"\xff\xf3\x00"), ("/v1/audio/transcriptions", "text/plain", b"hello"),
     ("/v1/audio/transcriptions", "text/plain", b"\n"), ("/v1/audio/transcriptions", "text/plain", b""),
     ("/v1/audio/transcriptions", "application/x-subrip", b"1\n00:00 --> 00:01\nhi\n"),
     ("/v1/rerank", "application/json", b'[{"index": 0, "score": 1}]'),
     ("/v1/audio/speech", "text/event-stream", b'data: {"type": "speech.audio.delta", "audio": "AA=="}\n\n')],
)  # fmt: skip
def test_what_is_no_text_of_a_dialect_passes(path: str, kind: str, body: bytes) -> None:
    """R9: sounds, subtitles and lists of scores answer too."""
    assert not lacking(path, body, kind=kind)


@pytest.mark.parametrize("kind", ["application/json", "", "text/plain", "application/x-ndjson", "application/jsonl"])
def test_objects_in_a_row_are_a_stream(kind: str) -> None:
    """P2: what streams is told by the request: lines of JSON under whatever type are read, and end as a stream does."""
    path = "/v1/chat/completions"
    lines = [json.dumps(each).encode() + b"\n" for each in (DELTA, DELTA, FINISH)]
    together = b"".join(lines)
    for at in range(len(together)):
        assert not lacking(path, together[:at], together[at:], kind=kind, stream=True)
    assert lacking(path, b"".join(lines[:-1]), kind=kind, stream=True) == "it ends without its end"
    assert lacking(path, together[:-20], kind=kind, stream=True)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_growing_array_is_read_as_it_grows_and_cut_short_it_is_none(cut: int) -> None:
    """P2: Gemini's stream without `alt=sse`: text, usage and the end, at every cut; without its bracket it is cut."""
    path = "/v1beta/models/g:streamGenerateContent"
    usage = {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5}}
    body = b"[" + b"\n,\r\n".join(json.dumps(each).encode() for each in (PART, {**LAST, **usage})) + b"\n]\n"
    reader = Reader("gemini", asked_stream=True)
    facts = reader.head(Head(200, JSON))
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    early: list[Fact] = []
    for number, piece in enumerate(pieces):
        facts += reader.feed(piece)
        if (number + 1) * cut <= body.index(b"\n,"):
            early = list(facts)
    facts += reader.end()

    assert any(fact.kind == "content" for fact in (*early, *facts[: len(early) + 2]))
    assert [fact.value for fact in facts if fact.kind == "text"] == ["hi!"]
    assert reader.streamed and not reader.lacks(dialects.endpoint("POST", path))
    for at in range(len(body.rstrip()) - 1):
        assert lacking(path, body[:at], stream=True)
    assert lacking(path, body.rstrip()[:-1], stream=True) == "it ends without its end"


def test_one_object_under_a_request_for_a_stream_is_a_whole_answer() -> None:
    said = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
    assert not lacking("/v1/chat/completions", said, stream=True)


# -- the story -------------------------------------------------------------------------------------------------------


def ask(path: str, **more: Any) -> Any:
    return request({"model": "m", "messages": [{"role": "user", "content": "hello"}], **more}, path)


@each_row("path", PATHS.values())
@each_row("status", [204, 205, 300, 301, 302, 303, 304, 307, 308, 600, 999, 101, 0, 99])
def test_a_status_that_answers_nothing_moves_on_at_its_head(path: str, status: int) -> None:
    """R9: 204, 3xx, 999: asked elsewhere; where nobody else is left the client hears so in its own words."""
    of = router()
    exchange = opened(of, ask(path))
    first = routed(of, exchange)
    assert answer(of, exchange, Head(status, Headers())) == ["next"]
    assert routed(of, exchange).account != first.account
    assert answer(of, exchange, Head(status, Headers())) == ["next"]
    assert isinstance(of.next(exchange, 0.0), Refusal)
    told = replacement(exchange)
    assert told is not None and told.status == 502 and told.code == "upstream_no_answer"
    assert "(account " in told.message
    decision = of.close(exchange, "", 0.0, status=502)
    assert decision.event_type.endswith("_error") and str(status) in decision.error
    assert [tried.outcome for tried in decision.attempts] == ["server", "server"]


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("path", PATHS.values())
def test_a_page_moves_on_while_it_is_held_and_is_an_error_always(path: str, hold: bool) -> None:
    """R9, A10: what the client has seen cannot be taken back, but the journal says what it was."""
    from patchbay.settings.settings import FailoverSettings

    of = router(failover=FailoverSettings(hold_until_content=hold))
    exchange = opened(of, ask(path))
    routed(of, exchange)
    reactions = answer(of, exchange, Head(200, HTML), Chunk(PAGE))
    if hold:
        assert reactions == ["hold", "next"]
    else:
        assert reactions == ["deliver", "deliver"]
        answer(of, exchange, End())
    decision = of.close(exchange, "", 0.0, status=200)
    assert decision.event_type.endswith("_error") and decision.attempts[0].outcome == "server"


def test_an_object_that_answers_nothing_is_delivered_where_nobody_answers_better() -> None:
    """A10: a client of this dialect can read it, and it may be what this upstream always says."""
    of = router()
    exchange = opened(of, ask("/v1/chat/completions"))
    for _ in range(2):
        routed(of, exchange)
        assert answer(of, exchange, Head(200, JSON), Chunk(b'{"choices": []}'), End())[-1] == "next"
    assert isinstance(of.next(exchange, 0.0), Refusal)
    assert replacement(exchange) is None
    decision = of.close(exchange, "", 0.0, status=200)
    assert decision.event_type == "chat_completion_error" and decision.error == "it holds no answer"


def test_a_whole_answer_is_held_to_its_end_however_large_or_slow() -> None:
    """R39: the client gets it in one piece anyway, so a break in it costs nobody anything."""
    of = router()
    exchange = opened(of, ask("/v1/chat/completions"))
    routed(of, exchange)
    large = b'{"choices": [{"message": {"content": "' + b"x" * 600_000
    assert answer(of, exchange, Head(200, JSON), Chunk(large), Overdue()) == ["hold", "hold", "hold"]
    assert answer(of, exchange, Failure("timeout", "the answer took too long")) == ["next"]
    routed(of, exchange)
    assert answer(of, exchange, Head(200, JSON), Chunk(large), Chunk(b'"}}]}'), End())[-1] == "deliver"
    assert of.close(exchange, "", 0.0, status=200).event_type == "chat_completion_success"


def test_a_stream_that_was_seen_and_ends_without_its_end_is_an_error() -> None:
    """R11: what the client sees is what came; the journal says that it was not all."""
    of = router()
    exchange = opened(of, ask("/v1/responses", stream=True))
    routed(of, exchange)
    events, _ = STREAMS["/v1/responses"]
    said = answer(of, exchange, Head(200, SSE), *(Chunk(each) for each in _events(*events)), End())
    assert said[-1] == "deliver"
    decision = of.close(exchange, "", 0.0, status=200)
    assert decision.event_type == "openai_responses_error" and decision.error == "it ends without its end"


@pytest.mark.parametrize(
    ("method", "path", "head", "body"),
    [("DELETE", "/v1/files/file-1", Head(204, Headers()), b""),
     ("GET", "/v1/files/file-1/content", Head(302, Headers([("location", "https://x/")])), b""),
     ("GET", "/v1/files/file-1/content", Head(200, Headers([("content-type", "application/octet-stream")])), b"\0"),
     ("GET", "/v1/models", Head(304, Headers()), b""), ("HEAD", "/v1/models", Head(200, JSON), b""),
     ("POST", "/v1/messages/batches/b/cancel", Head(200, JSON), b'{"id": "b"}'),
     ("POST", "/v1/messages/count_tokens", Head(200, JSON), b'{"input_tokens": 3}'),
     ("DELETE", "/v1/responses/resp_1", Head(200, JSON), b'{"deleted": true}'),
     ("GET", "/v1beta/files/f", Head(200, JSON), b"{}"), ("DELETE", "/v1beta/files/f", Head(200, JSON), b"{}"),
     ("GET", "/health", Head(200, HTML), PAGE), ("POST", "/tokenize", Head(204, Headers()), b""),
     ("GET", "/v1/messages/batches/b/results", Head(200, Headers([("content-type", "application/x-jsonl")])), b"")],
)  # fmt: skip
def test_resources_answer_as_they_like(method: str, path: str, head: Head, body: bytes) -> None:
    """R9: no content, redirects and bytes are answers to what asks no model."""
    of = router()
    asked = replace(ask(path), method=method, path=path, endpoint=dialects.endpoint(method, path))
    exchange = opened(of, asked)
    routed(of, exchange)
    reactions = answer(of, exchange, head, *([Chunk(body)] if body else []), End())
    assert set(reactions) == {"deliver"}
    decision = of.close(exchange, "", 0.0, status=head.status)
    assert decision.event_type.endswith("_success")
    assert [each.outcome for each in decision.attempts] == ["ok"]


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [("/v1/embeddings", "input", "data"), ("/v1/moderations", "input", "results"),
     ("/v1/rerank", "documents", "results"), ("/v1beta/models/g:batchEmbedContents", "requests", "embeddings")],
)  # fmt: skip
def test_who_asks_about_nothing_is_answered_with_nothing(path: str, asked: str, said: str) -> None:
    """A10: an empty list answers an empty list, and nothing else."""
    for question, event, reaction in (([], "success", "deliver"), (["x"], "error", "next")):
        of = router()
        exchange = opened(of, replace(ask(path), body=Body(json.dumps({"model": "m", asked: question}).encode())))
        routed(of, exchange)
        assert answer(of, exchange, Head(200, JSON), Chunk(json.dumps({said: []}).encode()), End())[-1] == reaction
        assert of.close(exchange, "", 0.0, status=200).event_type.endswith(event)


def test_imagen_whose_pictures_are_all_blocked_says_nothing_at_all() -> None:
    """A10: `{}` is the answer then; asked elsewhere it would be paid again."""
    assert not lacking("/v1beta/models/imagen:predict", b"{}")


@pytest.mark.parametrize(
    ("path", "event"),
    [("/v1/audio/transcriptions", {"type": "transcript.text.delta", "delta": "hi"}),
     ("/v1/audio/speech", {"type": "speech.audio.delta", "audio": "AAAA"}),
     ("/v1/images/generations", {"type": "image_generation.partial_image", "b64_json": "AAAA"}),
     ("/v1/chat/completions", {"choices": [{"delta": {}, "finish_reason": "content_filter"}]}),
     ("/v1/responses", {"type": "response.incomplete", "response": {"status": "incomplete", "output": []}}),
     ("/v1beta/models/g:streamGenerateContent", {"promptFeedback": {"blockReason": "SAFETY"}})],
)  # fmt: skip
def test_a_stream_that_cannot_turn_out_to_be_none_is_not_held(path: str, event: dict[str, Any]) -> None:
    """R9, R11: sounds and pictures stream from their first event; a turn without words goes out with its end."""
    of = router()
    exchange = opened(of, ask(path, stream=True))
    routed(of, exchange)
    comment, (first,) = b": ping\n\n", _events(event)
    assert answer(of, exchange, Head(200, SSE), Chunk(comment), Chunk(first)) == ["hold", "hold", "deliver"]


def test_an_error_in_the_first_event_of_a_sound_moves_on() -> None:
    """A10: it is an error, whatever was asked for."""
    of = router()
    exchange = opened(of, ask("/v1/audio/speech", stream=True))
    routed(of, exchange)
    error = _events({"error": {"type": "server_error", "message": "overloaded"}})[0]
    assert answer(of, exchange, Head(200, SSE), Chunk(error)) == ["hold", "next"]


def test_a_websocket_that_was_asked_for_is_answered_by_an_upgrade_or_an_error() -> None:
    """R9: a page in place of a socket moves on."""
    from dataclasses import replace

    of = router()
    asked = replace(request(None, "/v1/responses", upgrade="websocket"), method="GET")
    asked = replace(asked, endpoint=dialects.endpoint("GET", "/v1/responses"))
    for status, wanted in ((200, "next"), (204, "next"), (302, "next"), (101, "deliver")):
        exchange = opened(of, asked)
        routed(of, exchange)
        assert answer(of, exchange, Head(status, HTML)) == [wanted]
        of.close(exchange, "", 0.0)


def test_an_endpoint_that_is_none_knows_no_answer() -> None:
    assert Reader("").lacks(Endpoint()) == "it is empty"


# -- slow answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repeat", "stream", "moves"),
    [("streams", False, False), ("streams", True, True), ("all", False, True), ("none", True, False)],
)
def test_a_request_that_is_merely_slow_runs_on_one_account(repeat: Any, stream: bool, moves: bool) -> None:
    """A4: a POST that was sent whole is not repeated because its answer takes long, unless the settings say so."""
    from patchbay.settings.settings import FailoverSettings

    of = router(failover=FailoverSettings(repeat_slow=repeat))
    exchange = opened(of, ask("/v1/chat/completions", **({"stream": True} if stream else {})))
    first = routed(of, exchange)
    answer(of, exchange, Failure("timeout", "no answer in time"))
    if moves:
        assert routed(of, exchange).account != first.account
        return
    assert isinstance(of.next(exchange, 0.0), Refusal)
    told = replacement(exchange)
    assert told is not None and (told.status, told.code) == (504, "upstream_slow")
    assert f"(account {first.account.id})" in told.message
    assert of.close(exchange, "", 0.0, status=504).event_type == "chat_completion_error"
    again = opened(of, request(None, x_patchbay_account=first.account.id))
    assert routed(of, again).account == first.account  # nothing follows for it
