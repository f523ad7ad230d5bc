"""The control socket: who may ask, what is too much, and that what a dead process left disturbs nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from patchbay.proxy import control, control_socket
from patchbay.proxy.control import ControlServer
from patchbay.proxy.control_socket import LONGEST_LINE, LONGEST_PATH, ControlFailed, ask, running

from .addon import in_loop


async def echo(name: str, arguments: Sequence[str]) -> object:
    if name == "refuse":
        raise ControlFailed("there is no account nine; there are: one")
    if name == "fail":
        raise RuntimeError("sk-a-secret")
    if name == "broken":
        return "\ud83d"
    if name == "wait":
        await asyncio.sleep(60)
    return [name, *arguments]


@asynccontextmanager
async def server(folder: Path, **env: str) -> AsyncIterator[Path]:
    """Serve in *folder* and yield the path of the socket."""
    made = ControlServer(echo, lambda data: data.replace(b"sk-a-secret", b"covered"))
    await made.start(folder, env)
    try:
        yield made._path or Path()
    finally:
        made.stop()
        while made._connections:  # they close in the loop, which is about to end
            await asyncio.sleep(0)
        await asyncio.sleep(0)


async def asked(path: Path, *words: str) -> object:
    return await asyncio.to_thread(ask, path, *words)


async def sent(path: Path, *lines: bytes) -> list[dict[str, object]]:
    """Send raw *lines* and return the answers, up to the end of the connection."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.writelines(lines)
    writer.write_eof()
    found = (await asyncio.wait_for(reader.read(), 10)).splitlines()
    writer.close()
    await writer.wait_closed()
    return [json.loads(each) for each in found]


@in_loop
async def test_a_command_is_answered_by_its_result(tmp_path: Path) -> None:
    async with server(tmp_path) as path:
        assert await asked(path, "status", "a", "b") == ["status", "a", "b"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.name == f"control-{os.getpid()}.sock"
        assert [each.path for each in running(tmp_path, {})] == [path]
    assert list(tmp_path.iterdir()) == []
    assert running(tmp_path, {}) == []


@in_loop
async def test_one_connection_may_ask_again(tmp_path: Path) -> None:
    async with server(tmp_path) as path:
        found = await sent(path, b'{"command": "a"}\n', b'{"command": "b", "arguments": ["c"]}\n')
    assert [each["result"] for each in found] == [["a"], ["b", "c"]]


@in_loop
async def test_a_refusal_is_a_sentence_and_a_failure_tells_nothing_secret(tmp_path: Path) -> None:
    async with server(tmp_path) as path:
        with pytest.raises(ControlFailed, match="there is no account nine"):
            await asked(path, "refuse")
        with pytest.raises(ControlFailed, match="RuntimeError"):
            await asked(path, "fail")
        assert await asked(path, "say", "sk-a-secret") == ["say", "covered"]


@in_loop
@pytest.mark.parametrize("line", [b"status\n", b"{}\n", b"[]\n", b"\xff\n", b'{"command": 1}\n', b"[" * 5000 + b"\n"])
async def test_what_is_no_command_is_refused(tmp_path: Path, line: bytes) -> None:
    async with server(tmp_path) as path:
        found = await sent(path, line, b'{"command": "a"}\n')
    assert [each["ok"] for each in found] == [False, True]
    assert "one line of JSON" in str(found[0]["error"])


@in_loop
async def test_a_line_has_a_length(tmp_path: Path) -> None:
    async with server(tmp_path) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"x" * (LONGEST_LINE + 2))
        assert "at most" in json.loads(await asyncio.wait_for(reader.readline(), 10))["error"]
        writer.close()


@in_loop
async def test_a_command_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "WORK", 0.05)
    async with server(tmp_path) as path:
        with pytest.raises(ControlFailed, match="not done within"):
            await asked(path, "wait")


@in_loop
async def test_only_so_many_connections_are_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONNECTIONS", 2)
    async with server(tmp_path) as path:
        held = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
        for _, writer in held:
            writer.write(b'{"command": "a"}\n{"command": "wait"}\n')
        for reader, _ in held:
            await asyncio.wait_for(reader.readline(), 10)
        with pytest.raises(ControlFailed, match="too many"):
            await asked(path, "status")
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


@in_loop
async def test_the_connection_that_is_silent_longest_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONNECTIONS", 2)
    async with server(tmp_path) as path:
        held = [await asyncio.open_unix_connection(str(path)) for _ in range(12)]
        assert await asked(path, "status") == ["status"]
        for reader, _ in held[:11]:
            assert await asyncio.wait_for(reader.read(), 10) == b""
        held[-1][1].write(b'{"command": "a"}\n')
        assert b'"a"' in await asyncio.wait_for(held[-1][0].readline(), 10)
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


@in_loop
async def test_another_user_is_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_is_same_user", lambda _: False)
    async with server(tmp_path) as path:
        with pytest.raises(ControlFailed, match="only the user"):
            await asked(path, "status")


