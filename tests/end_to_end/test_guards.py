"""Pages, names, tunnels and heads that are up to no good get no key and no answer; ordinary clients notice nothing."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import anthropic
import httpx
import openai
import pytest
from backports import zstd
from google import genai

from ..simulator import Simulator
from . import attacks
from .attacks import Attack
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, eventually, generic_config, proxy
from .test_no_key_anywhere import client_of
from .tunnel import stop_listening

NAMES = {name: key for key, name in KEYS.items()}


class Evil:
    """A server of somebody else's: it takes whatever comes and says yes to it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            with suppress(OSError):
                self.heard += connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil")

    def close(self) -> None:
        stop_listening(self._socket, self._thread)


@pytest.fixture(scope="module")
def evil() -> Iterator[Evil]:
    server = Evil()
    yield server
    server.close()


@pytest.fixture(scope="module")
def reverse(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("reverse")
    with proxy(folder, generic_config(folder, NAMES), mode=f"reverse:{simulator.url}") as running:
        yield running


@pytest.fixture(scope="module")
def one_port(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("one")
    settings = generic_config(folder, NAMES).replace("base_url: reverse", f"base_url: '{simulator.url}'")
    with proxy(folder, settings, mode="reverse:http://patchbay.invalid") as running:
        yield running


@pytest.fixture(scope="module")
def regular(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("regular")
    settings = generic_config(folder, NAMES).replace("base_url: reverse", f"base_url: '{simulator.url}'")
    with proxy(folder, settings, mode="regular") as running:
        yield running


def _answer(connection: socket.socket, seconds: float) -> bytes:
    """Read until the peer closes, or an answer is whole, or nothing comes any more."""
    heard = b""
    connection.settimeout(seconds)
    with suppress(OSError):
        while piece := connection.recv(65536):
            heard += piece
            head, end, rest = heard.partition(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if end and (not length or len(rest) >= int(length[0].partition(b":")[2])):
                break
    return heard


def _send(running: Proxy, simulator: Simulator, evil: Evil, attack: Attack, seconds: float = 0.7) -> bytes:
    places = {
        "own": f"127.0.0.1:{running.port}", "port": str(running.port), "evil": evil.address,
        "provider": f"127.0.0.1:{simulator.port}",
    }  # fmt: skip
    with socket.create_connection(("127.0.0.1", running.port), 30) as connection:
        connection.sendall(attack.raw.format(**places).encode("latin-1"))
        heard = _answer(connection, seconds)
        if attack.then and b" 200 " in heard.partition(b"\r\n")[0]:
            connection.sendall(attack.then.format(**places).encode("latin-1"))
            heard += _answer(connection, seconds)
    return heard


def _successes(running: Proxy, simulator: Simulator, evil: Evil, tried: Iterable[Attack]) -> tuple[int, list[str]]:
    """Try all of them, several at a time; return how many there were, and which got something."""
    simulator.reset()
    tried, got = list(tried), []
    with ThreadPoolExecutor(12) as side_by_side:
        answers = side_by_side.map(lambda attack: _send(running, simulator, evil, attack), tried)
        for attack, heard in zip(tried, answers, strict=True):
            if any(key.encode() in heard for key in KEYS):
                got.append(f"{attack.name}: a key came out")
    got += [f"the provider was asked: {record.path} {record.headers}" for record in simulator.truth.requests]
    got += ["a key went to another server" for key in KEYS if key.encode() in evil.heard]
    return len(tried), got


def test_no_attack_on_a_reverse_proxy_succeeds(reverse: Proxy, simulator: Simulator, evil: Evil) -> None:
    tried = [*attacks.names(), *attacks.everywhere("", "{own}")]
    count, got = _successes(reverse, simulator, evil, tried)
    print(f"reverse: {len(got)} of {count} attacks succeeded")

    assert count >= 200
    assert got == []


def test_no_attack_on_one_port_succeeds(one_port: Proxy, simulator: Simulator, evil: Evil) -> None:
    tried = [*attacks.names(), *attacks.everywhere("", "{own}")]
    count, got = _successes(one_port, simulator, evil, tried)
    print(f"one port: {len(got)} of {count} attacks succeeded")

    assert count >= 200
    assert got == []


def test_no_attack_on_a_regular_proxy_succeeds(regular: Proxy, simulator: Simulator, evil: Evil) -> None:
    tried = [*attacks.proxied(), *attacks.everywhere("http://{provider}", "{provider}")]
    count, got = _successes(regular, simulator, evil, tried)
    print(f"regular: {len(got)} of {count} attacks succeeded")

    assert count >= 200
    assert got == []


def test_without_the_guards_attacks_succeed(tmp_path: Path, simulator: Simulator, evil: Evil) -> None:
    """The other control: what is tried above is worth trying."""
    script = str(Path(__file__).with_name("unguarded.py"))
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}", scripts=[script]) as running:
        tried = [attack for attack in attacks.everywhere("", "{own}") if attack.name.startswith(("page", "path"))]
        count, got = _successes(running, simulator, evil, [*tried, *attacks.names()])

    assert len(got) > count / 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_request_without_an_attack_in_it_is_served(
    reverse: Proxy, one_port: Proxy, regular: Proxy, simulator: Simulator, evil: Evil, dialect: str
) -> None:
    """The control: what the attacks are made of is a request that works."""
    ordinary = attacks.request(dialect, {})
    through = attacks.request(dialect, {}, target="http://{provider}" + path(dialect), host="{provider}")
    inside = attacks.request(dialect, {}, host="{provider}")
    tunnelled = Attack("tunnel", "CONNECT {provider} HTTP/1.1\r\nHost: {provider}\r\n\r\n", inside)
    for running, attack in (
        (reverse, Attack("", ordinary)),
        (one_port, Attack("", ordinary)),
        (regular, Attack("", through)),
        (regular, tunnelled),
    ):
        simulator.reset()
        heard = _send(running, simulator, evil, attack, 30)
        assert b"HTTP/1.1 200 " in heard
        assert [record.credential in KEYS for record in simulator.truth.requests] == [True]
        assert simulator.truth.last().header("host") == f"127.0.0.1:{simulator.port}"


@pytest.mark.parametrize(
    "headers",
    [
        {"user-agent": "node", "sec-fetch-mode": "cors", "accept-language": "*"},  # Node's fetch
        {"user-agent": "curl/8", "accept": "*/*"},
        {"origin": "http://{own}"},
        {"origin": "http://{own}", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "none"},
    ],
)
def test_programs_and_our_own_pages_are_served(reverse: Proxy, headers: dict[str, str]) -> None:
    own = f"127.0.0.1:{reverse.port}"
    for dialect in DIALECTS:
        sent = {name: value.replace("{own}", own) for name, value in headers.items()} | credential(dialect, "c")
        answer = httpx.post(
            reverse.url + path(dialect), json=body(dialect, ["hi"]), headers=sent, trust_env=False, timeout=30
        )
        assert answer.status_code == 200, answer.text


def test_curl_and_the_sdks_are_served(reverse: Proxy, simulator: Simulator) -> None:
    simulator.reset()
    content = json.dumps(body("openai_chat", ["hi"]))
    curl = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--noproxy",
        "*",
        f"{reverse.url}/v1/chat/completions",
    ]
    for more in ([], ["-H", "content-type: application/json"]):
        done = subprocess.run([*curl, *more, "-d", content], capture_output=True, timeout=30, check=True)
        assert done.stdout == b"200"
    chat = openai.OpenAI(base_url=f"{reverse.url}/v1", api_key="c")
    assert chat.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}]).choices
    assert chat.responses.create(model="m", input="hi", store=False).output_text
    claude = anthropic.Anthropic(base_url=reverse.url, api_key="c")
    assert claude.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]).content
    options = genai.types.HttpOptions(base_url=reverse.url, client_args={"trust_env": False})
    assert genai.Client(api_key="c", http_options=options).models.generate_content(model="m", contents="hi").text

    assert len(simulator.truth.requests) == 6


