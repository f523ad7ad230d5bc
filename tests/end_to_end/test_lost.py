"""An event that mitmproxy loses on its way does not keep an account busy for ever."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx

from tests.simulator import simulator_thread

from .dialogue import body
from .harness import eventually, generic_config, proxy
from .tunnel import listener, read_head

NAMES = {"one": "sk-lost-0123456789abcdef"}
TEXT = json.dumps(body("openai_chat", ["hi"])).encode()
HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(TEXT)}\r\n\r\n"
ASKED = HEAD.encode() + TEXT
# as when the task that opens a connection is cancelled while it waits for its turn to say so
LOSES = """
from mitmproxy.proxy import events, mode_servers
from patchbay.proxy import hooks

hooks._LOST_AFTER = 0.2
sound = mode_servers.ProxyConnectionHandler.server_event


async def lossy(self, event):
    if not isinstance(event, events.OpenConnectionCompleted):
        await sound(self, event)


mode_servers.ProxyConnectionHandler.server_event = lossy
"""


# a connection that takes its time, in which the client leaves
SLOW = """
import asyncio
import pathlib

sound = asyncio.open_connection
go_on = pathlib.Path(__file__).with_name("go on")


async def slow(*args, **kwargs):
    while not go_on.exists():
        await asyncio.sleep(0.01)
    return await sound(*args, **kwargs)


asyncio.open_connection = slow
"""


# as when a task that brings the end of a connection is cancelled, because a writing has failed, while it waits
FORGETS = """
from mitmproxy.connection import Server
from mitmproxy.proxy import events, mode_servers

sound = mode_servers.ProxyConnectionHandler.server_event
lost = set()


async def lossy(self, event):
    if isinstance(event, events.ConnectionClosed) and isinstance(event.connection, Server):
        if event.connection.id not in lost:
            lost.add(event.connection.id)
            # as the cancelled task does
            self.transports[event.connection].handler.cancel()
            return
    await sound(self, event)


mode_servers.ProxyConnectionHandler.server_event = lossy
"""


def test_the_end_of_a_connection_is_heard_of(tmp_path: Path) -> None:
    """R31: nobody waits for a dead connection until the time is up, also where mitmproxy has lost its end."""
    script = tmp_path / "forgets.py"
    script.write_text(FORGETS)
    heads: list[str] = []

    def serve(client: socket.socket) -> None:
        heads.append(read_head(client))
        if len(heads) > 1:
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

    with listener(serve) as port:
        settings = generic_config(tmp_path, {**NAMES, "two": "sk-lost-fedcba9876543210"})
        with proxy(tmp_path, settings, scripts=[str(script)], mode=f"reverse:http://127.0.0.1:{port}") as running:
            served = httpx.get(f"{running.url}/v1/models", trust_env=False, timeout=30)

    assert served.status_code == 200
    assert len(heads) == 2


def test_a_client_that_leaves_while_a_connection_is_made_is_no_fault_of_the_account(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    with simulator_thread({"sk-lost-0123456789abcdef": "one"}) as simulator:
        settings = generic_config(tmp_path, NAMES)
        mode = f"reverse:{simulator.url}"
        with proxy(tmp_path, settings, "-v", scripts=[str(script)], mode=mode) as running:
            for count in range(1, 5):
                with socket.create_connection(("127.0.0.1", running.port), 30) as leaving:
                    leaving.sendall(ASKED)
                    assert eventually(lambda count=count: running.log.count("client connect") > count)
                assert eventually(lambda count=count: running.journal.count("\n") == count), running.log
            (tmp_path / "go on").touch()
            served = httpx.post(
                f"{running.url}/v1/chat/completions", json=body("openai_chat", ["hi"]), trust_env=False, timeout=30
            )
    told = [json.loads(line) for line in running.journal.splitlines()]
    assert [attempt["outcome"] for line in told for attempt in line["attempts"]] == ["cancelled"] * 4 + ["ok"]
    assert served.status_code == 200


def test_a_client_that_leaves_ends_its_exchange_also_where_nobody_is_told(tmp_path: Path) -> None:
    script = tmp_path / "loses.py"
    script.write_text(LOSES)
    with simulator_thread({"sk-lost-0123456789abcdef": "one"}) as simulator:
        settings = generic_config(tmp_path, NAMES)
        with proxy(tmp_path, settings, "-v", scripts=[str(script)], mode=f"reverse:{simulator.url}") as running:
            with socket.create_connection(("127.0.0.1", running.port), 30) as leaving:
                leaving.sendall(ASKED)
                assert eventually(lambda: "server connect" in running.log)
            assert eventually(lambda: "the client left" in running.journal), running.log
    assert "Traceback" not in running.log
