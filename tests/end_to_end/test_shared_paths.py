"""Paths that OpenAI and Anthropic spell alike: models and files go to the provider that is meant, with its account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ..ports import free_port
from ..simulator import Record, Simulator, simulator_thread
from .harness import Proxy, proxy

OWN = "sk-client-key-of-shared-paths"
VERSION = {"anthropic-version": "2023-06-01"}


@dataclass
class House:
    """Two providers, and a proxy that stands before both, as a regular one and on one port."""

    claude: Simulator
    other: Simulator
    running: Proxy
    one_port: str

    def regular(self) -> httpx.Client:
        return httpx.Client(proxy=self.running.url, trust_env=False, timeout=30, headers=self.own)

    def anywhere(self) -> httpx.Client:
        return httpx.Client(base_url=self.one_port, trust_env=False, timeout=30, headers=self.own)

    @property
    def own(self) -> dict[str, str]:
        return {"x-api-key": OWN}

    def heard(self) -> tuple[list[Record], list[Record]]:
        return self.claude.truth.requests, self.other.truth.requests


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("shared paths")
    one_port = free_port()
    with simulator_thread({"sk-a-1": "a1", "sk-a-2": "a2"}) as claude, simulator_thread({"sk-o-1": "o1"}) as other:
        rows = "".join(
            f"  - {{id: {name}, provider: {provider}, base_url: '{url}', key: {key}}}\n"
            for name, provider, url, key in (
                ("a1", "anthropic", claude.url, "sk-a-1"), ("a2", "anthropic", claude.url, "sk-a-2"),
                ("o1", "openai_compatible", f"{other.url}/v1", "sk-o-1"),
            )
        )  # fmt: skip
        settings = f"state: {folder / 'state'}\ngrace_period: 1s\naccounts:\n{rows}"
        anywhere = ("--mode", f"reverse:http://patchbay.invalid@{one_port}")
        with proxy(folder, settings, "-q", *anywhere, mode="regular") as running:
            yield House(claude, other, running, f"http://127.0.0.1:{one_port}")


@pytest.fixture(autouse=True)
def forgotten(house: House) -> None:
    house.claude.truth.clear()
    house.other.truth.clear()


@pytest.mark.parametrize("version", [VERSION, {}], ids=["named", "by its host"])
def test_a_file_at_anthropic_gets_an_account_of_anthropic_through_a_regular_proxy(house: House, version) -> None:
    with house.regular() as client:
        for _ in range(4):
            made = client.post(f"{house.claude.url}/v1/files", json={}, headers=version)
            assert made.status_code == 200, made.text
            name = made.json()["id"]
            assert client.get(f"{house.claude.url}/v1/files/{name}", headers=version).status_code == 200
            assert client.get(f"{house.claude.url}/v1/files/{name}/content", headers=version).status_code == 200
            assert client.delete(f"{house.claude.url}/v1/files/{name}", headers=version).status_code == 200

    heard, elsewhere = house.heard()
    assert (len(heard), elsewhere) == (16, [])
    assert {record.credential for record in heard} <= {"sk-a-1", "sk-a-2"}
    assert [record.account for record in heard] == [each.account for each in heard[::4] for _ in range(4)]
    assert {record.credential_form for record in heard} == {"x-api-key"}


@pytest.mark.parametrize("where", ["/v1/models", "/v1/models/sim-large"])
def test_models_are_those_of_the_host_that_is_asked(house: House, where: str) -> None:
    with house.regular() as client:
        assert client.get(house.claude.url + where, headers=VERSION).status_code == 200
        assert client.get(house.claude.url + where).status_code == 200
        assert client.get(house.other.url + where).status_code == 200

    heard, elsewhere = house.heard()
    assert {record.credential for record in heard} <= {"sk-a-1", "sk-a-2"}
    assert [record.credential for record in elsewhere] == ["sk-o-1"]
    assert len(heard) == 2


@pytest.mark.parametrize("where", ["/v1/models", "/v1/models/sim-large", "/v1/files"])
def test_on_one_port_a_header_says_whose_is_meant(house: House, where: str) -> None:
    method = "POST" if where.endswith("files") else "GET"
    with house.anywhere() as client:
        assert client.request(method, where, headers=VERSION).status_code == 200
        assert client.request(method, where).status_code == 200

    heard, elsewhere = house.heard()
    assert [record.account for record in elsewhere] == ["o1"]
    assert len(heard) == 1
    assert all(OWN not in str(record.headers) for record in (*heard, *elsewhere))


def test_an_error_of_ours_is_in_the_words_of_the_dialect_that_is_meant(house: House) -> None:
    with house.anywhere() as client:
        refused = client.get("/v1/files/x", headers={**VERSION, "x-patchbay-account": "nobody"}).json()
    assert refused["type"] == "error"
