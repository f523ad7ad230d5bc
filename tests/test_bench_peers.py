"""What `scripts/bench --peers` says of a program is that of all its processes, and one that fails costs one line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scripts import bench_peers, peers, process_tree
from scripts.bench import Figures
from scripts.bench_load import ANSWER, Upstream
from scripts.bench_peers import DIRECT, NotMeasured, Running
from scripts.peers import BARE, PEERS, Peer

from .end_to_end.harness import eventually

ROOT, CHILD, ESCAPED, ORPHAN, OTHER = 10, 11, 12, 13, 14


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Five processes of 10, 20 … ms on each of two threads, with 1000, 2000 … kB: the last has another's session."""
    rows = ((ROOT, 1, ROOT), (CHILD, ROOT, ROOT), (ESCAPED, CHILD, ESCAPED), (ORPHAN, 1, ROOT), (OTHER, 1, 1))
    for number, (pid, parent, session) in enumerate(rows, 1):
        folder = tmp_path / str(pid)
        for thread in ("1", "2"):
            (folder / "task" / thread).mkdir(parents=True)
            (folder / "task" / thread / "schedstat").write_text(f"{number * 10_000_000} 5 7\n")
        (folder / "stat").write_text(f"{pid} (a) b 1 (c) S {parent} {pid} {session} 0 -1\n")
        memory = f"Rss:     {number * 1000} kB\nPss:      {number * 100} kB\nPss_Anon:  7 kB\n"
        (folder / "smaps_rollup").write_text(memory)
    return tmp_path


def test_a_program_is_its_session_and_all_descendants(proc: Path) -> None:
    assert process_tree.members(ROOT, proc) == {ROOT, CHILD, ESCAPED, ORPHAN}
    assert process_tree.processor(ROOT, proc) == pytest.approx(0.2)
    assert process_tree.memory(ROOT, proc) == pytest.approx((10.24, 1.024))


def test_a_process_that_ends_meanwhile_counts_nothing(proc: Path) -> None:
    (proc / str(ORPHAN) / "smaps_rollup").unlink()
    for task in (proc / str(ORPHAN)).glob("task/*/schedstat"):
        task.unlink()

    assert process_tree.processor(ROOT, proc) == pytest.approx(0.12)
    assert process_tree.memory(ROOT, proc)[0] == pytest.approx(6.144)


def test_a_row_has_medians_over_rounds_and_ratios_within_them() -> None:
    figures = Figures()
    for bare, peer, direct in ((1000, 2000, 50), (3000, 4000, 70), (2000, 8000, 60)):
        for row in ("processor, 1", "processor, 20"):
            figures.add(row, BARE, bare)
            figures.add(row, "peer", peer)
        figures.add("latency", DIRECT.name, direct)
        figures.add("latency", BARE, bare)
        figures.add("latency", "peer", peer)

    both = {BARE: (70.0, 60.0), "peer": (90.0, 80.0)}
    rows = bench_peers.table({BARE: "1.0", "peer": "2.0"}, figures, both, {BARE: 1.0, "peer": 2.04})
    text = bench_peers.report(rows, figures, {"gone": "ended with 3"}, 3)

    assert "| mitmdump | 1.0 | 2000 (x1.00) | 2000 (x1.00) | 1940 | 60 (70) | 1.0 |" in text
    assert "| peer | 2.0 | 4000 (x0.50) | 4000 (x0.50) | 3930 | 80 (90) | 2.0 |" in text
    assert text.endswith("\ngone: not measured (ended with 3)")


@pytest.mark.parametrize("source", ["pip", "npm", "apt"])
def test_what_cannot_be_installed_is_a_line(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "CACHE", tmp_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    why = peers.install(Peer("x", lambda _: [], source, "@scope/x", "1.0"))

    assert why.startswith("not installed: ")
    assert "\n" not in why
    assert not (tmp_path / "x-1.0" / "done").exists()


def test_a_peer_is_installed_once_outside_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "npm").write_text('#!/bin/sh\necho "$@" >>calls\n')
    (tmp_path / "npm").chmod(0o755)
    peer = Peer("x", lambda _: [], "npm", "@scope/x", "1.0")

    assert [peers.install(peer), peers.install(peer)] == ["", ""]
    assert (tmp_path / "x-1.0" / "calls").read_text() == "install --prefix . --no-audit --no-fund @scope/x@1.0\n"


def test_the_release_of_each_peer_is_pinned_except_the_distributions() -> None:
    assert [peer.name for peer in PEERS if not peer.version] == [peer.name for peer in PEERS if peer.source == "apt"]


def test_a_peer_that_ends_at_once_is_not_measured_and_says_why(tmp_path: Path) -> None:
    peer = Peer("x", lambda _: ["bash", "-c", "echo no such model; exit 3"])

    with (
        pytest.raises(NotMeasured, match=r"^ended with 3; it printed: no such model$"),
        bench_peers.started(peer, tmp_path / "home", 1),
    ):
        pass


def test_all_processes_of_a_peer_end_with_it(tmp_path: Path) -> None:
    peer = Peer("x", lambda _: ["bash", "-c", "trap '' TERM; sleep 600 & echo $!; exit 3"])

    with pytest.raises(NotMeasured, match="ended with 3") as failed, bench_peers.started(peer, tmp_path / "home", 1):
        pass

    child = Path("/proc") / str(failed.value).rpartition(" ")[2]
    # A killed process ends a moment later, and then stays as a zombie until its new parent looks: without a command.
    assert eventually(lambda: not process_tree._read(child / "cmdline"))


async def _loaded(headers: str) -> list[float]:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        return await bench_peers.load(Running(Peer("x", lambda _: [], headers=headers), port, port), 3, 60.0)


def test_a_load_is_bounded_by_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_peers, "MOST", 30)

    assert 30 <= len(asyncio.run(_loaded("x-session-id: bench-{client}\r\n"))) < 33


def test_an_answer_that_is_an_error_is_not_measured() -> None:
    with pytest.raises(NotMeasured, match=r"^answers 429$"):
        asyncio.run(_loaded("x-account: is-limited\r\n"))


def test_the_provider_is_told_from_others_by_its_answer() -> None:
    assert bench_peers._TEXT in ANSWER
