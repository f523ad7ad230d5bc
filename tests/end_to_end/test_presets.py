"""The presets on the wire: paths, keys, stamps, what comes back, and nothing that a strict provider would refuse."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from patchbay.settings.presets import PRESETS

from ..simulator import Record, Simulator, simulator_thread
from ..simulator.play import Play
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, eventually, proxy

CHAT = "openai_chat"
OWN = "sk-client-key-that-stays-here"
VERSION = "2024-10-21"
# Members that one provider or another takes, and that most of them refuse.
REFUSED = ("request_id", "rid", "session_id", "thread_id", "model_id", "metadata", "user", "trace", "extra_body")
STRICT = sorted(set(PRESETS) - {"morpheus", "sglang"})
BASE_PATHS = {
    "openrouter": "/api/v1", "groq": "/openai/v1", "generic": "", "pristine": "", "anthropic": "", "gemini": "",
    "azure": "", "azure-new": "/openai/v1", "litellm": "", "claude_login": "", "codex_login": "/backend-api/codex",
}  # fmt: skip
NAMES = (*PRESETS, "azure-new")
KEYS = {name: f"sk-real-{name}-{'02468ace' * 4}" for name in NAMES}
FORMS = {"anthropic": "x-api-key", "gemini": "x-goog-api-key", "azure": "api-key", "azure-new": "api-key"}


@dataclass
class House:
    """One port, one account for each preset, and the provider behind all of them."""

    running: Proxy
    upstream: Simulator

    def ask(
        self, name: str, dialect: str = "openai_chat", stream: bool = False, headers: dict[str, str] | None = None
    ) -> tuple[httpx.Response, Record, bytes]:
        """Ask the account of *name*; return the answer, what the provider saw, and the body that was sent."""
        mark = f"MARK-{secrets.token_hex(16)}"
        sent = json.dumps(body(dialect, [f"{mark} hello"], stream=stream, model=f"{name}_m")).encode()
        where = self.running.url + path(dialect, stream=stream).replace("gemini-sim", f"{name}_m")
        head = {"content-type": "application/json", **credential(dialect, OWN), **(headers or {})}
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.post(where, content=sent, headers=head)
        [record] = self.upstream.truth.marked(mark)
        return answer, record, sent

    def line(self, answer: httpx.Response) -> dict[str, Any]:
        """Return the journal's line of the exchange that brought *answer*."""
        request_id, found = answer.headers["x-patchbay-request-id"], list[dict[str, Any]]()

        def written() -> bool:
            lines = [json.loads(each) for each in self.running.journal.splitlines() if request_id in each]
            found[:] = [line for line in lines if line["request_id"] == request_id]
            return bool(found)

        assert eventually(written), self.running.log
        return found[0]


