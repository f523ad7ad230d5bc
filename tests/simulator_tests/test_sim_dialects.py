"""What is asked and answered in each dialect, with the official SDKs as judges."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors, types

from simulator import Simulator, simulator_thread

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for plain HTTP: to read the roots takes longer than a test
MARK = "MARK-" + "ab" * 16
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"subject": {"type": "string"}}}


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with simulator_thread({"sk-a": "a", "sk-b": "b"}, echo="body+own") as simulator:
        yield simulator


def gpt_of(sim: Simulator, key: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{sim.url}/v1", max_retries=0)


def gemini_of(sim: Simulator, key: str) -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=sim.url))


@pytest.fixture(scope="module")
def gpt(shared: Simulator) -> Iterator[openai.OpenAI]:
    with gpt_of(shared, "sk-a") as client:
        yield client


@pytest.fixture(scope="module")
def claude(shared: Simulator) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk-a", base_url=shared.url, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def gemini(shared: Simulator) -> Iterator[genai.Client]:
    with gemini_of(shared, "sk-a") as client:
        yield client


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_chat_whole(gpt):
    answer = gpt.chat.completions.create(model="m", messages=said(f"hi {MARK}"))
    assert MARK in answer.choices[0].message.content
    assert answer.id.startswith("chatcmpl-")
    assert answer._request_id.startswith("req_")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_streamed(gpt):
    stream = gpt.chat.completions.create(
        model="m", messages=said(f"hi {MARK}"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    assert MARK in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens > 0


def test_chat_calls_a_tool_once(gpt):
    tools: list[Any] = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]
    history = said(f"USE_TOOL {MARK}")
    with gpt.chat.completions.stream(model="m", messages=history, tools=tools) as stream:
        message = stream.get_final_completion().choices[0].message
    call = message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"subject": MARK})
    history += [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "seen"}]
    after = gpt.chat.completions.create(model="m", messages=history, tools=tools)
    assert after.choices[0].message.tool_calls is None
    assert MARK in after.choices[0].message.content


def test_responses_whole_and_continued(gpt, shared):
    first = gpt.responses.create(model="m", input=f"hi {MARK}", metadata={"k": "v"}, instructions="be brief")
    assert MARK in first.output_text
    assert first.metadata == {"k": "v"}
    second = gpt.responses.create(model="m", input="and now", previous_response_id=first.id)
    assert second.usage.input_tokens > first.usage.input_tokens
    assert second.usage.input_tokens_details.cached_tokens > 0
    assert gpt.responses.retrieve(first.id).output_text == first.output_text
    assert gpt.responses.cancel(first.id).status == "cancelled"
    gpt.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(first.id)


def test_a_stored_response_belongs_to_its_account(gpt, shared):
    mine = gpt.responses.create(model="m", input="mine")
    with gpt_of(shared, "sk-b") as other:
        with pytest.raises(openai.NotFoundError):
            other.responses.retrieve(mine.id)
        with pytest.raises(openai.BadRequestError) as refused:
            other.responses.create(model="m", input="mine?", previous_response_id=mine.id)
    assert refused.value.code == "previous_response_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_encrypted_reasoning_is_good_only_under_its_own_account(gpt, shared, stream):
    hello: list[Any] = [{"role": "user", "content": "hi"}]
    more: dict[str, Any] = {"model": "m", "store": False, "include": ["reasoning.encrypted_content"]}
    if stream:
        with gpt.responses.stream(input=hello, **more) as events:
            output = events.until_done().get_final_response().output
    else:
        output = gpt.responses.create(input=hello, **more).output
    assert [item.type for item in output] == ["reasoning", "message"]
    history = [*hello, *(item.model_dump(exclude_none=True) for item in output), {"role": "user", "content": "go on"}]
    assert gpt.responses.create(input=history, **more).output_text
    with gpt_of(shared, "sk-b") as other, pytest.raises(openai.BadRequestError) as refused:
        other.responses.create(input=history, **more)
    assert refused.value.code == "invalid_encrypted_content"


def test_what_is_not_stored_is_not_found(gpt):
    answer = gpt.responses.create(model="m", input="x", store=False)
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(answer.id)


def test_responses_streamed(gpt):
    with gpt.responses.stream(model="m", input=f"hi {MARK}") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [events[0].type, events[1].type, events[-1].type] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert MARK in final.output_text


def test_responses_calls_a_tool(gpt):
    tools: list[Any] = [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}]
    with gpt.responses.stream(model="m", input=f"USE_TOOL {MARK}", tools=tools) as stream:
        call = stream.get_final_response().output[0]
    assert (call.name, json.loads(call.arguments)) == ("look", {"subject": MARK})
    items: list[Any] = [
        {"role": "user", "content": f"USE_TOOL {MARK}"},
        {"type": "function_call", "call_id": call.call_id, "name": "look", "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "seen"},
    ]
    assert gpt.responses.create(model="m", input=items, tools=tools).output[0].type == "message"


def test_messages_whole(claude):
    answer = claude.messages.create(model="m", max_tokens=100, messages=said(f"hi {MARK}"))
    assert MARK in answer.content[0].text
    assert answer._request_id.startswith("req_")
    assert answer.stop_reason == "end_turn"


def test_messages_streamed_and_cut_at_the_limit(claude):
    with claude.messages.stream(model="m", max_tokens=3, messages=said(f"hi {MARK}")) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text.startswith(MARK)
    assert (len(text.split()), final.stop_reason) == (3, "max_tokens")


def test_messages_stream_has_every_event_in_place(shared):
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": said("hi")}
    text = httpx.post(
        verify=NOBODY, url=f"{shared.url}/v1/messages", json=body, headers={"x-api-key": "sk-a"}, timeout=30
    ).text
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event:")]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_messages_call_a_tool_once(claude):
    tools: list[Any] = [{"name": "look", "input_schema": SCHEMA}]
    history = said(f"USE_TOOL {MARK}")
    with claude.messages.stream(model="m", max_tokens=100, messages=history, tools=tools) as stream:
        call = stream.get_final_message().content[0]
    assert (call.name, call.input) == ("look", {"subject": MARK})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "seen"}
    history += [{"role": "assistant", "content": [call.model_dump()]}, {"role": "user", "content": [result]}]
    after = claude.messages.create(model="m", max_tokens=100, messages=history, tools=tools)
    assert MARK in after.content[0].text


def test_messages_counted_and_models_listed(claude):
    assert claude.messages.count_tokens(model="m", messages=said("hi")).input_tokens > 0
    assert [model.id for model in claude.models.list()] == ["sim-large", "sim-small"]


def test_gemini_whole_and_streamed(gemini):
    answer = gemini.models.generate_content(model="g", contents=f"hi {MARK}")
    chunks = list(gemini.models.generate_content_stream(model="g", contents=f"hi {MARK}"))
    assert MARK in answer.text
    assert "".join(chunk.text for chunk in chunks) == answer.text
    assert len({chunk.response_id for chunk in chunks}) == 1
    assert chunks[-1].usage_metadata.cached_content_token_count == answer.usage_metadata.prompt_token_count


def test_gemini_calls_a_tool_counts_lists_and_embeds(gemini):
    look = types.Tool(function_declarations=[types.FunctionDeclaration(name="look")])
    config = types.GenerateContentConfig(tools=[look])
    answer = gemini.models.generate_content(model="g", contents=f"USE_TOOL {MARK}", config=config)
    assert (answer.function_calls[0].name, answer.function_calls[0].args) == ("look", {"subject": MARK})
    assert gemini.models.count_tokens(model="g", contents="hi").total_tokens > 0
    assert [model.name for model in gemini.models.list()] == ["models/sim-large", "models/sim-small"]
    assert gemini.models.embed_content(model="e", contents="hi").embeddings[0].values


def test_gemini_streams_an_array_without_alt_sse(shared):
    body = {"contents": [{"parts": [{"text": f"hi {MARK}"}]}]}
    answer = httpx.post(
        verify=NOBODY, url=f"{shared.url}/v1beta/models/g:streamGenerateContent?key=sk-a", json=body, timeout=30
    )
    parts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in answer.json()]
    assert MARK in parts
    assert answer.json()[-1]["candidates"][0]["finishReason"] == "STOP"


def test_models_and_embeddings_of_openai(gpt):
    assert [model.id for model in gpt.models.list()] == ["sim-large", "sim-small"]
    vectors = gpt.embeddings.create(model="e", input=["one", "two"]).data
    assert [len(vector.embedding) for vector in vectors] == [8, 8]


def test_an_unknown_key_is_refused_in_each_dialects_words(shared):
    with gpt_of(shared, "no") as gpt, pytest.raises(openai.AuthenticationError):
        gpt.models.list()
    stranger = anthropic.Anthropic(api_key="no", base_url=shared.url, max_retries=0)
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model="m", max_tokens=1, messages=said("hi"))
    with gemini_of(shared, "no") as gemini, pytest.raises(genai_errors.ClientError) as refused:
        gemini.models.generate_content(model="g", contents="hi")
    assert refused.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


@pytest.mark.parametrize(
    "how",
    [
        {"headers": {"authorization": "Bearer sk-a"}},
        {"headers": {"x-api-key": "sk-a"}},
        {"headers": {"x-goog-api-key": "sk-a"}},
        {"headers": {"api-key": "sk-a"}},
        {"params": {"key": "sk-a"}},
    ],
)
def test_a_key_is_found_wherever_it_usually_stands(sim, client, how):
    assert client.get("/v1/models", **how).status_code == 200
    assert (sim.truth.last().account, sim.truth.last().credential) == ("a", "sk-a")


def test_a_body_that_cannot_be_read_is_the_clients_mistake(client, question):
    headers = {"authorization": "Bearer sk-a"}
    assert client.post(question.path(), content=b"{no", headers=headers).status_code == 400
    assert client.post(question.path(), json={"model": "m"}, headers=headers).status_code == 400


def test_another_path_says_which_it_was(client):
    answer = client.post("/v1/uploads?x=1")
    assert answer.json() == {"ok": True, "path": "/v1/uploads", "method": "POST"}


def test_a_strict_provider_rejects_members_and_models(chat):
    setup: dict[str, Any] = {"rejects": ["request_id"], "serves": {"a": {"sim"}, "b": {"other"}}}
    with (
        simulator_thread({"sk-a": "a", "sk-b": "b"}, **setup) as sim,
        httpx.Client(verify=NOBODY, base_url=sim.url, timeout=30) as client,
    ):
        assert chat.ask(client, "hi").status_code == 200
        assert chat.ask(client, "hi", request_id="r").status_code == 400
        assert chat.ask(client, "hi", key="sk-b").json()["error"]["code"] == "model_not_found"


def test_the_same_conversation_gets_the_same_words(client, question):
    answers = [question.ask(client, "tell me", stream=True).text for _ in range(2)]
    other = question.ask(client, "tell me more", stream=True).text
    words = [
        {word for word in answer.replace('"', " ").split() if word.startswith("Answer-")}
        for answer in [*answers, other]
    ]
    assert words[0] == words[1] != words[2]


def test_every_word_carries_the_marker_when_that_is_asked_for(client, question):
    text = question.ask(client, f"SIGN_WORDS WORDS-4 {MARK}").text

    assert f"{MARK} {MARK}.1 {MARK}.2 {MARK}.3" in text
