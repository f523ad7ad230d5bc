"""`scripts/bench_profile` gives every call to the area of the file that it is in, or that called a C function."""

from __future__ import annotations

import pytest

from scripts.bench_profile import ROOT, area, by_area

HOOKS, LAYER, HEAPQ = f"{ROOT}/addon/proxy/hooks.py", "/lib/site-packages/mitmproxy/proxy/layer.py", "/lib/heapq.py"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (HOOKS, "hooks, heads, redaction, record"),
        (f"{ROOT}/addon/proxy/host/steps.py", "the host steps"),
        (f"{ROOT}/.venv/import/patchbay/proxy/host/steps.py", "the host steps"),
        (f"{ROOT}/addon/proxy/upstream_layer.py", "the connections to the upstream"),
        (f"{ROOT}/addon/router.py", "story, guards, correlation, values"),
        (LAYER, "mitmproxy"),
        (HEAPQ, "Python's library"),
        (f"{ROOT}/scripts/bench_driver.py", ""),
    ],
)
def test_a_file_is_of_one_area(path: str, name: str) -> None:
    assert area(path) == name


def test_a_c_function_belongs_to_who_called_it() -> None:
    callers = {(HOOKS, 1, "a"): (2, 2, 0.2, 0.2), (LAYER, 1, "b"): (3, 3, 0.3, 0.3)}
    stats = {(HOOKS, 1, "a"): (1, 1, 0.5, 0.7, {}), ("~", 0, "<len>"): (5, 5, 0.5, 0.5, callers)}

    seconds, calls = by_area(stats)

    assert calls == {"hooks, heads, redaction, record": 3, "mitmproxy": 3}
    assert seconds == pytest.approx({"hooks, heads, redaction, record": 0.7, "mitmproxy": 0.3})