def settings(folder: Path, url: str) -> str:
    """Return a configuration in which the model `groq_m` is Groq's, and so on."""
    providers = [f"  {name}: {{base_url: '{url}{BASE_PATHS.get(name, '/v1')}'}}" for name in PRESETS if name != "azure"]
    providers.append(f"  azure: {{base_url: '{url}', api_version: {VERSION}}}")
    providers.append(f"  azure-new: {{preset: azure, base_url: '{url}/openai/v1'}}")
    accounts = [
        f"  - {{id: {name}, provider: {name}, key: {key},"
        f" models: {{allow: ['{name}_m'], upstream_names: {{azure_m: dep/1, azure-new_m: dep-2}}}}}}"
        for name, key in KEYS.items()
    ]
    return (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\n"
        f"providers:\n{'\n'.join(providers)}\naccounts:\n{'\n'.join(accounts)}\n"
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("presets")
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(simulator_thread({key: name for name, key in KEYS.items()}))
        mode = "reverse:http://patchbay.invalid"
        running = stack.enter_context(proxy(folder, settings(folder, upstream.url), mode=mode))
        yield House(running, upstream)


@pytest.fixture
def upstream(house: House) -> Iterator[Simulator]:
    yield house.upstream
    house.upstream.mend()


def spoken(name: str) -> list[str]:
    families = PRESETS[name].families
    found = [d for d in DIALECTS if ("openai" if d.startswith("openai") else d) in families]
    return ["openai_responses"] if PRESETS[name].endpoints else found


@pytest.fixture
def strict(house: House) -> Iterator[None]:
    """Let the provider refuse what it does not know, as most of them do."""
    setup = house.upstream.provider.setup
    house.upstream.provider.setup = replace(setup, rejects=REFUSED)
    yield
    house.upstream.provider.setup = setup


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
@pytest.mark.parametrize(("name", "dialect"), [(name, d) for name in STRICT for d in spoken(name)])
def test_a_strict_provider_finds_nothing_to_refuse(house: House, name: str, dialect: str, stream: bool) -> None:
    answer, record, sent = house.ask(name, dialect, stream)

    assert answer.status_code == 200, answer.text
    assert not set(REFUSED) & json.loads(record.body).keys()
    if (name, dialect) != ("azure", "openai_responses"):  # its deployment has another name
        assert record.body == sent


@pytest.mark.parametrize("name", NAMES)
def test_the_key_goes_where_the_provider_looks_for_it(house: House, name: str) -> None:
    dialect = spoken(name.removesuffix("-new"))[0]
    _, record, _ = house.ask(name, dialect)

    assert (record.account, record.credential_form) == (name, FORMS.get(name, "bearer"))
    assert OWN not in repr(record.headers) + record.query


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai", "/v1/chat/completions"),
        ("groq", "/openai/v1/chat/completions"),
        ("openrouter", "/api/v1/chat/completions"),
        ("ollama", "/v1/chat/completions"),
        ("azure", "/openai/deployments/dep%2F1/chat/completions"),
        ("azure-new", "/openai/v1/chat/completions"),
        ("codex_login", "/backend-api/codex/responses"),
        ("claude_login", "/v1/messages"),
    ],
)
def test_the_path_is_the_provider_s(house: House, name: str, expected: str) -> None:
    _, record, _ = house.ask(name, spoken(name.removesuffix("-new"))[0])

    assert record.path == expected
    assert record.query == (f"api-version={VERSION}" if name == "azure" else "")


# -- what comes back --------------------------------------------------------------------------------------------------


async def give_header(play: Play, name: str) -> None:
    """Give back the header *name* as it was received."""
    assert play.reply is not None
    echoed = replace(play.reply.echoed, headers=((name, play.incoming.header(name)),))
    play.reply = replace(play.reply, echoed=echoed)


async def give_rid(play: Play) -> None:
    """Make the answer's id of `rid`, as SGLang does."""
    assert play.reply is not None
    play.reply = replace(play.reply, answer_id=str(play.document["rid"]))


def give_back(upstream: Simulator, name: str) -> None:
    """Let the provider behave as *name* is known to."""
    match name:
        case "vllm":
            upstream.fault("echo", {"mode": "vllm"}, account=name)
        case "sglang":
            upstream.fault(give_rid, account=name)
        case "litellm":
            upstream.fault(give_header, {"name": "x-litellm-call-id"}, account=name)
        case _:
            upstream.fault(give_header, {"name": "x-ms-client-request-id"}, account=name)


ECHOING = ("vllm", "sglang", "litellm", "azure", "azure-new")


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
@pytest.mark.parametrize("name", ECHOING)
def test_an_id_that_comes_back_makes_the_answer_clean_if_it_comes_from_the_engine(
    house: House, upstream: Simulator, name: str, stream: bool
) -> None:
    give_back(upstream, name)

    answer, _, _ = house.ask(name, stream=stream)

    line = house.line(answer)
    deep = name in ("vllm", "sglang")  # the others give it back in the head, which says nothing about the body
    assert (line["verdict"], line["echo"]) == (("clean", "body") if deep else ("unverifiable", "header"))


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
@pytest.mark.parametrize(
    "name", sorted(name for name in set(PRESETS) - {"generic", "morpheus"} if CHAT in spoken(name))
)
def test_a_provider_s_own_ids_are_no_alarm(house: House, upstream: Simulator, name: str, stream: bool) -> None:
    upstream.fault("echo", {"mode": "own"}, account=name)
    upstream.fault("blank_first", account=name, streaming=True)

    for _ in range(3):
        answer, _, _ = house.ask(name, stream=stream)
        assert house.line(answer)["verdict"] == "unverifiable"


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
@pytest.mark.parametrize("name", ECHOING)
def test_an_answer_to_another_request_is_crosstalk_and_names_it(
    house: House, upstream: Simulator, name: str, stream: bool
) -> None:
    give_back(upstream, name)
    upstream.fault("swap", {"room": f"{name}{stream}"}, account=name, times=2)

    answers = asyncio.run(_two_at_once(house, name, stream))

    lines = [house.line(answer) for answer in answers]
    assert [line["verdict"] for line in lines] == ["crosstalk", "crosstalk"]
    assert [line["victim"] for line in lines] == [lines[1]["exchange"], lines[0]["exchange"]]


