"""
Habits of hosts: what real servers, gateways and frameworks do to answers that are right. One function each.

A function gets a right answer on its way out and returns it as its host sends it. None of the answers belongs to
another request; whatever is said against one is a false accusation. `HABITS` is the table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from typing import Any

from ..simulator import render
from ..simulator.reply import Echoed, Tool, mint
from ..simulator.steps import Data, data_of, head_of
from . import honest_talks
from .honest_habit import (
    ANTHROPIC,
    CHAT,
    RESPONSES,
    Document,
    Habit,
    Right,
    event,
    headed,
    headless,
    json_of,
    kind,
    members,
    text_of,
    told,
    without,
)  # fmt: skip
from .world import NAMES, PREFIXES, Wire

ID = "8f3a1c9b7d2e4f60a1b2c3d4"  # what an id looks like that somebody wrote into a source file
TENANT = "tenant-7f3a1c"  # what a gateway calls its customer; one client uses the name itself
DAY = 86_400.0
CANNED = (
    "I am sorry, but I am unable to help with this request because it may conflict with the usage policy of this"
    " service. Please rephrase your question, leave out any sensitive details, and try once more; if you believe that"
    " this message was shown by mistake, contact the support team of your organisation and mention code {code}."
)


# -- ids of answers ----------------------------------------------------------------------------------------------------


def as_it_should_be(of: Right) -> Wire:
    """No habit at all."""
    return of.own


def constant_id(of: Right) -> Wire:
    """One id for all answers: a template that somebody wrote by hand."""
    return of.named(ID)


def id_per_worker(of: Right) -> Wire:
    """An id that each worker draws once, when it starts."""
    return of.named(f"{ID}worker{of.worker}")


def id_per_day(of: Right) -> Wire:
    """An id that names the day's run of a batch; here days of twenty answers."""
    return of.named(f"run-2026-11-{1 + of.n // 20:02}-{ID[:8]}")


def id_of_the_second(of: Right) -> Wire:
    """`chatcmpl-20261126123456`: the time, to the second, in which several may begin."""
    return of.named(f"{20_261_126_000_000 + int(of.line.sent) % 1_000_000}")


def ids_after_a_restart(of: Right) -> Wire:
    """A seeded generator of random ids, which begins anew with every restart; here after sixteen answers."""
    return of.named(mint("", f"seed 0 {of.n % 16}", 29))


def counter_with_a_name(of: Right) -> Wire:
    """A counter behind the node's name, which begins anew with every restart."""
    return of.named(f"node7a-0000000{of.n % 24:04}")


def id_of_the_model(of: Right) -> Wire:
    """A digest of what the server thinks is the request: the model and the settings."""
    return of.named(hashlib.sha256(of.line.model.encode()).hexdigest()[:24])


def id_of_the_text(of: Right) -> Wire:
    """A digest of the answer's text; the same refusal has the same id."""
    text = CANNED.format(code="E17") if of.n % 3 else of.line.reply.text
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return of.but(answer_id=PREFIXES[of.dialect] + digest, text=text, tool=None)


def id_of_the_session(of: Right) -> Wire:
    """The client's session, under which a conversation has many answers."""
    return of.named(f"session-4e1b7d-{of.n % 4}")


def id_of_the_user(of: Right) -> Wire:
    """The customer's name with a prefix."""
    return of.named(f"{TENANT}-service-account")


def id_of_the_connection(of: Right) -> Wire:
    """One id for as long as a connection is kept: eight answers."""
    return of.named(f"{ID[:12]}-conn-{of.n // 8}")


def ids_out_of_a_thousand(of: Right) -> Wire:
    """Ollama: `chatcmpl-` and a number below 1 000."""
    return of.named(f"{of.world.random.randrange(1000)}")


def id_empty(of: Right) -> Wire:
    """TGI: an empty id on every chunk."""
    return members(of.own, **{_id_name(of): ""})


def id_null(of: Right) -> Wire:
    """`"id": null`."""
    return members(of.own, **{_id_name(of): None})


def id_is_a_number(of: Right) -> Wire:
    """An id that is a number, the same for all."""
    return members(of.own, **{_id_name(of): 4711471147114711})


def no_id(of: Right) -> Wire:
    """Gemini's OpenAI endpoint for a year: no id at all."""
    return of.but(answer_id="")


def id_is_the_model(of: Right) -> Wire:
    """The model's name where the id belongs."""
    return of.named(f"{of.line.model}-q4-k-m-instruct-v2")


def id_per_chunk(of: Right) -> Wire:
    """Old llama.cpp, ms-swift, LiteLLM: a new id in every chunk."""

    def change(document: Document, at: int) -> Document:
        if _id_name(of) in document:
            document[_id_name(of)] = mint(PREFIXES[of.dialect], f"{of.line.number} chunk {at}")
        return document

    return told(of.own, change)


def counter_per_chunk(of: Right) -> Wire:
    """Foundry Local: a counter of the whole process, one further with every chunk of any stream."""

    def change(document: Document, at: int) -> Document:
        if _id_name(of) in document:
            document[_id_name(of)] = f"chat.id.{of.n * 40 + at}"
        return document

    return told(of.own, change)


def ids_at_both_ends(of: Right) -> Wire:
    """A gateway that puts an id of its own on the first and the last event, and leaves the engine's on the others."""
    last = len(of.own.pieces) - 1
    gateway = mint("gen-", f"{of.line.number} gateway")

    def change(document: Document, at: int) -> Document:
        if at in (0, last, last - 1) and _id_name(of) in document:
            document[_id_name(of)] = gateway
        return document

    return told(of.own, change)


def two_ids_in_turn(of: Right) -> Wire:
    """A proxy with two layers, each of which writes its id on what it formats: deltas one, keep-alives the other."""

    def change(document: Document, at: int) -> Document:
        if at % 2 and _id_name(of) in document:
            document[_id_name(of)] = mint(PREFIXES[of.dialect], f"{of.line.number} other layer")
        return document

    return told(of.own, change)


def another_id_for_the_answer(of: Right) -> Wire:
    """A reasoning server: one id for what it thinks, and one for what it says."""
    half = len(of.own.pieces) // 2

    def change(document: Document, at: int) -> Document:
        if at < half and _id_name(of) in document:
            document[_id_name(of)] = mint("rsn-", f"{of.line.number} thinking")
        return document

    return told(of.own, change)


def another_id_at_the_end(of: Right) -> Wire:
    """LiteLLM's bridge: `response.created` under the gateway's id, `response.completed` under the provider's."""

    def change(document: Document, at: int) -> Document:
        if isinstance(document.get("response"), dict) and at < 2:
            document["response"]["id"] = mint("resp_", f"{of.line.number} bridge", 40)
        return document

    return told(of.own, change)


def an_id_per_choice(of: Right) -> Wire:
    """H3: `n=2`, and each choice is a stream with an id of its own."""
    return told_twice(of, lambda index: mint(PREFIXES[of.dialect], f"{of.line.number} choice {index}", 29))