def test_what_tells_an_account_stays_on_its_own_side(reverse: Proxy, simulator: Simulator) -> None:
    simulator.reset()
    revealing = {
        "openai-organization": "org-client", "openai-project": "proj-client", "cookie": "session=client",
        "x-goog-user-project": "client", "chatgpt-account-id": "client", "x-patchbay-request-id": "client",
        "x-patchbay-anything": "client", "proxy-authorization": "Basic client",
    }  # fmt: skip
    answer = httpx.post(
        f"{reverse.url}/v1/chat/completions?%6bey=client&api_key=client&x=1",
        json=body("openai_chat", ["hi"]),
        headers={**revealing, **credential("openai_chat", "client")},
        trust_env=False,
        timeout=30,
    )
    record = simulator.truth.last()

    assert answer.status_code == 200
    assert record.query == "x=1"
    assert not any("client" in value for _, value in record.headers)
    assert record.header("x-patchbay-request-id") != ""


def test_what_tells_whose_account_it_was_does_not_come_back(reverse: Proxy, simulator: Simulator) -> None:
    simulator.reset()
    told = {
        "Set-Cookie": "__cf_bm=account", "OpenAI-Organization": "org-account", "OpenAI-Project": "proj-account",
        "Anthropic-Organization-Id": "account", "X-Patchbay-Account": "somebody", "X-RateLimit-Remaining": "7",
    }  # fmt: skip
    simulator.fault("fields", {"headers": told})
    answers = [
        httpx.post(reverse.url + path(dialect, stream=stream), json=body(dialect, ["hi"], stream=stream),
                   headers=credential(dialect, "c"), trust_env=False, timeout=30)
        for dialect in DIALECTS
        for stream in (False, True)
    ]  # fmt: skip
    simulator.mend()

    for answer in answers:
        assert answer.status_code == 200
        assert not any("account" in value for name, value in answer.headers.items() if name != "x-patchbay-account")
        assert answer.headers["x-patchbay-account"] in NAMES
        assert answer.headers["x-ratelimit-remaining"] == "7"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_body_above_the_bound_is_refused_before_and_while_it_comes(
    small: Proxy, simulator: Simulator, dialect: str
) -> None:
    simulator.reset()
    announced = f"POST {path(dialect)} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", small.port), 30) as connection:
        connection.sendall(announced.encode())
        heard = _answer(connection, 30)
    assert b" 413 " in heard.partition(b"\r\n")[0]

    key = credential(dialect, "example-client-ann")
    chunked = httpx.post(
        small.url + path(dialect), content=iter([b" " * 50_000] * 4), headers=key, trust_env=False, timeout=30
    )
    assert chunked.status_code == 413
    told = chunked.json()
    assert ("type" in told) == (dialect == "anthropic")
    assert told["error"]["message"].startswith("The body is larger")
    assert simulator.truth.requests == []


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("small")
    more = (
        "limits: {body: 100KB, header_count: 30, header_size: 8KB}\nallowed_origins: [http://localhost:3000]\n"
        "clients: [{name: ann, key: example-client-ann}, {name: bob, key: example-client-bob, models: [sim-*]}]"
    )
    with proxy(folder, generic_config(folder, NAMES, more=more), mode=f"reverse:{simulator.url}") as running:
        yield running