async def _two_at_once(house: House, name: str, stream: bool) -> list[httpx.Response]:
    async with httpx.AsyncClient(trust_env=False, timeout=30, base_url=house.running.url) as client:
        asked = [body("openai_chat", [f"{word} {name}"], stream=stream, model=f"{name}_m") for word in ("one", "two")]
        return await asyncio.gather(*(client.post("/v1/chat/completions", json=document) for document in asked))


def test_the_id_of_a_client_s_own_is_kept_for_vllm_and_checked(house: House, upstream: Simulator) -> None:
    upstream.fault("echo", {"mode": "vllm"}, account="vllm")

    answer, record, _ = house.ask("vllm", headers={"X-Request-ID": "build-4711-step-3"})

    assert [value for name, value in record.headers if name.lower() == "x-request-id"] == ["build-4711-step-3"]
    assert answer.json()["id"] == "chatcmpl-build-4711-step-3"
    assert house.line(answer)["verdict"] == "clean"


def test_azure_is_asked_under_a_guid(house: House) -> None:
    _, first, _ = house.ask("azure")
    _, second, _ = house.ask("azure")

    ids = [record.header("x-ms-client-request-id") for record in (first, second)]
    assert [len(each) for each in ids] == [36, 36]
    assert ids[0] != ids[1]


def test_pristine_is_what_the_client_sent(house: House) -> None:
    own = {"User-Agent": "mine/1", "X-Session-ID": "s-1", "X-Stainless-Lang": "python"}
    answer, record, sent = house.ask("pristine", headers=own)

    names = {name.lower() for name, _ in record.headers}
    assert answer.status_code == 200
    assert record.body == sent
    assert names == {
        "host", "content-length", "content-type", "authorization", "accept", "accept-encoding", "connection",
        "user-agent", "x-session-id", "x-stainless-lang",
    }  # fmt: skip
    assert {record.header(name.lower()) for name in own} == set(own.values())


# -- Azure's own client -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("azure", "/openai/deployments/dep%2F1/chat/completions"),
        ("azure-new", "/openai/v1/chat/completions"),
        ("groq", "/openai/v1/chat/completions"),
    ],
)
def test_azure_s_client_is_served_by_any_of_them(house: House, name: str, expected: str) -> None:
    sdk = openai.AzureOpenAI(api_key=OWN, azure_endpoint=house.running.url, api_version="2023-05-15", max_retries=0)
    mark = f"MARK-{secrets.token_hex(16)}"
    answer = sdk.chat.completions.create(model=f"{name}_m", messages=[{"role": "user", "content": mark}])

    [record] = house.upstream.truth.marked(mark)
    assert answer.choices[0].message.content == record.text
    assert record.path == expected
    assert (record.account, record.credential_form) == (name, FORMS.get(name, "bearer"))
    assert OWN not in repr(record.headers) + record.query
    model = json.loads(record.body)["model"]
    assert model == {"azure": "azure_m", "azure-new": "dep-2", "groq": "groq_m"}[name]


def test_azure_s_responses_name_the_deployment_in_the_body(house: House) -> None:
    _, old, _ = house.ask("azure", "openai_responses")
    _, new, _ = house.ask("azure-new", "openai_responses")

    assert (old.path, old.query) == ("/openai/responses", f"api-version={VERSION}")
    assert (new.path, new.query) == ("/openai/v1/responses", "")
    assert [json.loads(record.body)["model"] for record in (old, new)] == ["dep/1", "dep-2"]