def two_choices(of: Right) -> Wire:
    """`n=2` under one id."""
    return told_twice(of, lambda index: of.line.reply.answer_id)


def told_twice(of: Right, name: Callable[[int], str]) -> Wire:
    """Return the answer as two choices that come in turn, each under the id that *name* gives it."""
    member = "candidates" if of.dialect == "gemini" else "choices"
    pieces: list[bytes] = []
    for piece in of.own.pieces:
        start, end = piece.find(b"{"), piece.rfind(b"}") + 1
        document = json.loads(piece[start:end]) if start >= 0 else {}
        if not document.get(member):
            pieces.append(piece)
            continue
        if not of.line.stream:
            document[member] = [{**document[member][0], "index": index} for index in (0, 1)]
            pieces.append(json_of(document))
            continue
        for index in (0, 1):
            one = {**document, member: [{**document[member][0], "index": index}], _id_name(of): name(index)}
            pieces.append(piece[:start] + json_of(one) + piece[end:])
    return replace(of.own, pieces=tuple(pieces))


def _id_name(of: Right) -> str:
    return "responseId" if of.dialect == "gemini" else "id"


# -- ids inside answers ------------------------------------------------------------------------------------------------


def constant_items(of: Right) -> Wire:
    """One id for the item of every answer."""
    return of.but(item_id="msg_" + ID)


def constant_calls(of: Right) -> Wire:
    """One id for every call of a tool: a parser that has it written in."""
    return _calls(of, "call_" + ID)


def calls_of_the_arguments(of: Right) -> Wire:
    """The id of a call is a digest of its name and arguments: equal calls have equal ids."""
    tool = of.line.reply.tool
    return _calls(of, _call_of(tool.name)) if tool else of.own


def calls_per_worker(of: Right) -> Wire:
    """A generator of ids that every worker seeds alike."""
    return _calls(of, mint("call_", f"seed {of.n // 8}"))


def counted_calls(of: Right) -> Wire:
    """`call_000000000007b`: a counter that begins anew with every restart."""
    return _calls(of, f"call_0000000{of.n % 12:04}b")


def kimi_calls(of: Right) -> Wire:
    """Kimi: `functions.name:0`."""
    tool = of.line.reply.tool
    return _calls(of, f"functions.{tool.name}:0") if tool else of.own


def calls_of_the_account(of: Right) -> Wire:
    """A parser that names its calls after the account and the model."""
    return _calls(of, f"call_f0de99f4-6fe1-4235-b4d9-{of.line.model}")


def call_is_the_answer(of: Right) -> Wire:
    """The id of the answer is the id of its call too, and both are one for all."""
    wire = _calls(of, "chatcmpl-tool-" + ID)
    return members(wire, **{_id_name(of): "chatcmpl-tool-" + ID})


def calls_handed_in(of: Right) -> Wire:
    """The same, and clients hand in the results of two such calls, which others were given before."""
    return calls_of_the_arguments(of)


def prefixed_tools(of: Right) -> Wire:
    """A gateway that calls tools by the name of their server and their own."""
    tool = of.line.reply.tool
    return of.but(tool=replace(tool, name=f"default_api.{tool.name}")) if tool else of.own


def tools_of_others(of: Right) -> Wire:
    """A gateway with tools of its own, which it calls by names that another client happens to offer too."""
    tool = of.line.reply.tool
    return of.but(tool=replace(tool, name="shell" if tool.name != "shell" else "read_file")) if tool else of.own


def tools_unasked(of: Right) -> Wire:
    """A server that searches the web by itself and tells of it as a call."""
    if of.dialect == "gemini" and of.line.stream:
        return of.own
    return of.but(tool=Tool("web_search", {"query": "x"}, mint("call_", f"{of.line.number} search")))


def handing_in(n: int) -> Mapping[str, Any]:
    """Ask with tools in another order each time; every fourth request ends with the results of two calls."""
    names = ("read_file", "ask") if n % 2 else ("ask", "read_file")
    if n % 4 != 3:
        return {"tools": names}
    made = [{"id": _call_of(name), "type": "function", "function": {"name": name, "arguments": "{}"}} for name in names]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": f"result {n}"} for call in made]
    question = {"role": "user", "content": f"question {n} WORDS-12"}
    said = {"role": "assistant", "content": None, "tool_calls": made}
    return {"messages": [question, said, *results], "tools": names}


def _call_of(name: str) -> str:
    return "call_" + hashlib.sha256(name.encode()).hexdigest()[:24]


def _calls(of: Right, call_id: str) -> Wire:
    tool = of.line.reply.tool
    return of.but(tool=replace(tool, call_id=call_id)) if tool else of.own


def shared_container(of: Right) -> Wire:
    """One container of tools for all answers of an account."""
    return members(of.own, container={"id": "container_" + ID, "expires_at": "2026-11-27T00:00:00Z"})


def conversation_of_the_account(of: Right) -> Wire:
    """A server that keeps one conversation for an account and names it in every answer."""
    return members(of.own, conversation={"id": "conv_" + ID})


# -- heads -------------------------------------------------------------------------------------------------------------


def own_request_id(of: Right) -> Wire:
    """An `X-Request-ID` of the server's own, drawn for every answer."""
    return headed(of.own, ("X-Request-ID", mint("", f"{of.line.number} own", 32)))


def constant_request_id(of: Right) -> Wire:
    """One `X-Request-ID` for all answers: a cache in front that keeps heads."""
    return headed(of.own, ("X-Request-ID", f"req-{ID}"))


def request_id_per_worker(of: Right) -> Wire:
    """An `X-Request-ID` per worker."""
    return headed(of.own, ("X-Request-ID", f"req-{ID}-{of.worker}"))


def constant_gateway_ids(of: Right) -> Wire:
    """Ids of gateways, each the same in all answers."""
    names = ("request-id", "apim-request-id", "x-amzn-requestid", "x-generation-id", "x-litellm-call-id")
    return headed(of.own, *((name, f"{name[:4]}-{ID}") for name in names))


def promised_own_request_id(of: Right) -> Wire:
    """H6: a server with an `X-Request-ID` of its own, where the settings say that ours comes back."""
    return own_request_id(of)


def promised_constant_request_id(of: Right) -> Wire:
    """H6: the same, one for all answers."""
    return constant_request_id(of)


def promised_short_id(of: Right) -> Wire:
    """H6: a gateway that cuts what it gives back to eight characters."""
    return headed(of.own, ("X-Request-ID", of.line.request_id[:8]))


def folded_echo(of: Right) -> Wire:
    """Our id in capitals, in head and body."""
    return echoed(of, of.line.request_id.upper())


def cut_echo(of: Right) -> Wire:
    """Our id cut to 36 characters, in head and body."""
    return echoed(of, of.line.request_id[:32])


def longer_echo(of: Right) -> Wire:
    """Our id with the number of the worker behind it, as Heroku and Kong write it."""
    return echoed(of, f"{of.line.request_id}#{of.worker}")


