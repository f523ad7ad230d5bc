"""What a program costs with all the processes it has started, read from /proc."""

from __future__ import annotations

import re
from pathlib import Path

PROC = Path("/proc")
_MEMORY = re.compile(r"^(Rss|Pss): +(\d+) kB$", re.MULTILINE)


def members(root: int, proc: Path = PROC) -> set[int]:
    """Return the processes of the session that *root* leads, and all their descendants."""
    parents, found = dict[int, int](), set[int]()
    for stat in proc.glob("[0-9]*/stat"):
        try:
            # The name of the program comes first, in parentheses, and may itself have spaces and parentheses.
            _, parent, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it has ended meanwhile
        pid = int(stat.parent.name)
        parents[pid] = int(parent)
        if root in (pid, int(session)):
            found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def processor(root: int, proc: Path = PROC) -> float:
    """Return the seconds of processor time that the threads of *root*'s processes have had."""
    tasks = (task for pid in members(root, proc) for task in (proc / str(pid)).glob("task/*/schedstat"))
    return sum(int(text.split()[0]) for task in tasks if (text := _read(task))) / 1e9


def memory(root: int, proc: Path = PROC) -> tuple[float, float]:
    """Return the resident set in MB, and the same with each shared page divided among those that share it."""
    sums = {"Rss": 0, "Pss": 0}
    for pid in members(root, proc):
        for kind, size in _MEMORY.findall(_read(proc / str(pid) / "smaps_rollup")):
            sums[kind] += int(size)
    return sums["Rss"] * 1024 / 1e6, sums["Pss"] * 1024 / 1e6


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