def test_a_head_above_the_bound_is_refused(small: Proxy) -> None:
    url = f"{small.url}/v1/chat/completions"
    many = httpx.post(url, headers={f"x-{n}": "v" for n in range(40)}, json={}, trust_env=False, timeout=30)
    large = httpx.post(url, headers={"x": "v" * 9000}, json={}, trust_env=False, timeout=30)
    with socket.create_connection(("127.0.0.1", small.port), 30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nX: ")
        with suppress(OSError):
            for _ in range(40):
                connection.sendall(b"x" * 65536)
        endless = _answer(connection, 30)

    assert (many.status_code, large.status_code) == (431, 431)
    assert endless == b"" or b" 431 " in endless.partition(b"\r\n")[0]


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_body_that_unpacks_to_more_than_the_bound_is_refused(small: Proxy, simulator: Simulator, kind: str) -> None:
    simulator.reset()
    pack = {"gzip": gzip.compress, "zstd": zstd.compress}[kind]
    headers = {"x-api-key": "example-client-ann", "content-type": "application/json", "content-encoding": kind}
    asked = json.dumps(body("anthropic", ["hi"])).encode()
    good = httpx.post(f"{small.url}/v1/messages", content=pack(asked), headers=headers, trust_env=False, timeout=30)
    bomb = httpx.post(
        f"{small.url}/v1/messages", content=pack(asked + b" " * 10**7), headers=headers, trust_env=False, timeout=30
    )

    assert (bomb.status_code, bomb.json()["type"]) == (413, "error")
    assert len(simulator.truth.requests) == 1
    assert good.status_code != 413


@pytest.mark.parametrize("dialect", DIALECTS)
def test_over_http2_the_guards_are_the_same(reverse: Proxy, simulator: Simulator, dialect: str) -> None:
    simulator.reset()
    own = f"localhost:{reverse.port}"
    with client_of(reverse, http2=True) as client:

        def ask(**headers: str) -> int:
            sent = credential(dialect, "c") | {name.replace("_", "-"): value for name, value in headers.items()}
            return client.post(path(dialect), json=body(dialect, ["hi"]), headers=sent).status_code

        refused = [
            ask(host="evil.example"), ask(origin="https://evil.example"), ask(sec_fetch_site="cross-site"),
            ask(origin=f"http://{own}", host=own), ask(content_type="text/plain"),
        ]  # fmt: skip
        assert refused == [403, 403, 403, 403, 415]
        assert simulator.truth.requests == []
        assert ask(host=own, origin=f"https://{own}") == 200


def test_json_that_nobody_can_read_is_refused(small: Proxy) -> None:
    answer = httpx.post(
        f"{small.url}/v1/messages",
        content=b'{"messages":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        headers={"x-api-key": "example-client-ann", "content-type": "application/json"},
        trust_env=False,
        timeout=30,
    )

    assert (answer.status_code, answer.json()["type"]) == (400, "error")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "key", ["", "example-client-an", "example-client-ann2", "EXAMPLE-CLIENT-ANN", "patchbay", "\xe9"]
)
def test_without_a_known_key_nobody_is_served(small: Proxy, simulator: Simulator, dialect: str, key: str) -> None:
    simulator.reset()
    headers = {name: value.encode("latin-1") for name, value in credential(dialect, key).items()} if key else {}
    answer = httpx.post(
        small.url + path(dialect), json=body(dialect, ["hi"]), headers=headers, trust_env=False, timeout=30
    )

    assert answer.status_code == 401
    assert simulator.truth.requests == []