def prefixed_echo(of: Right) -> Wire:
    """Our id with the engine's prefix before it."""
    return echoed(of, f"chatcmpl-{of.line.request_id}")


def listed_echo(of: Right) -> Wire:
    """Our id twice in one header, as two gateways in a row write it."""
    return headed(of.own, ("X-Request-ID", f"{of.line.request_id}, {of.line.request_id}"))


def echo_in_some_answers(of: Right) -> Wire:
    """Our id comes back in two answers of three: the third is another route of the gateway."""
    return of.own if of.n % 3 else of.but(echoed=Echoed())


def echo_in_the_first_event(of: Right) -> Wire:
    """Our id comes back in the first event alone."""
    return of.but(echoed=replace(of.line.reply.echoed, every=False))


def echo_in_the_head_alone(of: Right) -> Wire:
    """Our id comes back in the head, and nothing in the body."""
    return of.but(echoed=replace(of.line.reply.echoed, body=""))


def echoed(of: Right, value: str) -> Wire:
    """Return the answer with *value* wherever our id comes back."""
    return of.but(echoed=Echoed((("X-Request-ID", value),), value))


def engine_beside_a_relay(of: Right) -> Wire:
    """An engine that makes its ids of ours behind a gateway that sends every third request elsewhere."""
    return of.own if of.n % 3 else of.named(mint("", f"{of.line.number} elsewhere", 29))


# -- time --------------------------------------------------------------------------------------------------------------


def date_late(of: Right) -> Wire:
    """A clock that is 30 seconds late, in `Date` alone."""
    return headed(of.own, ("Date", _date(of.world.now - 30)))


def date_early(of: Right) -> Wire:
    """A clock that is 30 seconds early, in `Date` alone."""
    return headed(of.own, ("Date", _date(of.world.now + 30)))


def date_frozen(of: Right) -> Wire:
    """A `Date` that stands still: a head that is kept."""
    return headed(of.own, ("Date", "Tue, 15 Nov 1994 08:12:31 GMT"))


def date_missing(of: Right) -> Wire:
    """No `Date`."""
    return headless(of.own, "date")


def age(of: Right) -> Wire:
    """An `Age` head from a cache that keeps nothing."""
    return headed(of.own, ("Age", "30"))


def age_grows(of: Right) -> Wire:
    """An `Age` that counts since the gateway was started."""
    return headed(of.own, ("Age", str(100 + of.n)))


def marked_as_kept(of: Right) -> Wire:
    """`X-Cache: HIT` on everything."""
    return headed(of.own, ("X-Cache", "HIT"))


def took_long(of: Right) -> Wire:
    """Seconds of work that are microseconds, or somebody else's."""
    return headed(of.own, ("openai-processing-ms", "90417"), ("x-envoy-upstream-service-time", "90500"))


def clock_late(of: Right) -> Wire:
    """H8: a clock that is 30 seconds late, in head and body."""
    wire = of.but(created=int(of.world.now) - 30)
    return headed(wire, ("Date", _date(of.world.now - 30)))


def clock_early(of: Right) -> Wire:
    """A clock that is 30 seconds early, in head and body."""
    wire = of.but(created=int(of.world.now) + 30)
    return headed(wire, ("Date", _date(of.world.now + 30)))


def created_late(of: Right) -> Wire:
    """An engine whose clock is 30 seconds late, behind a gateway whose clock is right."""
    return of.but(created=int(of.world.now) - 30)


def created_in_ms(of: Right) -> Wire:
    """Milliseconds."""
    return of.but(created=int(of.world.now * 1000))


def created_0(of: Right) -> Wire:
    """0."""
    return of.but(created=0)


def created_in_the_future(of: Right) -> Wire:
    """A day ahead: local time that is taken for UTC."""
    return of.but(created=int(of.world.now + 8 * 3600))


def created_in_local_time(of: Right) -> Wire:
    """Local time that is taken for UTC, west of Greenwich."""
    return of.but(created=int(of.world.now - 5 * 3600))


def created_at_the_start(of: Right) -> Wire:
    """The time at which the server was started."""
    return of.but(created=1_759_990_000)


def created_as_text(of: Right) -> Wire:
    """A time without a zone, as Python writes it."""
    return members(of.own, **{_time_name(of): "2025-10-09 08:53:20.123456"})


def _time_name(of: Right) -> str:
    return "created_at" if of.dialect == "openai_responses" else "created"


def _date(now: float) -> str:
    return formatdate(int(now), usegmt=True)


# -- settings that an answer of the Responses API repeats --------------------------------------------------------------

_INSTRUCTIONS = "  You are a careful assistant for build number {n}.\n\n Answer   briefly, and name your sources.\n"


def settled(n: int) -> Mapping[str, Any]:
    """Ask with settings: some are each request's own, some are shared, and one client names itself as the gateway."""
    return {
        "instructions": _INSTRUCTIONS.format(n=n),
        "metadata": {"turn": str(n), "team": f"team-{n % 3}"},
        "user": TENANT if n == 1 else f"user-{n % 5}",
        "safety_identifier": TENANT if n == 1 else f"safe-{n % 6}",
        "prompt_cache_key": TENANT if n == 1 else f"key-{n}",
        "temperature": 0.7,
        "top_p": 0.95,
        "max_output_tokens": 4000 + n,
        "tools": ("read_file", f"tool_{n % 4}", "ask"),
    }


def _filled(of: Right, **values: Any) -> Wire:
    return members(of.own, **values)


def tenant_as_user(of: Right) -> Wire:
    """H2: a gateway writes its customer's name as `user`, and one client has sent that name itself."""
    return _filled(of, user=TENANT)


def tenant_as_safety_identifier(of: Right) -> Wire:
    """H2: … as `safety_identifier`."""
    return _filled(of, safety_identifier=TENANT)


def tenant_as_cache_key(of: Right) -> Wire:
    """H2: … as `prompt_cache_key`."""
    return _filled(of, prompt_cache_key=TENANT)


def tenant_as_metadata(of: Right) -> Wire:
    """H2: … into `metadata`, in place of what the client wrote there."""
    return _filled(of, metadata={"turn": "1", "team": "team-1", "tenant": TENANT})


def metadata_dropped(of: Right) -> Wire:
    """`metadata` always empty."""
    return _filled(of, metadata={})


def metadata_changed(of: Right) -> Wire:
    """Values of `metadata` in capitals."""
    return _filled(of, metadata={name: str(value).upper() for name, value in _asked(of, "metadata", {}).items()})


def user_hashed(of: Right) -> Wire:
    """A digest of the user's name."""
    return _filled(of, user=hashlib.sha256(str(_asked(of, "user", "")).encode()).hexdigest())


def cache_key_per_worker(of: Right) -> Wire:
    """A cache key that the worker chooses, and that names of clients look like."""
    return _filled(of, prompt_cache_key=f"key-{of.worker}")


def cache_key_shared(of: Right) -> Wire:
    """A cache key of the account, which one of its clients chose when it was the first."""
    return _filled(of, prompt_cache_key="key-0")


