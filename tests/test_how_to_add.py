"""The recipes of "How to add" in docs/architecture.md, followed in a copy of the package: each addition works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Insertion:
    """*text* goes into *file* after the first line that matches *line*."""

    file: str
    line: str
    text: str


PRESETS, SETTINGS, READER = (f"addon/settings/{name}.py" for name in ("presets", "settings", "reader"))
SELECTION, SIGNALS, MAIN = "addon/accounts/selection.py", "addon/identity/signals.py", "addon/cli/main.py"
DETECTORS = "addon/crosstalk/detectors/__init__.py"
LOUD = """
def loud(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    if str(fact.value).endswith("!"):
        yield finding("loud-model", FAMILY, "weak", fact, "a model without an exclamation mark")


"""
LAST_FIRST = """
def last_first(seed: str, candidates: Sequence[Account], state: SelectionState) -> list[Account]:
    return list(reversed(candidates))


"""
GREET = """
def greet(_: argparse.Namespace) -> int:
    print("hello")
    return 0


"""
# a row of the table → what it tells to add
RECIPES: dict[str, tuple[Insertion, ...]] = {
    "provider": (
        Insertion(
            PRESETS,
            r"    for preset in \(",
            '_preset("acme", _OPENAI, "https://acme.example/v1"),\n',
        ),
    ),
    "session signal": (Insertion(SIGNALS, r"SIGNALS: .*\(", '*_headers("generic_header", "x-acme-session"),\n'),),
    "strategy": (
        Insertion(SELECTION, r'    """Keep the order of the settings."""\n    return .*', LAST_FIRST),
        Insertion(SELECTION, r"STRATEGIES: .*\{", '"last_first": Strategy(last_first, last_first),\n'),
        Insertion(SETTINGS, r"StrategyName = Literal\[.*\]", 'StrategyName = Literal["rendezvous", "last_first"]\n'),
    ),
    "detector": (
        Insertion("addon/crosstalk/detectors/model.py", r'FAMILY = "model"', LOUD),
        Insertion(DETECTORS, r"DETECTORS: .*\{", '"loud-model": Detector(model.loud, frozenset({"model"})),\n'),
    ),
    "sub-command": (
        Insertion(MAIN, r"EXIT_BROKEN_PIPE = .*", GREET),
        Insertion(MAIN, r"COMMANDS: .*\(", 'Command("greet", "say hello", greet),\n'),
    ),
    "setting": (
        Insertion(SETTINGS, r"    attempts: int = .*", "    pause: float = 0.0\n"),
        Insertion(READER, r"FAILOVER = Section\(\n    \{", '"pause": yaml_document.seconds,\n'),
        Insertion("config.example.yaml", r"failover:", "  #pause: 0s\n"),
        Insertion("docs/settings.md", r"## failover\n\n.*\n.*", "| `pause` | `0` | how long to pause |\n"),
    ),
    "setting of an account or a provider": (
        Insertion("addon/values/account.py", r'    group: str = ""', '    note: str = ""\n'),
        Insertion(READER, r"ACCOUNT = Section\(\n    \{", '"note": syntax.shown_text,\n'),
        Insertion("config.example.yaml", r"    group: work", "    note: mine\n"),
        Insertion("docs/settings.md", r"\| `group` \|.*", "| `note` | none | a remark |\n"),
    ),
}
ELSEWHERE = frozenset({"dialect"})  # tests/dialects/test_dialects.py adds one


def table() -> dict[str, str]:
    """Return the table of the documentation: what is added → where."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.partition("\n## How to add")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z][a-z -]*) \| (.+) \|$", section, re.MULTILINE)
    return dict(rows)


def places(row: str) -> set[str]:
    """Return the files and folders that *row* of the table names."""
    return {
        *re.findall(r"`((?:addon/|config)[\w./]+)`", row),
        *(f"docs/{name}" for name in re.findall(r"\]\((\w+\.md)", row)),
    }


def insert(insertion: Insertion, tree: Path) -> None:
    file = tree / insertion.file
    text = file.read_text(encoding="utf-8")
    found = re.search(rf"(?m)^{insertion.line}\n", text)
    assert found, f"{insertion.file} has no line {insertion.line}"
    file.write_text(text[: found.end()] + insertion.text + text[found.end() :], encoding="utf-8")


def within(file: str, place: str) -> bool:
    return file == place or file.startswith(f"{place}/")


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What came of everything that was added to a copy."""
    tree = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "addon", tree / "addon", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "patchbay").symlink_to("addon")
    (tree / "docs").mkdir()
    for name in ("config.example.yaml", "docs/settings.md"):
        shutil.copy(ROOT / name, tree / name)
    for insertion in (each for recipe in RECIPES.values() for each in recipe):
        insert(insertion, tree)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("add_everything.py")],
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert not done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("what", "came"),
    [
        ("provider", ["acme", "https://acme.example:443", 200]),
        ("session signal", [2, "generic_header"]),
        ("strategy", "two"),
        ("detector", ["loud-model"]),
        ("detector, disabled", []),
        ("sub-command", [0, "hello\n"]),
        ("setting", [0.0, 2.0]),
        ("setting of an account", ["", "mine"]),
    ],
)
def test_what_is_added_by_its_recipe_works(added: dict[str, object], what: str, came: object) -> None:
    assert added[what] == came


def test_every_row_of_the_table_has_a_recipe() -> None:
    assert table().keys() == RECIPES.keys() | ELSEWHERE


@pytest.mark.parametrize("what", RECIPES)
def test_a_recipe_touches_the_places_that_its_row_names(what: str) -> None:
    touched, named = {each.file for each in RECIPES[what]}, places(table()[what])

    assert {file for file in touched if not any(within(file, place) for place in named)} == set()
    assert {place for place in named if not any(within(file, place) for file in touched)} == set()
