"""mitmweb with Patchbay in it, as its user sees it: a page of a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from patchbay.transcript.pane import BLANK

from ..simulator import Simulator
from . import browser
from .conftest import KEYS
from .dialogue import DIALECTS, body, path, text_of
from .harness import Proxy, eventually, generic_config, proxy

pytestmark = pytest.mark.skipif(browser.program() is None, reason="there is no Chromium")

ROWS = "[...document.querySelectorAll('.flow-table tbody tr')]"
SOCKET = {"x-session-id": "chat-socket", "authorization": "Bearer placeholder"}
PANE = "document.querySelector('.flow-detail .contentview pre')?.innerText"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("mitmweb")
    keys = {name: key for key, name in KEYS.items()}
    with proxy(folder, generic_config(folder, keys), mode=f"reverse:{simulator.url}", program="mitmweb") as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, web: Proxy) -> Iterator[browser.Page]:
    with browser.page(tmp_path_factory.mktemp("chromium")) as found:
        found.resize(1440, 900)
        found.open(f"http://127.0.0.1:{web.web_port}/?token=look")
        yield found


def ask(web: Proxy, dialect: str, turns: list[str], *, stream: bool) -> httpx.Response:
    """Send *turns* in *dialect* through *web*."""
    headers = {"x-session-id": f"chat-{dialect}"}
    asked = body(dialect, turns, stream=stream)
    if dialect == "openai_chat" and stream:
        asked["stream_options"] = {"include_usage": True}
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(web.url + path(dialect, stream=stream), headers=headers, json=asked)
    assert answer.status_code == 200, answer.text
    return answer


def selected(page: browser.Page, path: str, words: str) -> str:
    """Return what the page shows once the newest flow at *path* is selected: a page of which *words* are a part."""
    page.wait_for(f"{ROWS}.some(row => row.textContent.includes('{path}'))", f"a row of {path}")
    page.value(f"{ROWS}.filter(row => row.textContent.includes('{path}')).at(-1).click()")
    return str(page.wait_for(f"({PANE} ?? '').includes('{words}') && {PANE}", f"{words!r} of {path}"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_streamed_answer_reads_as_a_conversation(web: Proxy, page: browser.Page, dialect: str) -> None:
    """Which account, what it cost and what was answered: selecting the flow is enough."""
    turns = ["the first question"]
    turns.append(text_of(dialect, ask(web, dialect, turns, stream=False).content))
    turns.append("WORDS-60 and the next")
    wanted = text_of(dialect, ask(web, dialect, turns, stream=False).content)
    answered = ask(web, dialect, turns, stream=True)
    assert eventually(lambda: web.journal.count(f'"dialect":"{dialect}"') >= 3)
    line = [json.loads(line) for line in web.journal.splitlines()][-1]
    tokens = line["tokens"]
    assert tokens, line
    assert tokens["cached"] > 0

    shown = selected(page, path(dialect, stream=True).partition("?")[0], "WORDS-60 and the next")

    rows = shown.split("\n")
    assert rows[0].split() == ["account", line["account"], "·", "home", "·", "generic"]
    assert f"{tokens['cached']} cached ({100 * tokens['cached'] // tokens['prompt']}%)" in shown
    assert "streamed" in shown
    assert "".join(wanted.split()) in "".join(shown.split())
    assert answered.headers["x-patchbay-account"] == line["account"]
    assert BLANK in rows  # mitmweb swallows a line that is empty


def test_a_stream_that_is_under_way_shows_what_came_of_it(web: Proxy, page: browser.Page, simulator: Simulator) -> None:
    turns, rows = ["WORDS-40 that come slowly"], f"{ROWS}.filter(row => row.textContent.includes('/v1/messages'))"
    whole = ask(web, "anthropic", turns, stream=False)
    wanted = text_of("anthropic", whole.content).split()
    page.wait_for(f"{rows}.length", "the first answer")
    known = page.value(f"{rows}.length")
    simulator.fault("delay_events", {"seconds": 0.3}, times=1)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, web, "anthropic", turns, stream=True)
        page.wait_for(f"{rows}.length > {known}", "the flow that is under way")
        shown = ""
        while " ".join(wanted[:3]) not in shown and not asked.done():  # a page is asked for when its flow is selected
            page.value(f"{rows}.at(-2).click()")
            page.wait_for(f"{PANE} && !{PANE}.includes('under way')", "another page")
            page.value(f"{rows}.at(-1).click()")
            shown = str(page.wait_for(f"({PANE} ?? '').includes('under way') && {PANE}", "the page"))
        assert "under way for" in shown
        assert "(more is to come)" in shown
        assert " ".join(wanted[:3]) in shown
        assert wanted[-1] not in shown.split()
        assert asked.result(60).status_code == 200


def test_a_socket_shows_account_cache_and_the_whole_answer(web: Proxy, page: browser.Page) -> None:
    turns, said = ["the socket's question"], [""]
    with connect(f"ws://127.0.0.1:{web.port}/v1/responses", additional_headers=SOCKET, proxy=None) as opened:
        for _ in range(2):
            opened.send(json.dumps({"type": "response.create", **body("openai_responses", turns)}))
            said.append(_answered(opened))
            turns += [said[-1], "WORDS-60 and the next of the socket"]
    page.wait_for(f"{ROWS}.some(row => row.textContent.includes('101'))", "the row of the socket")
    page.value(f"{ROWS}.filter(row => row.textContent.includes('101')).at(-1).click()")
    everything = "[...document.querySelectorAll('.flow-detail pre')].map(each => each.innerText).join('\\n')"
    wanted = json.dumps("".join(said[-1].split()))
    shown = page.wait_for(f"{everything}.replace(/\\s+/g, '').includes({wanted}) && {everything}", "the answer")

    assert said[-1]
    assert "account" in shown
    assert "cached (" in shown
    assert "WORDS-60 and the next of the socket" in shown


def _answered(opened: ClientConnection) -> str:
    """Return the text of the answer whose events come next."""
    text = ""
    while (event := json.loads(opened.recv(timeout=30)))["type"] != "response.completed":
        text += event["delta"] if event["type"] == "response.output_text.delta" else ""
    return text


def test_an_intercepted_request_shows_its_account_and_what_was_edited(web: Proxy, page: browser.Page) -> None:
    with httpx.Client(trust_env=False, timeout=30, base_url=f"http://127.0.0.1:{web.web_port}") as api:
        api.headers["authorization"] = "Bearer look"
        api.headers["x-xsrftoken"] = token = "0" * 32
        api.cookies["_mitmproxy_xsrf"] = token
        api.put("/options", json={"intercept": "~q & ~bq intercepted"}).raise_for_status()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, web, "anthropic", ["this one is intercepted"], stream=False)
            page.wait_for("!!document.querySelector('.flow-table tr.intercepted')", "an intercepted request")
            shown = selected(page, "/v1/messages", "this one is intercepted")
            assert "under way" in shown
            account = shown.split()[1]
            row = page.value("document.querySelector('.flow-table tr.intercepted').textContent")
            assert f"{account} home · " in row or f"{account} new · " in row
            flow = api.get("/flows").json()[-1]["id"]
            edited = body("anthropic", ["another question"])
            api.put(f"/flows/{flow}", json={"request": {"content": json.dumps(edited)}}).raise_for_status()
            api.post(f"/flows/{flow}/resume").raise_for_status()
            assert asked.result(20).headers["x-patchbay-account"] == account
        api.put("/options", json={"intercept": ""})
        text = api.get(f"/flows/{flow}/request/content/auto.json").json()["text"]

    assert "members messages" in text.partition("edited")[2]
    assert "another question" in text