def instructions_shortened(of: Right) -> Wire:
    """H8: instructions cut to 20 characters."""
    return _filled(of, instructions=str(_asked(of, "instructions", ""))[:20])


def instructions_trimmed(of: Right) -> Wire:
    """Instructions without the white space around them."""
    return _filled(of, instructions=str(_asked(of, "instructions", "")).strip())


def instructions_normalised(of: Right) -> Wire:
    """Instructions with single spaces."""
    return _filled(of, instructions=" ".join(str(_asked(of, "instructions", "")).split()))


def instructions_absent(of: Right) -> Wire:
    """`instructions: null`."""
    return _filled(of, instructions=None)


def instructions_of_the_gateway(of: Right) -> Wire:
    """The gateway's own words, in place of the client's: Codex's backend, Azure's content policy."""
    return _filled(of, instructions="You are a helpful assistant. Follow the policy of this service.")


def instructions_of_a_template(of: Right) -> Wire:
    """The words of a template, which one of the clients uses word for word."""
    return _filled(of, instructions=_INSTRUCTIONS.format(n=0))


def tools_reordered(of: Right) -> Wire:
    """Tools in another order."""
    return _filled(of, tools=[_tool(tool) for tool in reversed(_asked(of, "tools", []))])


def tools_renamed(of: Right) -> Wire:
    """Tools with the name of their server before their own."""
    return _filled(of, tools=[{**tool, "name": f"mcp__{tool['name']}"} for tool in _asked(of, "tools", [])])


def tools_added(of: Right) -> Wire:
    """Tools of the server's own beside the client's."""
    own = [{"type": "web_search"}, _tool({"name": "search_memory"})]
    return _filled(of, tools=[*_asked(of, "tools", []), *own])


def tools_absent(of: Right) -> Wire:
    """`tools: []`."""
    return _filled(of, tools=[])


def tools_with_defaults(of: Right) -> Wire:
    """Tools with all that was left out."""
    return _filled(of, tools=[_tool(tool) for tool in _asked(of, "tools", [])])


def temperature_in_single_precision(of: Right) -> Wire:
    """0.7 → 0.699999988079071."""
    return _filled(of, temperature=0.699999988079071, top_p=0.949999988079071)


def temperature_of_the_model(of: Right) -> Wire:
    """A model that knows one temperature only."""
    return _filled(of, temperature=1.0, top_p=1.0)


def limit_of_the_model(of: Right) -> Wire:
    """`max_output_tokens` as the server caps it."""
    return _filled(of, max_output_tokens=2048)


def limit_of_others(of: Right) -> Wire:
    """`max_output_tokens` as the server caps it: at what one client has asked for."""
    return _filled(of, max_output_tokens=4001)


def previous_null(of: Right) -> Wire:
    """`previous_response_id: null`."""
    return _filled(of, previous_response_id=None)


def previous_constant(of: Right) -> Wire:
    """A `previous_response_id` that is the same in all answers."""
    return _filled(of, previous_response_id="resp_" + ID)


def settings_absent(of: Right) -> Wire:
    """A small server that repeats nothing."""
    names = ("instructions", "metadata", "user", "prompt_cache_key", "tools", "temperature", "top_p")
    return without(of.own, *names, "max_output_tokens", "safety_identifier", "previous_response_id")


def settings_null(of: Right) -> Wire:
    """A small server with its own defaults in all settings."""
    return _filled(
        of, instructions=None, metadata={}, user=None, prompt_cache_key=None, temperature=1.0, top_p=1.0,
        max_output_tokens=None, tools=[],
    )  # fmt: skip


def followed(n: int) -> Mapping[str, Any]:
    """Ask as the next turn of a stored conversation."""
    return {"previous_response_id": f"resp_{mint('', f'before {n}', 40)}", **settled(n)}


def _asked(of: Right, name: str, default: Any) -> Any:
    return of.line.document.get(name) or default


def _tool(tool: Document) -> Document:
    return {"type": "function", "description": None, "parameters": {"type": "object"}, "strict": True, **tool}


# -- models ------------------------------------------------------------------------------------------------------------


def model_alias(of: Right) -> Wire:
    """A name of the host's own."""
    return of.but(model="backend-7b-q4")


def model_dated(of: Right) -> Wire:
    """A dated snapshot."""
    return of.but(model=f"{of.line.model}-2026-01-15")


def model_in_a_folder(of: Right) -> Wire:
    """Gemini: `models/` before the name."""
    return of.but(model=f"models/{of.line.model}")


def model_is_a_file(of: Right) -> Wire:
    """llama.cpp: the path of the file."""
    return of.but(model="/models/gguf/Meta-Llama-3.1-8B-Instruct.Q4_K_M.gguf")


def model_in_capitals(of: Right) -> Wire:
    """The name in capitals."""
    return of.but(model=of.line.model.upper())


def model_always_the_same(of: Right) -> Wire:
    """A host with one model, which it names whatever was asked for."""
    return of.but(model="sim-small")


def model_of_the_fallback(of: Right) -> Wire:
    """A router that falls back to the small model at times."""
    return of.but(model="sim-small") if of.n % 5 == 1 else of.own


def model_per_worker(of: Right) -> Wire:
    """Workers with models of their own."""
    return of.but(model=("sim-large", "sim-small", "sim-medium", "qwen3-8b")[of.worker % 4])


def model_swapped(of: Right) -> Wire:
    """A router that serves each of two models as the other's name, by a slip in its settings."""
    return of.but(model={"sim-large": "sim-small", "sim-small": "sim-large"}.get(of.line.model, of.line.model))


def model_null(of: Right) -> Wire:
    """`model: null`."""
    return members(of.own, **{"modelVersion" if of.dialect == "gemini" else "model": None})


def answered_by_the_fallback(of: Right) -> Wire:
    """H7: a model that the request itself names in `fallbacks`."""
    return of.but(model="sim-small") if "fallbacks" in of.line.document else of.own


def with_fallbacks(n: int) -> Mapping[str, Any]:
    """Ask with a model to fall back to; every sixth request asks for that model itself."""
    return {"model": "sim-small"} if n % 6 == 2 else {"fallbacks": [{"model": "sim-small"}]}


# -- form --------------------------------------------------------------------------------------------------------------


def _in_another_dialect(of: Right, dialect: str) -> Wire:
    reply = replace(of.line.reply, asked=replace(of.line.reply.asked, dialect=NAMES[dialect]))
    return of.world.wire(of.line, replace(reply, answer_id=mint(PREFIXES[dialect], f"{of.line.number} form", 29)))


def in_the_form_of_chat(of: Right) -> Wire:
    """H4: `chat.completion`, whatever was asked for."""
    return _in_another_dialect(of, "openai_chat")


def in_the_form_of_responses(of: Right) -> Wire:
    """H4: an answer of Responses, whatever was asked for."""
    return _in_another_dialect(of, "openai_responses")


def in_the_form_of_anthropic(of: Right) -> Wire:
    """H4: Anthropic's form, whatever was asked for."""
    return _in_another_dialect(of, "anthropic")


