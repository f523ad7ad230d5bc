"""An event that mitmproxy loses on its way does not keep an account busy for ever."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx

from tests.simulator import simulator_thread

from .dialogue import body
from .harness import eventually, generic_config, proxy

NAMES = {"one": "sk-lost-0123456789abcdef"}
TEXT = json.dumps(body("openai_chat", ["hi"])).encode()
HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(TEXT)}\r\n\r\n"
ASKED = HEAD.encode() + TEXT
# as when the task that opens a connection is cancelled while it waits for its turn to say so
LOSES = """
from mitmproxy.proxy import events, server
from patchbay.proxy import hooks

hooks._LOST = 0.2
sound = server.ConnectionHandler.server_event


async def lossy(self, event):
    if not isinstance(event, events.OpenConnectionCompleted):
        await sound(self, event)


server.ConnectionHandler.server_event = lossy
"""


# a connection that takes its time, in which the client leaves
SLOW = """
import asyncio

sound = asyncio.open_connection


async def slow(*args, **kwargs):
    await asyncio.sleep(0.5)
    return await sound(*args, **kwargs)


asyncio.open_connection = slow
"""


def test_a_client_that_leaves_while_a_connection_is_made_is_no_fault_of_the_account(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    with simulator_thread({"sk-lost-0123456789abcdef": "one"}) as simulator:
        settings = generic_config(tmp_path, NAMES)
        with proxy(tmp_path, settings, scripts=[str(script)], mode=f"reverse:{simulator.url}") as running:
            for count in range(1, 5):
                with socket.create_connection(("127.0.0.1", running.port), 5) as leaving:
                    leaving.sendall(ASKED)
                    assert eventually(lambda count=count: running.log.count("client connect") > count)
                assert eventually(lambda count=count: running.journal.count("\n") == count), running.log
            served = httpx.post(f"{running.url}/v1/chat/completions", json=body("openai_chat", ["hi"]), trust_env=False)
    told = [json.loads(line) for line in running.journal.splitlines()]
    assert [attempt["outcome"] for line in told for attempt in line["attempts"]] == ["cancelled"] * 4 + ["ok"]
    assert served.status_code == 200


def test_a_client_that_leaves_ends_its_exchange_also_where_nobody_is_told(tmp_path: Path) -> None:
    script = tmp_path / "loses.py"
    script.write_text(LOSES)
    with simulator_thread({"sk-lost-0123456789abcdef": "one"}) as simulator:
        settings = generic_config(tmp_path, NAMES)
        with proxy(tmp_path, settings, scripts=[str(script)], mode=f"reverse:{simulator.url}") as running:
            with socket.create_connection(("127.0.0.1", running.port), 5) as leaving:
                leaving.sendall(ASKED)
                assert eventually(lambda: "server connect" in running.log)
            assert eventually(lambda: "the client left" in running.journal), running.log
    assert "Traceback" not in running.log
