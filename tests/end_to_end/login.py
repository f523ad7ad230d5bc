"""A server as coding tools log in to, with a secret in every place: it says what arrived, byte for byte."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def secret(name: str) -> str:
    """Return a secret of no known format, which only its place gives away."""
    return f"{name}.0f1e2d3c4b5a69788796a5b4c3d2e1f0.q"


@dataclass(frozen=True)
class Ask:
    """A request with secrets in it, and its answer. *secrets* are those that only a place or the format gives away."""

    path: str
    secrets: tuple[str, ...]
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: bytes = b"{}"
    given: Mapping[str, str] = field(default_factory=dict)  # headers of the answer


def _json(**members: Any) -> bytes:
    return json.dumps(members, indent=1).encode()


FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
PACKED = {**JSON, "content-encoding": "gzip"}
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJlLW9mLXRoZS1qd3Q"
ASKS = (
    Ask(
        "/v1/oauth/token",
        tuple(map(secret, ("refresh", "access", "fresh"))),
        _json(grant_type="refresh_token", refresh_token=secret("refresh"), client_id="9d1c250a"),
        JSON,
        _json(token_type="Bearer", access_token=secret("access"), refresh_token=secret("fresh"), expires_in=28800),
        JSON,
    ),
    Ask(
        "/oauth/token",
        (secret("code"), secret("verifier"), secret("idt"), JWT),
        f"grant_type=authorization_code&code={secret('code')}&code_verifier={secret('verifier')}&client_id=app".encode(),
        FORM,
        gzip.compress(_json(id_token=secret("idt"), access_token=JWT, error=None)),
        PACKED,
    ),
    Ask(
        "/api/accounts/deviceauth/token",
        tuple(map(secret, ("device", "usercode", "granted", "proof"))),
        gzip.compress(_json(device_auth_id=secret("device"), user_code=secret("usercode"))),
        PACKED,
        _json(authorization_code=secret("granted"), code_verifier=secret("proof")),
        JSON,
    ),
    Ask(
        "/api/oauth/claude_cli/create_api_key",
        (secret("rawkey"), secret("bearer")),
        b"",
        {"authorization": f"Bearer {secret('bearer')}"},
        _json(raw_key=secret("rawkey"), quoted=f"made for {secret('bearer')}"),
        JSON,
    ),
    Ask(
        "/v1/events",
        (secret("telemetry"), "sk-ant-api03-0123456789abcdefABCDEF", secret("inner"), secret("session")),
        _json(
            api_key=secret("telemetry"),
            note="started with sk-ant-api03-0123456789abcdefABCDEF in the environment",
            event=json.dumps({"name": "login", "accessToken": secret("inner")}),
            max_tokens=128000,
            key="theme",
        ),
        {**JSON, "cookie": f"session={secret('session')}"},
        b"data: {}\n\n",
        {"content-type": "text/event-stream", "set-cookie": f"session={secret('session')}; HttpOnly"},
    ),
    Ask(
        f"/callback?code={secret('callback')}&state={secret('state')}&access_token={secret('inquery')}",
        (secret("callback"), secret("inquery"), secret("redirected"), secret("statsig")),
        b"",
        {"statsig-api-key": secret("statsig")},
        b"",
        {"location": f"https://elsewhere.example/cb?access_token={secret('redirected')}&x=1"},
    ),
)


@dataclass
class Login:
    """The server; *arrived* are the requests, each as its path, its headers and its body."""

    port: int = 0
    arrived: list[tuple[str, str, bytes]] = field(default_factory=list)


@contextlib.contextmanager
def login() -> Iterator[Login]:
    """Run the server until the block ends."""
    running = Login()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            running.arrived.append((self.path, str(self.headers), body))
            asked = next(ask for ask in ASKS if ask.path == self.path)
            self.send_response(200)
            for name, value in {**asked.given, "content-length": str(len(asked.answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(asked.answer)

        def log_message(self, format: str, *args: Any) -> None:
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
        thread.join(30)