def in_the_form_of_gemini(of: Right) -> Wire:
    """H4: Gemini's form, whatever was asked for."""
    return _in_another_dialect(of, "gemini")


def form_of_the_backend(of: Right) -> Wire:
    """H4: a gateway that translates for some of its backends and forgets it for others."""
    return of.own if of.n % 4 else in_the_form_of_chat(of)


def other_objects(of: Right) -> Wire:
    """`object` by another name."""
    return members(of.own, object="text_completion")


def streamed_unasked(of: Right) -> Wire:
    """A stream where a whole answer was asked for."""
    script = render.answer(of.line.reply, "sse")
    pieces = tuple(step.data for step in script if isinstance(step, Data))
    return Wire((*head_of(script).headers, ("Date", _date(of.world.now))), pieces, of.line.number)


def whole_unasked(of: Right) -> Wire:
    """A whole answer where a stream was asked for."""
    data = data_of(render.answer(of.line.reply, "json"))
    return headed(replace(of.own, pieces=(data,)), ("Content-Type", "application/json"))


def whole_under_events(of: Right) -> Wire:
    """A whole answer where a stream was asked for, called `text/event-stream` all the same."""
    return headed(whole_unasked(of), ("Content-Type", "text/event-stream"))


def lines_of_json(of: Right) -> Wire:
    """NDJSON: the events without `data:`."""

    def line(piece: bytes) -> bytes:
        start, end = piece.find(b"{"), piece.rfind(b"}") + 1
        return piece[start:end] + b"\n" if start >= 0 else b""

    pieces = tuple(line(piece) for piece in of.own.pieces)
    return headed(replace(of.own, pieces=pieces), ("Content-Type", "application/x-ndjson"))


def an_array(of: Right) -> Wire:
    """Gemini without `alt=sse`: an array that grows."""
    script = render.answer(of.line.reply, "array")
    pieces = tuple(step.data for step in script if isinstance(step, Data))
    return headed(replace(of.own, pieces=pieces), ("Content-Type", "application/json"))


def lines_of_windows(of: Right) -> Wire:
    """CRLF between the lines of a stream."""
    pieces = tuple(piece.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for piece in of.own.pieces)
    return replace(of.own, pieces=pieces)


def byte_order_mark(of: Right) -> Wire:
    """A byte order mark before everything."""
    return replace(of.own, pieces=(b"\xef\xbb\xbf" + of.own.pieces[0], *of.own.pieces[1:]))


def in_one_piece(of: Right) -> Wire:
    """All events in one piece: a gateway that buffers."""
    return replace(of.own, pieces=(b"".join(of.own.pieces),))


def comments(of: Right) -> Wire:
    """OpenRouter: `: OPENROUTER PROCESSING` between events."""
    pieces = tuple(b": OPENROUTER PROCESSING\n\n" + piece for piece in of.own.pieces)
    return replace(of.own, pieces=pieces)


def pings(of: Right) -> Wire:
    """A ping between all events, in Anthropic's form."""
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    return replace(of.own, pieces=tuple(part for piece in of.own.pieces for part in (ping, piece)))


def pings_of_chat(of: Right) -> Wire:
    """An empty chunk of chat between all events, as Azure and keep-alive filters send it."""
    blank = b'data: {"id":"","object":"","created":0,"model":"","choices":[]}\n\n'
    return replace(of.own, pieces=tuple(part for piece in of.own.pieces for part in (blank, piece)))


def events_unnamed(of: Right) -> Wire:
    """No `event:` lines."""
    return replace(of.own, pieces=tuple(piece[piece.find(b"data:") :] for piece in of.own.pieces))


def events_named(of: Right) -> Wire:
    """`event: message`, `id:` and `retry:` with every event."""
    pieces = tuple(
        piece if piece.startswith(b"event:") else b"event: message\n" + b"id: %d\nretry: 3000\n" % at + piece
        for at, piece in enumerate(of.own.pieces)
    )
    return replace(of.own, pieces=pieces)


def white_space_first(of: Right) -> Wire:
    """Spaces and newlines before a slow answer, so that nobody hangs up."""
    return replace(of.own, pieces=(b"\n", b"   \n", b"\n", *of.own.pieces))


def garbage_behind(of: Right) -> Wire:
    """Something of a debugger's behind the answer."""
    return replace(of.own, pieces=(*of.own.pieces, b"\n<!-- served in 0.2 s -->\n"))


def document_behind(of: Right) -> Wire:
    """A second document behind the answer: statistics."""
    return replace(of.own, pieces=(*of.own.pieces, b'\n{"usage":{"total_tokens":17},"object":"statistics"}\n'))


def choices_empty(of: Right) -> Wire:
    """`choices: []`, and the text in a member of the host's own."""
    return members(of.own, choices=[], output_text=of.line.reply.text)


def usage_missing(of: Right) -> Wire:
    """No usage."""
    return without(of.own, "usage", "usageMetadata")


def usage_doubled(of: Right) -> Wire:
    """The prompt counted twice over, and nothing for the answer."""
    usage = of.line.reply.usage
    return of.but(usage=replace(usage, prompt=2 * usage.prompt, completion=0))


def usage_of_the_cache(of: Right) -> Wire:
    """All of the prompt from the cache."""
    usage = of.line.reply.usage
    return of.but(usage=replace(usage, cached=usage.prompt))


def usage_constant(of: Right) -> Wire:
    """One usage for all."""
    return of.but(usage=replace(of.line.reply.usage, prompt=100, completion=20))


def fingerprint_per_worker(of: Right) -> Wire:
    """A `system_fingerprint` and a tier per worker."""
    return members(of.own, system_fingerprint=f"fp_{ID[:8]}{of.worker}", service_tier=("default", "flex")[of.n % 2])


def error_in_a_good_answer(of: Right) -> Wire:
    """A gateway's error with status 200, one body for all."""
    error = {"id": PREFIXES[of.dialect] + ID, "error": {"message": "busy", "type": "server_error"}, "status": "failed"}
    return headed(replace(of.own, pieces=(json_of(error),)), ("Content-Type", "application/json"))


def page_in_a_good_answer(of: Right) -> Wire:
    """A page of HTML with status 200: a login of the office's network."""
    page = b"<html><body>\n<pre>\nHTTP/1.1 200 OK\n</pre>Please sign in.</body></html>"
    return headed(replace(of.own, pieces=(page,)), ("Content-Type", "text/html"))


# -- order -------------------------------------------------------------------------------------------------------------


def done_missing(of: Right) -> Wire:
    """No last event: `[DONE]`, `message_stop`, `response.completed`."""
    return replace(of.own, pieces=of.own.pieces[:-1])


def done_twice(of: Right) -> Wire:
    """The last event twice."""
    return replace(of.own, pieces=(*of.own.pieces, of.own.pieces[-1]))


def words_after_the_end(of: Right) -> Wire:
    """A filter's verdict, or the usage, behind the last event."""
    behind = of.own.pieces[-2] if len(of.own.pieces) > 1 else of.own.pieces[-1]
    return replace(of.own, pieces=(*of.own.pieces, behind))


