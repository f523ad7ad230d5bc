"""Addresses of an upstream in its answers: a client that follows one comes here again, to the same account."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import types

from ..simulator import Simulator
from .conftest import KEYS
from .harness import Proxy, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
CLIENT = "sk-client-s-own-0123456789abcdef"


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("addresses")
    with proxy(folder, generic_config(folder, NAMES), "-q", mode=f"reverse:{simulator.url}") as running:
        yield running


def accounts(simulator: Simulator) -> list[str]:
    return [record.account for record in simulator.truth.requests]


def test_the_results_of_a_batch_come_from_where_it_was_made(through: Proxy, simulator: Simulator) -> None:
    """P1: Anthropic's SDK follows `results_url`: through here, to the account of the batch, and the words stay."""
    simulator.truth.clear()
    sdk = anthropic.Anthropic(api_key=CLIENT, base_url=through.url, max_retries=0)
    message = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    one: Any = [{"custom_id": "0", "params": message}]
    made = [sdk.messages.batches.create(requests=one, extra_headers={"x-session-id": f"{n}"}) for n in range(8)]
    owners = accounts(simulator)
    assert len(set(owners)) > 1
    simulator.truth.clear()
    for batch in made:
        assert str(batch.results_url) == f"{through.url}/v1/messages/batches/{batch.id}/results"
        said = [str(line.result.message.content[0].text) for line in sdk.messages.batches.results(batch.id)]
        assert said == [f"{simulator.url}/v1/messages/batches/{batch.id}/results"] * 3

    assert accounts(simulator) == [owner for owner in owners for _ in range(2)]
    assert CLIENT not in {record.credential for record in simulator.truth.requests}


def test_an_upload_goes_on_where_it_began(through: Proxy, simulator: Simulator, tmp_path: Path) -> None:
    """P1: google-genai uploads in parts to `X-Goog-Upload-URL`, and the file's uri means the file upstream."""
    simulator.truth.clear()
    plain = genai.Client(api_key=CLIENT, http_options=types.HttpOptions(base_url=through.url))
    file = tmp_path / "notes.txt"
    file.write_bytes(b"notes" * 4_000_000)  # more than one part
    used: list[str] = []
    for n in range(6):
        begun = len(accounts(simulator))
        options = types.HttpOptions(base_url=through.url, headers={"x-session-id": f"upload {n}"})
        sdk = genai.Client(api_key=CLIENT, http_options=options)
        made = sdk.files.upload(file=file)
        file.write_bytes(b"notes")
        assert str(made.uri).startswith(through.url + "/v1beta/files/")
        contents: Any = [f"what does file {n} say?", made]
        assert plain.models.generate_content(model="sim-large", contents=contents).text
        assert len(set(accounts(simulator)[begun:])) == 1
        used.append(accounts(simulator)[-1])

    assert len(set(used)) > 1
    assert {record.status for record in simulator.truth.requests} == {200}
    last = json.loads(simulator.truth.last().body)
    uris = [part["fileData"]["fileUri"] for turn in last["contents"] for part in turn["parts"] if "fileData" in part]
    assert [uri.startswith(simulator.url + "/v1beta/files/") for uri in uris] == [True]


def test_an_address_of_an_upload_says_whose_it_is(simulator: Simulator, tmp_path: Path) -> None:
    """P1: google-genai sends no key to the address of an upload; with clients here, it is known by that address."""
    named = f"clients:\n  - {{name: ann, key: {CLIENT}}}\n  - {{name: bob, key: another-{CLIENT}}}"
    file = tmp_path / "notes.txt"
    file.write_bytes(b"notes")
    with proxy(tmp_path, generic_config(tmp_path, NAMES, more=named), mode=f"reverse:{simulator.url}") as running:
        sdk = genai.Client(api_key=CLIENT, http_options=types.HttpOptions(base_url=running.url))
        made = sdk.files.upload(file=file)
        assert sdk.files.get(name=str(made.name)).uri == made.uri
        other = genai.Client(api_key=f"another-{CLIENT}", http_options=types.HttpOptions(base_url=running.url))
        with pytest.raises(genai.errors.ClientError):
            other.files.get(name=str(made.name))
        unknown = httpx.post(
            f"{running.url}/upload/v1beta/files?upload_id=ADPycd0123456789abcdefgh", trust_env=False, timeout=30
        )

    assert unknown.status_code == 401


def test_files_and_batches_of_openai_are_read_where_they_are(through: Proxy, simulator: Simulator) -> None:
    """P1: OpenAI's files and batches have no addresses: their ids bring a client to the same account."""
    simulator.truth.clear()
    sdk = openai.OpenAI(api_key=CLIENT, base_url=through.url + "/v1", max_retries=0)
    for _ in range(6):
        begun = len(accounts(simulator))
        file = sdk.files.create(file=b"{}", purpose="batch")
        batch = sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        sdk.batches.retrieve(batch.id)
        assert len(set(accounts(simulator)[begun:])) == 1

    assert {record.status for record in simulator.truth.requests} == {200}