def test_a_client_gets_what_its_rights_say(small: Proxy) -> None:
    def ask(model: str, **headers: str) -> int:
        sent = {"authorization": "Bearer example-client-bob", **headers}
        asked = body("openai_chat", ["hi"], model=model)
        return httpx.post(
            f"{small.url}/v1/chat/completions", json=asked, headers=sent, trust_env=False, timeout=30
        ).status_code

    assert ask("sim-1") == 200
    assert ask("other") == 403
    assert ask("sim-1", **{"x-patchbay-account": "one"}) == 403


def test_a_page_that_is_allowed_is_served_and_may_read_what_it_gets(small: Proxy) -> None:
    page, url = {"origin": "http://localhost:3000", "sec-fetch-site": "cross-site"}, f"{small.url}/v1/chat/completions"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}
    may = httpx.options(url, headers={**page, **asked}, trust_env=False, timeout=30)
    key = {"authorization": "Bearer example-client-ann"}
    answer = httpx.post(url, json=body("openai_chat", ["hi"]), headers={**page, **key}, trust_env=False, timeout=30)
    refused = httpx.post(url, json=body("openai_chat", ["hi"]), headers=page, trust_env=False, timeout=30)
    foreign = httpx.options(url, headers={**asked, "origin": "http://evil.example"}, trust_env=False, timeout=30)
    plain = httpx.post(url, json=body("openai_chat", ["hi"]), headers=key, trust_env=False, timeout=30)

    assert (may.status_code, answer.status_code, refused.status_code, foreign.status_code) == (204, 200, 401, 403)
    assert may.headers["access-control-allow-headers"] == "authorization, content-type"
    for read in (may, answer, refused):
        assert read.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "access-control-allow-origin" not in foreign.headers
    assert "access-control-allow-origin" not in plain.headers


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--set", "ssl_insecure=true"], "ssl_verify_upstream_trusted_ca"),
        (["--set", "proxy_debug=true"], "turn it off"),
        (["--set", "stream_large_bodies=1m"], "limits.body"),
        (["--listen-host", "0.0.0.0"], "give every client a key"),  # noqa: S104
        (["--listen-host", ""], "give every client a key"),
    ],
)
def test_what_gives_keys_away_ends_the_start(
    tmp_path: Path, simulator: Simulator, arguments: list[str], why: str
) -> None:
    settings = generic_config(tmp_path, NAMES)
    # for a moment mitmproxy may listen already while it loads the addon
    with suppress(RuntimeError), proxy(tmp_path, settings, *arguments, mode=f"reverse:{simulator.url}") as running:
        assert running.process.wait(30) == 1

    assert why in (tmp_path / "log.txt").read_text()


def test_a_log_of_session_keys_is_warned_about(tmp_path: Path, simulator: Simulator) -> None:
    log = {"SSLKEYLOGFILE": str(tmp_path / "keys.log")}
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}", environment=log) as running:
        assert eventually(lambda: "SSLKEYLOGFILE is set" in running.log)


CHANGER = """
import logging
from mitmproxy import ctx

def running():
    wanted = {"ssl_insecure": True, "proxy_debug": True, "stream_large_bodies": "1k", "listen_host": ""}
    for name, value in wanted.items():
        try:
            ctx.options.update(**{name: value})
        except Exception as e:
            logging.info("%s is still %r: %s", name, getattr(ctx.options, name), e)
"""


def test_what_gives_keys_away_cannot_be_changed_to_while_it_runs(tmp_path: Path, simulator: Simulator) -> None:
    script = tmp_path / "changer.py"
    script.write_text(CHANGER)
    settings = generic_config(tmp_path, NAMES)
    with proxy(tmp_path, settings, mode=f"reverse:{simulator.url}", scripts=[str(script)]) as running:
        assert eventually(lambda: "listen_host is still '127.0.0.1'" in running.log)

    for still in ("ssl_insecure is still False", "proxy_debug is still False", "stream_large_bodies is still None"):
        assert still in running.log