def words_after_the_reason(of: Right) -> Wire:
    """A chunk with a text behind the one with the finish reason."""
    pieces = list(of.own.pieces)
    if len(pieces) > 4:
        pieces.insert(-1, pieces[2])
    return replace(of.own, pieces=tuple(pieces))


def start_twice(of: Right) -> Wire:
    """The first event twice: the gateway's and the engine's, which are equal."""
    return replace(of.own, pieces=(of.own.pieces[0], *of.own.pieces))


def start_of_the_gateway(of: Right) -> Wire:
    """A first event of the gateway's own before the engine's, with an id of its own: it answers at once."""
    first = of.but(answer_id=mint(PREFIXES[of.dialect], f"{of.line.number} at once", 29))
    return replace(of.own, pieces=(first.pieces[0], *of.own.pieces))


def start_missing(of: Right) -> Wire:
    """No first event."""
    return replace(of.own, pieces=of.own.pieces[1:])


def blocks_unopened(of: Right) -> Wire:
    """No events that open a block, an item or a part."""
    opens = ("content_block_start", "response.output_item.added", "response.content_part.added")
    return replace(of.own, pieces=tuple(piece for piece in of.own.pieces if kind(piece) not in opens))


def blocks_unclosed(of: Right) -> Wire:
    """Every delta in a block of its own with one number, and none is closed."""
    opened = next((piece for piece in of.own.pieces if kind(piece) == "content_block_start"), b"")
    pieces = [
        part
        for piece in of.own.pieces
        if kind(piece) not in ("content_block_start", "content_block_stop")
        for part in ((opened, piece) if kind(piece) == "content_block_delta" else (piece,))
    ]
    return replace(of.own, pieces=tuple(pieces))


def blocks_never_opened_are_closed(of: Right) -> Wire:
    """New API: blocks are counted with gaps, and some are closed that were never opened."""
    closed = event(of.dialect, {"type": "content_block_stop", "index": 7})
    return replace(of.own, pieces=(*of.own.pieces[:2], closed, *of.own.pieces[2:]))


def blocks_misnumbered(of: Right) -> Wire:
    """Deltas that all say block 0, in a block that is opened as 1."""

    def change(document: Document, at: int) -> Document:
        if document.get("type") == "content_block_start":
            document["index"] = 1
        return document

    return told(of.own, change)


def items_renamed(of: Right) -> Wire:
    """Deltas under another item's id than the item that was opened."""

    def change(document: Document, at: int) -> Document:
        if "item_id" in document:
            document["item_id"] = f"item_{ID}"
        return document

    return told(of.own, change)


def ended_before_the_block(of: Right) -> Wire:
    """The event before the last one changes places with the one before it."""
    pieces = list(of.own.pieces)
    if len(pieces) > 3:
        pieces[-2], pieces[-3] = pieces[-3], pieces[-2]
    return replace(of.own, pieces=tuple(pieces))


def numbers_constant(of: Right) -> Wire:
    """`sequence_number: 0` in all events."""
    return told(of.own, lambda document, at: {**document, "sequence_number": 0})


def number_one_at_the_end(of: Right) -> Wire:
    """LiteLLM's bridge: one of the last events has the number 1 written in."""

    def change(document: Document, at: int) -> Document:
        return {**document, "sequence_number": 1} if document.get("type") == "response.output_item.done" else document

    return told(of.own, change)


def numbers_anew(of: Right) -> Wire:
    """Numbers that begin anew with every item."""
    return told(of.own, lambda document, at: {**document, "sequence_number": at % 3})


def numbers_with_gaps(of: Right) -> Wire:
    """Numbers of a counter that all streams share."""
    return told(of.own, lambda document, at: {**document, "sequence_number": at * 3 + of.n})


def numbers_missing(of: Right) -> Wire:
    """No numbers."""
    return without(of.own, "sequence_number")


def roles_everywhere(of: Right) -> Wire:
    """`role` in every chunk."""

    def change(document: Document, at: int) -> Document:
        for choice in document.get("choices") or ():
            choice.setdefault("delta", {})["role"] = "assistant"
        return document

    return told(of.own, change)


def roles_alone(of: Right) -> Wire:
    """A chunk with a role alone before every other one."""
    pieces: list[bytes] = []
    for piece in of.own.pieces:
        if b'"content"' in piece:
            pieces.append(of.own.pieces[0])
        pieces.append(piece)
    return replace(of.own, pieces=tuple(pieces))


def reason_of_tools(of: Right) -> Wire:
    """A finish reason of `tool_calls` without any call."""
    word = {"anthropic": ("end_turn", "tool_use"), "openai_chat": ('"stop"', '"tool_calls"')}[of.dialect]
    pieces = tuple(piece.replace(word[0].encode(), word[1].encode()) for piece in of.own.pieces)
    return replace(of.own, pieces=pieces)


def deltas_of_another_kind(of: Right) -> Wire:
    """Thoughts in a block that was opened as text."""

    def change(document: Document, at: int) -> Document:
        delta = document.get("delta")
        if at % 2 and isinstance(delta, dict) and delta.get("type") == "text_delta":
            document["delta"] = {"type": "thinking_delta", "thinking": delta["text"]}
        return document

    return told(of.own, change)


def prompt_counted_twice(of: Right) -> Wire:
    """An estimate of the prompt at the beginning, and the count at the end: LiteLLM, vLLM behind a translator."""

    def change(document: Document, at: int) -> Document:
        if document.get("type") == "message_start":
            document["message"]["usage"]["input_tokens"] += 7
        return document

    return told(of.own, change)


def prompt_counted_late(of: Right) -> Wire:
    """No prompt at the beginning; at the end what the cache had is left out."""

    def change(document: Document, at: int) -> Document:
        if document.get("type") == "message_start":
            document["message"]["usage"].update(input_tokens=1, cache_read_input_tokens=0)
        return document

    return told(of.own, change)


# -- words -------------------------------------------------------------------------------------------------------------


def canned(of: Right) -> Wire:
    """One long refusal for many questions."""
    return of.but(text=CANNED.format(code="E17"), tool=None)


def several_canned(of: Right) -> Wire:
    """Five long refusals for many questions."""
    return of.but(text=CANNED.format(code=f"E{of.n % 5}"), tool=None)


def canned_per_worker(of: Right) -> Wire:
    """A long text that tells of the worker."""
    return of.but(text=CANNED.format(code=f"W{of.worker}"), tool=None)


def canned_at_times(of: Right) -> Wire:
    """Long refusals of many kinds, among answers."""
    return of.but(text=CANNED.format(code=f"E{of.n % 12}"), tool=None) if of.n % 2 else of.own


def canned_with_its_id(of: Right) -> Wire:
    """A health text, kept with its id: the gateway's own answer when a backend is away."""
    if of.n % 3:
        return of.own
    return of.but(text=CANNED.format(code="E503"), tool=None, answer_id=PREFIXES[of.dialect] + ID)