# -- any server -------------------------------------------------------------------------------------------------------

Answer = tuple[int, Mapping[str, str], bytes]


@dataclass
class Upstream:
    """A server that answers as it is told, by its own address, and keeps who asked for what."""

    answers: Callable[[str, str], Answer]
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def upstream(answers: Callable[[str, str], Answer]) -> Iterator[Upstream]:
    running = Upstream(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            key = str(self.headers.get("authorization")).removeprefix("Bearer ")
            running.asked.append((self.path, key))
            status, headers, body = running.answers(self.path, running.url)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def at(folder: Path, running: Upstream, base: str) -> str:
    rows = "\n".join(
        f"  - {{id: {name}, provider: generic, base_url: '{running.url}{base}', key: {key}}}"
        for name, key in NAMES.items()
    )
    return f"state: {folder / 'state'}\ngrace_period: 1s\nproviders: {{generic: {{paths: ['*']}}}}\naccounts:\n{rows}\n"


HEADS = ("Location", "Content-Location", "Operation-Location", "Azure-AsyncOperation", "X-Poll-At")


def jobs(path: str, base: str) -> Answer:
    number = path.partition("?n=")[2]
    if not number:
        return 200, {"content-type": "application/json"}, b"{}"
    where = f"{base}/api/v1/jobs/job_{number}?ticket_id=abcdef0123456789{number}&sig=signed%2F0123456789"
    heads = dict.fromkeys(HEADS, where) | {"Link": f'<{where}>; rel="next", <https://example.com/>; rel="help"'}
    body = {"status_url": where, "urls": {"get": where}, "pages": [where], "output": where, "metadata": {"u": where}}
    packed = gzip.compress(json.dumps(body, indent=1).encode())
    return 202, {**heads, "content-type": "application/json", "content-encoding": "gzip"}, packed


def test_every_address_of_the_upstream_is_mapped_and_followed(tmp_path: Path) -> None:
    """P1: heads and members of any name, under a base URL with a path; what was said or given stays as it is."""
    with (
        upstream(jobs) as server,
        proxy(tmp_path, at(tmp_path, server, "/api/v1"), mode=f"reverse:{server.url}") as running,
        httpx.Client(trust_env=False, headers={"authorization": f"Bearer {CLIENT}"}, timeout=30) as client,
    ):
        owners: list[tuple[str, str]] = []
        wheres: list[str] = []
        for n in range(8):
            answer = client.post(f"{running.url}/v1/jobs?n={n}", json={}, headers={"x-session-id": f"s{n}"})
            where = f"{running.url}/v1/jobs/job_{n}?ticket_id=abcdef0123456789{n}&sig=signed%2F0123456789"
            assert [answer.headers[name] for name in HEADS] == [where] * len(HEADS)
            assert answer.headers["link"] == f'<{where}>; rel="next", <https://example.com/>; rel="help"'
            told = answer.json()
            assert (told["status_url"], told["urls"]["get"], told["pages"]) == (where, where, [where])
            assert told["output"] == told["metadata"]["u"] == where.replace(running.url, server.url + "/api")
            owners.append(server.asked[-1])
            wheres.append(where)
        for where, (_, key) in zip(wheres, owners, strict=True):
            client.get(where)
            assert server.asked[-1] == (where.replace(running.url, "/api"), key)
        client.get(f"{running.url}/v1/jobs/unknown?sig=signed%2F0123456789")
        assert server.asked[-1][0] == "/api/v1/jobs/unknown"  # a credential, for all we know
        assert len({key for _, key in owners}) > 1


def test_behind_a_front_addresses_are_those_of_the_front(tmp_path: Path) -> None:
    """P1: a front that ends TLS says how it was called."""
    with (
        upstream(jobs) as server,
        proxy(tmp_path, at(tmp_path, server, "/api/v1"), mode=f"reverse:{server.url}") as running,
    ):
        front = {"x-forwarded-proto": "https", "x-forwarded-host": "llm.example.com"}
        answer = httpx.post(f"{running.url}/v1/jobs?n=1", json={}, headers=front, trust_env=False, timeout=30)

    assert answer.headers["location"].startswith("https://llm.example.com/v1/jobs/job_1?")


def test_a_client_of_the_proxy_gets_addresses_as_they_are(tmp_path: Path) -> None:
    """P1: in regular mode an address leads through the proxy anyway, and to the account that gave it."""
    with (
        upstream(jobs) as server,
        proxy(tmp_path, at(tmp_path, server, "/api/v1"), mode="regular") as running,
        httpx.Client(
            proxy=running.url, trust_env=False, headers={"authorization": f"Bearer {CLIENT}"}, timeout=30
        ) as client,
    ):
        for n in range(6):
            where = client.post(f"{server.url}/api/v1/jobs?n={n}", json={}, headers={"x-session-id": f"s{n}"}).json()[
                "status_url"
            ]
            assert where.startswith(server.url + "/api/v1/jobs/job_")
            client.get(where)
            assert server.asked[-1][1] == server.asked[-2][1]


SAID = {
    "/v1/chat/completions": lambda url: {"id": "c", "object": "chat.completion", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": url}, "finish_reason": "stop"}]},
    "/v1/messages": lambda url: {"id": "msg_1", "type": "message", "role": "assistant", "stop_reason": "tool_use",
        "content": [{"type": "text", "text": url}, {"type": "tool_use", "id": "t", "name": "n", "input": {"u": url}}]},
    "/v1/responses/resp_1": lambda url: {"id": "resp_1", "object": "response", "instructions": url,
        "output": [{"type": "message", "content": [{"type": "output_text", "text": url}]}], "metadata": {"u": url}},
    "/v1/files/file-1/content": lambda url: {"url": url},
    "/v1beta/files/abc:download?alt=media": lambda url: {"url": url},
    "/api/chat": lambda url: {"message": {"role": "assistant", "content": url}},
    "/api/generate": lambda url: {"response": url},
}  # fmt: skip


@pytest.mark.parametrize("path", SAID)
def test_what_a_model_says_and_what_is_downloaded_stays_as_it_is(tmp_path: Path, path: str) -> None:
    """P1: an address in generated text, in arguments of a tool or in a file is nobody's to change."""

    def answers(_: str, base: str) -> Answer:
        return 200, {"content-type": "application/json"}, json.dumps(SAID[path](f"{base}/v1/files/x")).encode()

    post = path.endswith(("completions", "messages", "chat", "generate"))
    with (
        upstream(answers) as server,
        proxy(tmp_path, at(tmp_path, server, ""), mode=f"reverse:{server.url}") as running,
    ):
        asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        got = httpx.request(
            "POST" if post else "GET", running.url + path, json=asked if post else None, trust_env=False, timeout=30
        )
        sent = answers("", server.url)[2]

    assert got.content == sent


def test_lines_of_a_stream_are_mapped_as_they_pass(tmp_path: Path) -> None:
    """P1: a stream of lines that no model says."""

    def answers(_: str, base: str) -> Answer:
        lines = [{"n": n, "url": f"{base}/v1/files/f{n}"} for n in range(100)]
        return (
            200,
            {"content-type": "application/x-ndjson"},
            b"".join(json.dumps(each).encode() + b"\n" for each in lines),
        )

    with (
        upstream(answers) as server,
        proxy(tmp_path, at(tmp_path, server, ""), mode=f"reverse:{server.url}") as running,
    ):
        got = httpx.get(f"{running.url}/v1/events_of_files", trust_env=False, timeout=30)

    assert [json.loads(line)["url"] for line in got.text.splitlines()] == [
        f"{running.url}/v1/files/f{n}" for n in range(100)
    ]


REFUSED = (
    b'{"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}}'
)


@pytest.mark.parametrize("path", ["/v1/files", "/v1/jobs", "/v1/containers"])
def test_an_answer_that_names_a_collection_ties_nobody_to_its_account(tmp_path: Path, path: str) -> None:
    """P1: `self` and `Location` of a list name no thing: when their account is out, another one serves the next."""
    refused: set[str] = set()

    def answers(asked: str, base: str) -> Answer:
        told = {"data": [], "self": base + asked, "links": {"models": f"{base}/v1/models/gpt-4"}}
        if server.asked[-1][1] in refused:
            return 401, {"content-type": "application/json"}, REFUSED
        return 200, {"content-type": "application/json", "location": base + asked}, json.dumps(told).encode()

    with (
        upstream(answers) as server,
        proxy(tmp_path, at(tmp_path, server, ""), mode=f"reverse:{server.url}") as running,
        httpx.Client(trust_env=False, headers={"authorization": f"Bearer {CLIENT}"}, timeout=30) as client,
    ):
        assert client.post(running.url + path, json={}).status_code == 200
        refused.add(server.asked[-1][1])
        client.post(running.url + path, json={})  # finds it out, and is not sent twice
        later = [client.post(running.url + path, json={}).status_code for _ in range(2)]

    assert later == [200] * 2


def test_a_large_body_of_json_is_passed_on_and_not_kept(tmp_path: Path) -> None:
    """P1: a download is not put together here first, whatever its type; its addresses are not looked for."""
    large = b'{"x": "' + b"y" * (48 * 1024 * 1024) + b'"}'

    def answers(_: str, base: str) -> Answer:
        return 200, {"content-type": "application/json"}, large

    with (
        upstream(answers) as server,
        proxy(tmp_path, at(tmp_path, server, ""), mode=f"reverse:{server.url}") as running,
    ):
        status = Path(f"/proc/{running.process.pid}/status")
        if not status.exists():
            pytest.skip("there is no /proc here")
        before = peak(status)
        got = httpx.get(f"{running.url}/v1/files/file-1/content", trust_env=False, timeout=30)
        after = peak(status)

    assert got.content == large
    assert after - before < 40 * 1024


def peak(status: Path) -> int:
    """Return the most memory that a process had, in KiB."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])
