"""
Which way the imports point. A module or package uses those of lower layers, and others of its own layer without a
circle.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ADDON = Path(__file__).parent.parent / "addon"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        "needs body bounded frozen keyed given_text json_splice content_coding secret_patterns logins form_data"
        " media_types visible_text".split()
    ),
    frozenset({"values"}),
    frozenset({"dialects"}),
    frozenset(
        (
            "base_urls requested_models upstream_url uploads client_claim client_tool credential_places"
            " credential_members tool_recipes"
        ).split()
    ),
    frozenset({"ledger", "account_bound"}),
    frozenset({"correlation", "crosstalk", "answer"}),
    frozenset({"settings"}),
    frozenset({"identity", "accounts"}),
    frozenset({"state", "clients", "guards", "answer_urls", "returned_stamps", "unasked_counts"}),
    frozenset({"exchange", "transcript", "stand_in_key"}),
    frozenset({"failover", "replacement", "destinations", "given_addresses", "websocket_history"}),
    frozenset({"access", "request_editor"}),
    frozenset({"router"}),
    frozenset({"store", "journal"}),
    frozenset({"proxy"}),
    frozenset({"main", "launch", "cli"}),
)
LAYER_OF = {unit: number for number, modules in enumerate(LAYERS) for unit in modules}
DOES_IO = frozenset(
    {"needs", "store", "journal", "proxy", "main", "launch", "cli"}
)  # may touch files, clocks, sockets and logs
KNOWS_MITMPROXY = frozenset({"proxy", "main"})  # may know mitmproxy

# What the other modules may use besides the standard library.
LIBRARIES = frozenset({"backports", "blake3", "brotli", "compression", "msgspec", "yaml"})
OUTSIDE = frozenset(
    {
        "asyncio", "concurrent", "contextvars", "fcntl", "ftplib", "getpass", "glob", "http", "logging",
        "multiprocessing", "os", "pathlib", "platform", "queue", "random", "sched", "secrets", "select", "selectors",
        "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "syslog",
        "tempfile", "threading", "time", "urllib.request", "uuid", "warnings", "webbrowser",
    }
)  # fmt: skip
HARMLESS = frozenset({"random.Random"})  # a generator handed in is a value like any other
IO_CALLS = frozenset({"open", "print", "input", "breakpoint"})
CLOCKS = frozenset({"datetime.now", "datetime.utcnow", "datetime.today", "date.today"})


@dataclass(frozen=True)
class Import:
    """
    One imported name. *target* is dotted from the package's own root when *ours*, else the module's full name.

    *runtime* is False under `if TYPE_CHECKING:`.
    """

    unit: str
    line: int
    target: str
    ours: bool
    runtime: bool = True


def test_every_import_points_the_right_way() -> None:
    mistakes = [mistake for file, module in _modules() for mistake in mistakes_in(file.read_text(), module)]

    assert not mistakes, "\n" + "\n".join(mistakes)


def test_no_two_modules_use_each_other() -> None:
    """Imports for types alone count: a reader follows them too."""
    uses: dict[str, set[str]] = {}
    names = {_dotted(module) for _, module in _modules()}
    for file, module in _modules():
        targets = {found.target for found in _imports(ast.parse(file.read_text()), module) if found.ours}
        uses[_dotted(module)] = {_module_of(target, names) for target in targets}

    assert not (ring := circle(uses)), " → ".join(ring)


def test_no_module_hides_one_of_the_standard_library() -> None:
    """mitmproxy puts the script's folder on `sys.path` while it loads the script."""
    names = {path.stem for path in ADDON.iterdir()}

    assert not names & sys.stdlib_module_names


def test_only_the_shim_is_loaded_by_mitmproxy() -> None:
    """Every top-level name of the shim could be taken for a hook, so there are hardly any."""
    tree = ast.parse((ADDON / "main.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    values = [target.id for node in tree.body if isinstance(node, ast.Assign) for target in _names(node)]

    assert (names, values) == (["_register"], ["addons"])


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("accounts.pool", "from ..router import Router", "accounts must not use router"),
        ("accounts.pool", "from .. import journal", "accounts must not use journal"),
        ("values", "from .ledger import Ledger", "values must not use ledger"),
        ("router", "from .proxy.credentials import Credentials", "router must not use proxy"),
        ("router", "from .store import Store", "router must not use store"),
        ("proxy.hooks", "from ..cli import main", "proxy must not use cli"),
        ("dialects.anthropic", "def f():\n    from ..answer import Answer", "dialects must not use answer"),
        ("cli.main", "import mitmproxy.http", "cli must not know mitmproxy"),
        ("router", "import mitmproxy", "router must not know mitmproxy"),
        ("identity.signals", "import patchbay.values", "imports inside the package are relative"),
        ("identity.signals", "from time import monotonic", "identity must not use time"),
        ("identity.signals", "import os.path", "identity must not use os"),
        ("identity.signals", "import urllib.request", "identity must not use urllib.request"),
        ("identity.signals", "from urllib import request", "identity must not use urllib.request"),
        ("identity.signals", "import random", "identity must not use random"),
        ("identity.signals", "import httpx", "identity must not use httpx"),
        ("answer", "print('hello')", "answer must not call print"),
        ("answer", "at = datetime.now(tz=UTC)", "answer must not call datetime.now"),
        ("attic", "x = 1", "attic has no layer"),
    ],
)
def test_a_wrong_turn_is_named(module: str, source: str, complaint: str) -> None:
    found = mistakes_in(source, tuple(module.split(".")))

    assert [complaint in mistake for mistake in found] == [True]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("router", "from .accounts.pool import Accounts\nfrom . import correlation\nfrom random import Random"),
        ("values.http", "if TYPE_CHECKING:\n    from ..body import Body"),
        ("dialects", "from ..values import Endpoint\nfrom . import anthropic"),
        ("proxy.upstream_stream", "import asyncio, time, mitmproxy\nfrom ..journal import Journal\nprint(open('x'))"),
        ("cli.main", "import os\nfrom ..proxy import hooks"),
        ("identity.history", "import msgspec\nfrom blake3 import blake3\nfrom urllib.parse import urlsplit"),
    ],
)
def test_the_right_way_is_let_through(module: str, source: str) -> None:
    path = (*module.split("."), "__init__") if module == "dialects" else tuple(module.split("."))

    assert mistakes_in(source, path) == []