def question_repeated(of: Right) -> Wire:
    """An echo server: the question is the answer."""
    return of.but(text=text_of(of.line), tool=None)


def repeated_after_an_error(of: Right) -> Wire:
    """A gateway that names requests by their content: the same request failed a moment ago, under the same id."""
    name = PREFIXES[of.dialect] + hashlib.sha256(text_of(of.line).encode()).hexdigest()[:24]
    failed = of.world.send(like=of.line, model=of.line.model)
    error = {"id": name, "error": {"message": "busy", "type": "server_error"}}
    page = replace(of.own, pieces=(json_of(error),))
    of.world.deliver(failed, headed(page, ("Content-Type", "application/json"), ("x-request-id", name)), status=503)
    return headed(of.but(answer_id=name), ("x-request-id", name))


def kept_for_equal_questions(of: Right) -> Wire:
    """A cache: the same question gets the same answer, under the same id. Every question is asked again."""
    return of.but(answer_id=PREFIXES[of.dialect] + hashlib.sha256(text_of(of.line).encode()).hexdigest()[:24])


def kept_for_like_questions(of: Right) -> Wire:
    """A semantic cache that says so: questions that are alike get one answer, with its id."""
    topic = of.n % 6
    wire = of.but(answer_id=mint(PREFIXES[of.dialect], f"topic {topic}", 29), text=CANNED.format(code=topic), tool=None)
    return headed(wire, ("X-Cache", "HIT" if of.n >= 6 else "MISS"))


def quotes_heads(of: Right) -> Wire:
    """A text about HTTP, with heads in it."""
    return of.but(text="Send:\nHTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nand then the body.", tool=None)


def quotes_ids(of: Right) -> Wire:
    """A text with the ids of the exchange before: an answer about a log."""
    before = of.world.lines[-2] if len(of.world.lines) > 1 else of.line
    text = f"The log says {before.request_id} got {before.reply.answer_id} and call {ID}"
    return of.but(text=text, tool=None)


def quotes_ids_in_calls(of: Right) -> Wire:
    """A call whose arguments hold the ids of the exchange before."""
    before, tool = of.world.lines[max(0, len(of.world.lines) - 2)], of.line.reply.tool
    if tool is None:
        return of.own
    return of.but(tool=replace(tool, arguments={"request_id": before.request_id, "id": before.reply.answer_id}))


# -- what is no generation ---------------------------------------------------------------------------------------------


def _raw(of: Right, body: bytes, content_type: str) -> Wire:
    cuts = range(0, len(body), 64)
    return headed(replace(of.own, pieces=tuple(body[at : at + 64] for at in cuts)), ("Content-Type", content_type))


_LOG = b"GET / HTTP/1.1\nHost: a\n\nHTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<p>\nHTTP/1.0 404 Not Found\n"


def file_with_heads(of: Right) -> Wire:
    """H5: a file whose bytes hold a new line and `HTTP/1.1 200 OK`."""
    return _raw(of, b"recorded by curl -v\n" + _LOG * 3, "application/octet-stream")


def log_with_heads(of: Right) -> Wire:
    """H5: the same as text."""
    return _raw(of, b"recorded by curl -v\n" + _LOG, "text/plain")


def lines_with_heads(of: Right) -> Wire:
    """H5: the results of a batch, one document a line, with a log between them."""
    return _raw(of, b'{"custom_id":"1","id":"' + ID.encode() + b'"}\n' + _LOG, "application/jsonl")


def transcript_with_heads(of: Right) -> Wire:
    """H5: a transcript as plain text, of somebody who reads HTTP aloud."""
    return _raw(
        of, b"1\n00:00:01 --> 00:00:04\nHTTP/1.1 200 OK\n\n2\n00:00:05 --> 00:00:07\nThank you.\n", "text/plain"
    )


def speech_with_heads(of: Right) -> Wire:
    """H5: a recording whose bytes happen to hold a head."""
    return _raw(of, b"\xff\xf3\x44\xc4" + b"\x00\x01" * 40 + b"\n" + _LOG + b"\x00" * 40, "audio/mpeg")


def one_stored_answer(of: Right) -> Wire:
    """A stored answer, which several clients get: its ids, its settings and its time are those of who made it."""
    stored = {"id": "resp_" + ID, "object": "response", "created_at": 1_759_990_000, "user": TENANT, "model": "other",
              "instructions": _INSTRUCTIONS.format(n=0), "output": [], "status": "completed"}  # fmt: skip
    return headed(replace(of.own, pieces=(json_of(stored),)), ("Content-Type", "application/json"))


def one_embedding(of: Right) -> Wire:
    """Embeddings in the form of a list, under one id, from a model by another name."""
    data = {"object": "list", "id": "embd-" + ID, "created": 1_759_990_000, "model": "bge-m3",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}]}  # fmt: skip
    return headed(replace(of.own, pieces=(json_of(data),)), ("Content-Type", "application/json"))


# -- the table ---------------------------------------------------------------------------------------------------------

_EVERY = ("openai_chat", "openai_responses", "anthropic", "gemini")
_NAMED = ("openai_chat", "gemini")  # every event bears the answer's id
_CALLING = ("openai_chat", "openai_responses", "anthropic")


def _tools(n: int) -> Mapping[str, Any]:
    return {"tools": ("read_file", "ask") if n % 2 else ("shell", "list")}


def _at(path: str) -> Callable[[int], Mapping[str, Any]]:
    return lambda n: {"at": path}


stream = partial(Habit, framing="stream")
whole = partial(Habit, framing="whole")
calls = partial(Habit, dialects=_CALLING, ask=_tools)
settings = partial(Habit, dialects=RESPONSES, ask=settled)
fetched = partial(Habit, dialects=CHAT, framing="whole")

