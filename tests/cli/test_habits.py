"""What is not held against a host any more can be listed and taken back, beside a running proxy too."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from patchbay import state
from patchbay.cli.main import main
from patchbay.crosstalk.host_habits import Demotion
from patchbay.proxy.persistence import store_of
from patchbay.settings.settings import Config
from patchbay.state import of_demotion
from patchbay.store import master_key
from patchbay.values.record import Record

FAR = 4_000_000_000.0


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATCHBAY_STORE", "sqlite")
    monkeypatch.chdir(tmp_path)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    _, store = store_of(Config((), state=str(state)), master_key(state))
    assert store is not None
    found = [Demotion("http://a", "age", FAR), Demotion("http://a", "shape gemini", FAR)]
    store.write([of_demotion(each) for each in found], FAR)
    store.close()
    return state


def run(*arguments: str) -> int:
    return main(["habits", *arguments])


def test_they_are_listed(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """H1: shown by the command line."""
    assert run("--state", str(kept)) == 0

    said = capsys.readouterr().out
    assert "http://a  age" in said
    assert "http://a  shape gemini" in said
    assert "demoted rules: 2" in said


def test_one_detector_s_are_reset_and_the_others_stay(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """H1: resettable by the command line."""
    assert run("--state", str(kept), "--reset", "http://a", "shape") == 0
    assert run("--state", str(kept)) == 0

    said = capsys.readouterr().out
    assert "http://a  age" in said
    assert "gemini" not in said


def test_a_host_that_is_not_known_is_said_to_be_so(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--state", str(kept), "--reset", "http://nowhere") == 1
    assert "http://nowhere" in capsys.readouterr().err


def test_without_a_store_there_is_nothing_to_read(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PATCHBAY_STORE")
    (kept / "state.db").unlink()
    assert run("--state", str(kept)) == 2
    assert "patchbay.habits" in capsys.readouterr().err
    assert not (kept / "state.db").exists()


def test_where_no_store_is_named_the_file_in_the_state_folder_is_used(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`scripts/run` names its store to the proxy alone. A store that is named comes first."""
    monkeypatch.delenv("PATCHBAY_STORE")
    assert run("--state", str(kept)) == 0
    assert "demoted rules: 2" in capsys.readouterr().out

    monkeypatch.setenv("PATCHBAY_STORE", f"sqlite://{kept / 'other.db'}")
    assert run("--state", str(kept)) == 0
    assert "demoted rules: 0" in capsys.readouterr().out

    (kept / "config.yaml").write_text("store: memory\naccounts: [{id: a, provider: openai, key: example-one}]\n")
    assert run("--state", str(kept), "--config", str(kept / "config.yaml")) == 2


def test_the_list_is_in_order_and_a_reset_is_told(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--state", str(kept)) == 0
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(FAR))
    assert capsys.readouterr().out == f"{at}  http://a  age\n{at}  http://a  shape gemini\ndemoted rules: 2\n"
    assert run("--state", str(kept), "--reset", "http://a", "shape", "too much") == 0
    told = "restored rules of http://a: 1; running proxies apply this within a second\n"
    assert capsys.readouterr().out == told
    assert run("--state", str(kept), "--reset", "http://a", "shape") == 1
    assert capsys.readouterr().err == "nothing is demoted at http://a shape\n"
    assert run("--state", str(kept), "--reset", "http://a") == 0
    assert run("--state", str(kept), "--reset", "http://a") == 1

    assert capsys.readouterr().err == "nothing is demoted at http://a\n"


def test_a_rule_is_restored_after_it_was_demoted_whatever_the_clock_says(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Demotion] = []
    monkeypatch.setattr(state, "of_demotion", lambda each: written.append(each) or of_demotion(each))
    assert run("--state", str(kept), "--reset", "http://a", "age") == 0

    assert written == [Demotion("http://a", "age", FAR + 0.001, over=True)]


def test_an_unreadable_record_is_named_and_the_others_are_listed(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = state.to_demotion

    def broken(record: Record) -> Demotion:
        if "age" in read(record).rule:
            raise ValueError
        return read(record)

    monkeypatch.setattr(state, "to_demotion", broken)
    assert run("--state", str(kept)) == 0

    told = capsys.readouterr()
    assert told.out.endswith("demoted rules: 1\n")
    assert told.err.startswith("unreadable record of a habit: '")