def test_a_circle_is_found() -> None:
    assert circle({"answer": {"values", "crosstalk"}, "crosstalk": {"answer", "crosstalk"}}) == [
        "answer",
        "crosstalk",
        "answer",
    ]


def mistakes_in(source: str, module: tuple[str, ...]) -> list[str]:
    """Return what is wrong in *source*, which stands at *module* below the package, one readable line each."""
    unit, place = module[0], "addon/" + "/".join(module) + ".py"
    if unit not in LAYER_OF:
        return [f"{place}: {unit} has no layer; give it one in {Path(__file__).name}"]
    tree = ast.parse(source)
    found = [(one.line, wrong) for one in _imports(tree, module) if (wrong := _objection(one))]
    if unit not in DOES_IO:
        found += [(line, f"{unit} must not call {name}") for line, name in _calls(tree)]
    return [f"{place}:{line}: {wrong}" for line, wrong in sorted(set(found))]


def circle(uses: dict[str, set[str]]) -> list[str]:
    """Return one ring of modules that use each other, its first at both ends, or nothing."""

    clean: set[str] = set()  # on no ring: each unit is searched once

    def search(unit: str, path: list[str]) -> list[str]:
        if unit in path:
            return [*path[path.index(unit) :], unit]
        if unit in clean:
            return []
        rings = (search(other, [*path, unit]) for other in sorted(uses.get(unit, ())) if other != unit)
        if ring := next((ring for ring in rings if ring), []):
            return ring
        clean.add(unit)
        return []

    return next((ring for unit in sorted(uses) if (ring := search(unit, []))), [])


def _dotted(module: tuple[str, ...]) -> str:
    return ".".join(module[:-1] if module[-1] == "__init__" else module)


def _module_of(target: str, names: set[str]) -> str:
    """Return the module that *target* is, or in which it is defined."""
    return target if target in names else target.rpartition(".")[0]


def _objection(found: Import) -> str:
    unit, target = found.unit, found.target
    if found.ours:
        other = target.split(".")[0]
        if other != unit and LAYER_OF.get(other, len(LAYERS)) > LAYER_OF[unit]:
            return f"{unit} must not use {other}, which stands above it"
        return ""
    top = target.split(".")[0]
    if top == "patchbay":
        return "" if unit == "main" else "imports inside the package are relative"
    if top == "mitmproxy":
        return "" if unit in KNOWS_MITMPROXY else f"{unit} must not know mitmproxy"
    return "" if unit in DOES_IO else _objection_without_io(unit, target)


def _objection_without_io(unit: str, target: str) -> str:
    parts = target.split(".")
    if target in HARMLESS or parts[0] in LIBRARIES:
        return ""
    if parts[0] not in sys.stdlib_module_names:
        return f"{unit} must not use {parts[0]}"
    for name in (parts[0], ".".join(parts[:2])):
        if name in OUTSIDE:
            return f"{unit} must not use {name}: it gets such things handed in"
    return ""


def _imports(tree: ast.Module, module: tuple[str, ...]) -> Iterator[Import]:
    for_types = {id(inner) for node in ast.walk(tree) if _is_type_checking(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        runtime = id(node) not in for_types
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module[0], node.lineno, alias.name, ours=False, runtime=runtime)
        elif isinstance(node, ast.ImportFrom):
            above = module[: len(module) - node.level] if node.level else ()
            base = [*above, *(node.module.split(".") if node.module else ())]
            for alias in node.names:
                target = ".".join([*base, alias.name])
                yield Import(module[0], node.lineno, target, ours=bool(node.level), runtime=runtime)


def _calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in IO_CALLS | CLOCKS:
            yield node.lineno, name


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _names(node: ast.Assign) -> list[ast.Name]:
    return [target for target in node.targets if isinstance(target, ast.Name)]


def _modules() -> Iterator[tuple[Path, tuple[str, ...]]]:
    for file in sorted(ADDON.rglob("*.py")):
        module = file.relative_to(ADDON).with_suffix("").parts
        if module != ("__init__",):  # the package itself: words only
            yield file, module