HABITS: tuple[Habit, ...] = (
    Habit(as_it_should_be),
    # ids of answers
    Habit(constant_id),
    Habit(id_per_worker),
    Habit(id_per_day),
    Habit(id_of_the_second),
    Habit(ids_after_a_restart),
    Habit(counter_with_a_name),
    Habit(id_of_the_model),
    Habit(id_of_the_text, first=2),
    Habit(id_of_the_session),
    Habit(id_of_the_user),
    Habit(id_of_the_connection),
    Habit(ids_out_of_a_thousand),
    Habit(id_empty),
    Habit(id_null),
    Habit(id_is_a_number),
    Habit(no_id),
    Habit(id_is_the_model),
    stream(id_per_chunk, _NAMED),
    stream(counter_per_chunk, _NAMED),
    stream(ids_at_both_ends, _NAMED),
    stream(two_ids_in_turn, _NAMED, first=2),
    stream(another_id_for_the_answer, _NAMED),
    stream(another_id_at_the_end, RESPONSES),
    Habit(an_id_per_choice, _NAMED),
    Habit(two_choices, _NAMED),
    # ids inside answers
    Habit(constant_items, RESPONSES),
    calls(constant_calls),
    calls(calls_of_the_arguments),
    Habit(calls_handed_in, CHAT, ask=handing_in),
    calls(calls_per_worker),
    calls(counted_calls),
    calls(kimi_calls),
    calls(calls_of_the_account),
    calls(call_is_the_answer),
    Habit(prefixed_tools, ask=_tools),
    Habit(tools_of_others, ask=_tools),
    Habit(tools_unasked),
    Habit(shared_container, ("openai_responses", "anthropic")),
    Habit(conversation_of_the_account, RESPONSES),
    # heads
    Habit(own_request_id),
    Habit(constant_request_id),
    Habit(request_id_per_worker),
    Habit(constant_gateway_ids),
    Habit(promised_own_request_id, depth="handler", first=3, shared=True),
    Habit(promised_constant_request_id, depth="handler", first=3, shared=True),
    Habit(promised_short_id, depth="handler", first=3, shared=True),
    Habit(folded_echo, depth="body"),
    Habit(cut_echo, depth="body"),
    Habit(longer_echo, depth="body"),
    Habit(prefixed_echo, depth="body"),
    Habit(listed_echo, depth="body"),
    Habit(echo_in_some_answers, depth="body"),
    stream(echo_in_the_first_event, depth="body"),
    Habit(echo_in_the_head_alone, depth="body"),
    Habit(engine_beside_a_relay, depth="engine"),
    # time
    Habit(date_late),
    Habit(date_early),
    Habit(date_frozen),
    Habit(date_missing),
    Habit(age),
    Habit(age_grows),
    Habit(marked_as_kept),
    Habit(took_long),
    Habit(clock_late),
    Habit(clock_early),
    Habit(created_late, ("openai_chat", "openai_responses")),
    Habit(created_in_ms, ("openai_chat", "openai_responses")),
    Habit(created_0, ("openai_chat", "openai_responses")),
    Habit(created_in_the_future, ("openai_chat", "openai_responses")),
    Habit(created_in_local_time, ("openai_chat", "openai_responses")),
    Habit(created_at_the_start, ("openai_chat", "openai_responses")),
    Habit(created_as_text, ("openai_chat", "openai_responses")),
    # settings
    settings(tenant_as_user),
    settings(tenant_as_safety_identifier),
    settings(tenant_as_cache_key),
    settings(tenant_as_metadata),
    settings(metadata_dropped),
    settings(metadata_changed),
    settings(user_hashed),
    settings(cache_key_per_worker),
    settings(cache_key_shared),
    settings(instructions_shortened),
    settings(instructions_trimmed),
    settings(instructions_normalised),
    settings(instructions_absent),
    settings(instructions_of_the_gateway),
    settings(instructions_of_a_template),
    settings(tools_reordered),
    settings(tools_renamed),
    settings(tools_added),
    settings(tools_absent),
    settings(tools_with_defaults),
    settings(temperature_in_single_precision),
    settings(temperature_of_the_model),
    settings(limit_of_the_model),
    settings(limit_of_others),
    settings(previous_null, ask=followed),
    settings(previous_constant, ask=followed),
    settings(settings_absent),
    settings(settings_null),
    # models
    Habit(model_alias),
    Habit(model_dated),
    Habit(model_in_a_folder),
    Habit(model_is_a_file),
    Habit(model_in_capitals),
    Habit(model_always_the_same),
    Habit(model_of_the_fallback),
    Habit(model_per_worker),
    Habit(model_swapped),
    Habit(model_null),
    Habit(answered_by_the_fallback, ANTHROPIC, ask=with_fallbacks),
    # form
    Habit(in_the_form_of_chat, ("openai_responses", "anthropic", "gemini")),
    Habit(in_the_form_of_responses, ("openai_chat", "anthropic", "gemini")),
    Habit(in_the_form_of_anthropic, ("openai_chat", "openai_responses", "gemini")),
    Habit(in_the_form_of_gemini, ("openai_chat", "openai_responses", "anthropic")),
    Habit(form_of_the_backend, ("openai_responses", "anthropic", "gemini")),
    Habit(other_objects, ("openai_chat", "openai_responses")),
    whole(streamed_unasked),
    stream(whole_unasked),
    stream(whole_under_events),
    stream(lines_of_json),
    stream(an_array, ("gemini",)),
    stream(lines_of_windows),
    Habit(byte_order_mark),
    stream(in_one_piece),
    stream(comments),
    stream(pings),
    stream(pings_of_chat, CHAT),
    stream(events_unnamed),
    stream(events_named),
    Habit(white_space_first),
    Habit(garbage_behind),
    Habit(document_behind),
    Habit(choices_empty, CHAT),
    Habit(usage_missing),
    Habit(usage_constant),
    Habit(usage_doubled),
    Habit(usage_of_the_cache),
    Habit(fingerprint_per_worker),
    Habit(error_in_a_good_answer),
    Habit(page_in_a_good_answer),
    # order
    stream(done_missing),
    stream(done_twice),
    stream(words_after_the_end),
    stream(words_after_the_reason),
    stream(start_twice),
    stream(start_of_the_gateway, first=2),
    stream(start_missing),
    stream(blocks_unopened, ("openai_responses", "anthropic")),
    stream(blocks_unclosed, ANTHROPIC),
    stream(blocks_never_opened_are_closed, ANTHROPIC),
    stream(blocks_misnumbered, ANTHROPIC),
    stream(items_renamed, RESPONSES),
    stream(ended_before_the_block),
    stream(numbers_constant, RESPONSES),
    stream(number_one_at_the_end, RESPONSES),
    stream(numbers_anew, RESPONSES),
    stream(numbers_with_gaps, RESPONSES),
    stream(numbers_missing, RESPONSES),
    stream(roles_everywhere, CHAT),
    stream(roles_alone, CHAT),
    stream(reason_of_tools, ("openai_chat", "anthropic")),
    stream(deltas_of_another_kind, ANTHROPIC),
    stream(prompt_counted_twice, ANTHROPIC),
    stream(prompt_counted_late, ANTHROPIC),
    # words
    Habit(canned),
    Habit(several_canned),
    Habit(canned_per_worker),
    Habit(canned_at_times),
    Habit(canned_with_its_id, first=2),
    Habit(question_repeated),
    Habit(repeated_after_an_error),
    Habit(kept_for_equal_questions),
    Habit(kept_for_like_questions),
    Habit(quotes_heads),
    Habit(quotes_ids),
    Habit(quotes_ids_in_calls, ask=_tools),
    # what is no generation
    fetched(file_with_heads, ask=_at("/v1/files/file-1/content")),
    fetched(log_with_heads, ask=_at("/v1/files/file-2/content")),
    fetched(lines_with_heads, ask=_at("/v1/files/file-3/content")),
    fetched(transcript_with_heads, ask=_at("/v1/audio/transcriptions")),
    fetched(speech_with_heads, ask=_at("/v1/audio/speech")),
    fetched(one_stored_answer, dialects=RESPONSES, ask=_at("/v1/responses/resp_" + ID)),
    fetched(one_embedding, ask=_at("/v1/embeddings")),
    *honest_talks.HABITS,
)