@in_loop
async def test_a_long_path_is_used_by_a_link(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * (LONGEST_PATH // 4)) / "state"
    async with server(folder) as path:
        aside = path.readlink()
        assert stat.S_IMODE(aside.parent.stat().st_mode) == 0o700
        assert await asked(path, "status") == ["status"]
        assert [each.pid for each in running(folder, {})] == [os.getpid()]
    assert list(folder.iterdir()) == []
    assert not aside.parent.exists()


@in_loop
async def test_a_socket_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    (tmp_path / "control-notes.sock").write_text("a file of the user's")
    (tmp_path / "control-77.sock").write_text("no socket")
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control-99.sock"))
    left.close()
    assert running(tmp_path, {}) == []
    async with server(tmp_path) as path:
        found = sorted(each.name for each in tmp_path.iterdir())
    assert found == sorted(["control-77.sock", "control-notes.sock", path.name])


def test_only_a_socket_of_this_user_is_removed_or_a_link_made_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "patchbay-control-mine"
    made.mkdir(mode=0o700)
    thesis, other = made / "thesis.txt", made / "other"
    for file in (thesis, other):
        file.write_text("the user's")
    monkeypatch.chdir(made)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as foreign:  # of another program, which has ended
        foreign.bind("foreign.sock")
    (tmp_path / "socket").write_text("the user's")
    links = [thesis, made / "foreign.sock", made / ".." / made.name / "socket", tmp_path / "socket", Path("socket")]
    paths = [tmp_path / f"control-{number}.sock" for number in range(1, 9)]
    for path, target in zip(paths, links, strict=False):
        path.symlink_to(target)
    os.mkfifo(paths[-1])
    paths[-2].mkdir()
    paths[-3].write_text("the user's")
    before = sorted(tmp_path.rglob("*"))

    control_socket.remove_stale(paths)
    for path in paths:
        control_socket.remove(path)
    assert running(tmp_path, {}) == []
    assert sorted(tmp_path.rglob("*")) == before
    for path in paths:
        with pytest.raises(FileExistsError):
            control_socket.listening(tmp_path, {"PATCHBAY_CONTROL": str(path)}, 1)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("left", ["socket", "folder", "nothing"])
def test_a_link_that_a_dead_process_left_is_removed_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    path, aside = tmp_path / "control-5.sock", tmp_path / "patchbay-control-x" / "socket"
    path.symlink_to(aside)
    if left != "nothing":
        aside.parent.mkdir(mode=0o700)
    if left == "socket":
        monkeypatch.chdir(aside.parent)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(aside.name)

    control_socket.remove_stale([path])
    assert list(tmp_path.iterdir()) == []


def test_a_file_at_the_name_of_the_first_moment_stays(tmp_path: Path) -> None:
    file = tmp_path / f"mine.{os.getpid()}"
    file.write_text("the user's")

    with pytest.raises(OSError, match="in use"):
        control_socket.listening(tmp_path, {"PATCHBAY_CONTROL": str(tmp_path / "mine")}, 1)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(file.name, "the user's")]


@in_loop
async def test_two_proxies_of_one_process_id_have_a_socket_each(tmp_path: Path) -> None:
    """Containers that share a state folder may all be process 1."""
    async with server(tmp_path) as one, server(tmp_path) as two:
        assert one != two
        assert [each.pid for each in running(tmp_path, {})] == [os.getpid()] * 2
        assert await asked(one, "a") == await asked(two, "a")


@in_loop
async def test_the_environment_names_the_path_or_switches_it_off(tmp_path: Path) -> None:
    named = str(tmp_path / "run" / "mine.sock")
    async with server(tmp_path / "state", PATCHBAY_CONTROL=named) as path:
        assert (str(path), (tmp_path / "state").exists()) == (named, False)
        assert [each.path for each in running(tmp_path, {"PATCHBAY_CONTROL": named})] == [path]
        async with server(tmp_path / "state", PATCHBAY_CONTROL=named) as second:
            assert (second, path.exists()) == (Path(), True), "one name for two proxies is refused"
        assert await asked(path, "a") == ["a"]
    async with server(tmp_path / "state", PATCHBAY_CONTROL="off"):
        assert not (tmp_path / "state").exists()


@in_loop
async def test_a_folder_that_takes_no_socket_is_said_and_the_proxy_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    async with server(tmp_path / "state"):
        assert "no control socket" in caplog.text


def test_a_proxy_that_ends_before_it_answers_is_said(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    ended = threading.Thread(target=lambda: listener.accept()[0].close())
    ended.start()
    with pytest.raises(ControlFailed, match="ended before"):
        ask(tmp_path / "s", "status")
    ended.join()
    with pytest.raises(ControlFailed, match="no answer within"):
        ask(tmp_path / "s", "status", patience=0.05)
    listener.close()
    assert not control_socket.is_live(tmp_path / "s")


def test_nothing_listens_at_a_path_that_is_not_there_however_long(tmp_path: Path) -> None:
    assert not control_socket.is_live(tmp_path / ("a" * 200))


@in_loop
async def test_an_answer_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    async with server(tmp_path) as path:
        found = await sent(path, b'{"command": "broken"}\n', b'{"command": "status"}\n')

    assert [each["ok"] for each in found] == [False, True] and "cannot be written" in str(found[0]["error"])
