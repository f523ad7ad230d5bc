"""
The scripts: the shell in a checkout of stand-ins, with no network, no mitmproxy, and programs that only say what they
got; and of the programs behind it the parts that a run reaches late, or that only a rare run reaches.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from mitmproxy.test import tflow

from patchbay.proxy.upstream_stream import PatchbayStream
from scripts import bench_detection, score_talks, soak_probe

from .crosstalk.world import NAMES
from .proxy.addon import patchbay, service
from .test_router import opened, request, routed

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path for path in (*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run") if path.is_file())
PROGRAMS = sorted(
    path.stem for path in (ROOT / "scripts").glob("*.py") if '\nif __name__ == "__main__":\n' in path.read_text("utf-8")
)
SHELL = [path for path in SCRIPTS if "bash" in path.read_text(encoding="utf-8").split("\n", 1)[0]]

# What a script may find on the PATH besides what a test puts there; no Python among it.
TOOLS = ("bash", "chmod", "cmp", "cp", "dirname", "env", "ln", "mkdir", "rm", "sed")

# Python as far as scripts/bootstrap knows it: it has an age, makes venvs, and installs packages.
PYTHON = """\
#!/usr/bin/env bash
case "$*" in
    -c*) exit {too_old} ;;
    *"-m venv"*)
        mkdir -p .venv/bin .venv/lib/python3.12/site-packages && cp "$0" .venv/bin/python
        echo "venv $0" >>calls ;;
    *"-m pip"*) echo "$*" >>calls && exit {pip} ;;
    *) echo "python $*" ;;
esac
"""


class Checkout:
    """A copy of the scripts with a fake Python beside them, and nothing else on the PATH that could help."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "path"
        self.bin.mkdir(parents=True)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        (folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
        (folder / "addon").mkdir()
        (folder / "requirements-dev.txt").write_text("blake3==1.0.11\n")

    def program(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def python(self, path: str = "path/python3.12", *, too_old: int = 0, pip: int = 0) -> None:
        self.program(path, PYTHON.format(too_old=too_old, pip=pip))

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / command[0]), *command[1:]],
            cwd=cwd or self.folder,
            env={"PATH": str(self.bin), "HOME": str(self.folder / "home"), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def bare(tmp_path: Path) -> Checkout:
    """A fresh clone on a machine without Python."""
    return Checkout(tmp_path / "clone")


@pytest.fixture
def ready(bare: Checkout) -> Checkout:
    """A clone in which everything is installed."""
    bare.python(".venv/bin/python")
    shutil.copy(bare.folder / "requirements-dev.txt", bare.folder / ".venv")
    return bare


@pytest.mark.parametrize("script", SHELL, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_script_can_be_run_and_stops_at_the_first_failure(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
    subprocess.run([shutil.which("bash") or "bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("script", [path.name for path in SHELL if path.parent.name == "scripts"])
def test_a_script_answers_help_or_leaves_it_to_a_program(ready: Checkout, script: str) -> None:
    done = ready.run(f"scripts/{script}", "--help")

    assert (done.returncode, done.stderr) == (0, "")
    if passed := re.fullmatch(r"python -m scripts\.(\w+)(?: \w+)? --help\n", done.stdout):
        assert passed[1] in PROGRAMS
    else:
        assert f"scripts/{script}" in done.stdout or re.fullmatch(
            "python (-m pytest |-P -m patchbay.cli (run )?)?--help\n", done.stdout
        )


def test_the_types_are_checked_with_the_paths_of_the_checkout(ready: Checkout) -> None:
    says = '[[ $* != -c* ]] || exit 0\necho ".venv/import/patchbay/body.py:1: $*"\nexit 7\n'
    ready.program(".venv/bin/python", f"#!/usr/bin/env bash\n{says}")
    done = ready.run("scripts/check", "types")

    assert (done.stdout, done.returncode) == ("addon/body.py:1: -m mypy\n", 7)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_answers_help(program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    scenario = ["concurrent"] if program == "scenarios" else []
    monkeypatch.setattr("sys.argv", [program, *scenario, "--help"])

    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"scripts.{program}").main()

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def _options_used() -> list[tuple[str, str]]:
    """Return the scripts and options that stand in other scripts."""
    text = "\n".join((ROOT / name).read_text("utf-8").replace("\\\n", " ") for name in ("scripts/prove", ".ci/run"))
    lines = re.findall(r"^(?: *part)?(?: *env)?(?: \w+=\S+)* *scripts/(\w+) ([^#\n]*)", text, re.MULTILINE)
    options = [(script, option) for script, rest in lines for option in re.findall(r"(?<!\S)--[\w-]+", rest)]
    return sorted(set(options))


@pytest.mark.slow
@pytest.mark.parametrize(("script", "option"), _options_used())
def test_an_option_that_the_proof_or_the_gate_gives_is_one(script: str, option: str) -> None:
    passed = re.search(r"-m (scripts\.\w+)", (ROOT / "scripts" / script).read_text("utf-8"))
    assert passed
    assert f'"{option}"' in (ROOT / f"{passed[1].replace('.', '/')}.py").read_text("utf-8")


def test_the_test_files_of_the_proof_exist() -> None:
    files = re.findall(r"tests/[\w/]+\.py", (ROOT / "scripts" / "prove").read_text("utf-8"))

    assert len(files) == 4
    assert all((ROOT / file).is_file() for file in files)


def test_the_probe_of_the_soak_counts_what_a_running_addon_holds(tmp_path: Path) -> None:
    async def counted() -> list[dict[str, int]]:
        with patchbay(tmp_path) as addon:
            before, router = soak_probe.left(), service(addon).router
            lease = routed(router, opened(router, request()))
            held = lease, tflow.tflow(), PatchbayStream.__new__(PatchbayStream), asyncio.create_task(asyncio.sleep(0))
            return [before, soak_probe.left(), {"held": len(held)}]

    before, after, _ = asyncio.run(counted())

    assert {name: after[name] - before[name] for name in before} == {
        "tasks": 1, "streams": 1, "flows": 1, "in flight": 1, "connections": 0,
    }  # fmt: skip


def test_the_probe_of_the_soak_answers_once_it_is_asked(tmp_path: Path) -> None:
    async def answered() -> None:
        with patchbay(tmp_path):
            probe = soak_probe.Probe(tmp_path / "probe")
            probe.answer()
            assert not (tmp_path / "probe").exists()
            (tmp_path / "probe.ask").touch()
            probe.answer()

    asyncio.run(answered())

    assert json.loads((tmp_path / "probe").read_text())["tasks"] == 1
    assert not (tmp_path / "probe.ask").exists()


@pytest.mark.slow
def test_the_cost_of_detection_is_measured_in_every_dialect() -> None:
    costs = bench_detection.measured(1)

    assert set(costs) == set(NAMES)
    assert all(cost.with_it and cost.without for cost in costs.values())


def test_the_first_run_installs_the_pins_and_the_second_does_nothing(bare: Checkout) -> None:
    bare.python()

    first, second = bare.run("scripts/bootstrap"), bare.run("scripts/bootstrap")

    assert (first.returncode, second.returncode) == (0, 0)
    assert "once" in first.stderr
    assert second.stderr == ""
    assert [call.split()[0] for call in bare.calls] == ["venv", "-m"]
    assert "--require-hashes -r requirements-dev.txt" in bare.calls[1]


def test_new_pins_are_installed_into_the_same_venv(bare: Checkout) -> None:
    bare.python()
    bare.run("scripts/bootstrap")
    (bare.folder / "requirements-dev.txt").write_text("blake3==1.0.12\n")

    assert bare.run("scripts/bootstrap").returncode == 0
    assert [call.split()[0] for call in bare.calls] == ["venv", "-m", "-m"]


def test_the_package_is_found_under_its_name_wherever_the_checkout_moves(bare: Checkout) -> None:
    bare.python()
    bare.run("scripts/bootstrap")
    moved = bare.folder.rename(bare.folder.parent / "moved")

    packages = moved / ".venv" / "lib" / "python3.12" / "site-packages"
    line = (packages / "patchbay.pth").read_text().strip()
    assert (packages / line / "patchbay").resolve() == moved / "addon"


@pytest.mark.parametrize(
    "place", ["path/python3.14", "path/python3.12", "path/python3", "home/.pyenv/versions/3.12.1/bin/python"]
)
def test_python_is_found(bare: Checkout, place: str) -> None:
    bare.python(place)

    assert bare.run("scripts/bootstrap").returncode == 0
    assert bare.calls[0].endswith(place.removeprefix("path/"))


def test_an_old_python_and_a_shim_that_fails_are_passed_over(bare: Checkout) -> None:
    bare.python("path/python3", too_old=1)
    bare.program("path/python3.14", "#!/usr/bin/env bash\nexit 127\n")
    bare.python("pyenv/versions/3.11.7/bin/python", too_old=1)
    bare.python("pyenv/versions/3.13.0/bin/python")

    assert bare.run("scripts/bootstrap", PYENV_ROOT=str(bare.folder / "pyenv")).returncode == 0
    assert bare.calls[0].endswith("3.13.0/bin/python")


def test_a_python_that_uv_knows_is_found(bare: Checkout) -> None:
    bare.python("uv/python3.13")
    bare.program("path/uv", f"#!/usr/bin/env bash\necho {bare.folder}/uv/python3.13\n")

    assert bare.run("scripts/bootstrap").returncode == 0
    assert bare.calls[0].endswith("uv/python3.13")


def test_where_python_makes_no_venv_uv_does(bare: Checkout) -> None:
    """Debian's Python comes without what a venv needs."""
    bare.program("path/python3", '#!/usr/bin/env bash\n[[ "$*" != *venv* ]]\n')
    bare.python("elsewhere/python")
    bare.program(
        "path/uv", '#!/usr/bin/env bash\n[[ $1 == venv ]] && ./elsewhere/python -m venv && echo "$*" >>calls\n'
    )

    assert bare.run("scripts/bootstrap").returncode == 0
    assert bare.calls[1] == "venv --quiet --clear --seed --python 3.12 .venv"


def test_without_a_python_one_line_says_what_to_do(bare: Checkout) -> None:
    done = bare.run("scripts/test")

    assert done.returncode == 1
    assert done.stderr.startswith("patchbay: needs Python 3.12 or newer")
    assert done.stderr.count("\n") == 1


def test_a_failed_install_is_not_taken_for_done(bare: Checkout) -> None:
    bare.python(pip=1)

    failed = bare.run("scripts/bootstrap")
    assert failed.returncode == 1
    assert "could not install requirements-dev.txt" in failed.stderr

    bare.python(".venv/bin/python")
    assert bare.run("scripts/bootstrap").returncode == 0


def test_the_pins_are_exact_and_name_no_place() -> None:
    text = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    requirements = [line for line in text.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]

    assert all(re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:", line) for line in requirements)
    assert "://" not in text
    assert {_name(line) for line in wanted} <= {_name(line) for line in requirements}


def test_arguments_of_test_go_to_pytest(ready: Checkout) -> None:
    assert ready.run("scripts/test", "-k", "two words").stdout == "python -m pytest -k two words\n"


def test_a_whole_run_of_test_has_more_workers_than_cores(ready: Checkout) -> None:
    assert ready.run("scripts/test").stdout == "python -m pytest -n 4 --dist worksteal\n"
    assert ready.run("scripts/test", "--fast").stdout == "python -m pytest -n 2 --dist worksteal --fast\n"


def test_run_is_the_command_of_the_checkout_in_the_folder_of_its_user(ready: Checkout) -> None:
    """T1: Python does not look for modules in that folder, which may hold a mitmproxy.py or a json.py."""
    says = '[[ $* != -c* ]] || exit 0\necho "$PWD: $*"\nexit 7\n'
    ready.program(".venv/bin/python", f"#!/usr/bin/env bash\n{says}")
    here = ready.folder / "elsewhere"
    here.mkdir()
    done = ready.run("scripts/run", "web", "--", "tool", "two words", cwd=here)

    assert (done.stdout, done.returncode) == (f"{here}: -P -m patchbay.cli run web -- tool two words\n", 7)


@pytest.mark.parametrize(
    ("failing", "code", "ran"),
    [
        (
            "",
            0,
            [
                "check",
                "demo",
                "starts",
                "day",
                "crosstalk_score",
                "test",
                "bench_instructions",
                "wheel",
                "clients",
                "new_user",
            ],
        ),
        ("check", 3, ["check"]),
        ("demo", 4, ["check", "demo"]),
    ],
)
def test_the_gate_goes_in_order_and_stops_at_the_first_failure(
    bare: Checkout, failing: str, code: int, ran: list[str]
) -> None:
    for script in (
        "check",
        "demo",
        "starts",
        "day",
        "crosstalk_score",
        "test",
        "bench_instructions",
        "wheel",
        "clients",
        "new_user",
    ):
        bare.program(
            f"scripts/{script}", f"#!/usr/bin/env bash\necho {script}; exit {code if script == failing else 0}"
        )

    done = bare.run(".ci/run")

    assert (done.returncode, done.stdout.split()) == (code, ran)


PARTS = (
    "test", "crosstalk_score", "honest_hosts", "crosstalk_concurrent", "crosstalk_team", "crosstalk_models",
    "rapid_sequential", "chaos", "day", "soak",
)  # fmt: skip


@pytest.mark.parametrize(("failing", "code"), [("", 0), ("chaos", 1), ("crosstalk_team", 4), ("test", 2)])
def test_the_proof_runs_every_part_and_counts_those_that_failed(bare: Checkout, failing: str, code: int) -> None:
    for script in PARTS:
        text = f'#!/usr/bin/env bash\necho "ran {script} $*"; [[ {script} != "{failing}" ]]'
        bare.program(f"scripts/{script}", text)

    done = bare.run("scripts/prove", "7")

    ran = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ran ")]
    assert (done.returncode, set(ran)) == (code, set(PARTS))
    assert "ran crosstalk_score --seed 7 --scale 1\n" in done.stdout
    assert ("all checks passed" in done.stdout) == (code == 0)
    assert done.stdout.count(f"failed: scripts/{failing or 'nothing'}") == (code if failing != "test" else 0)


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return found[0].lower().replace(".", "-")


def test_the_part_of_conversations_finds_what_is_exchanged_and_suspects_nothing_right() -> None:
    row = score_talks.mixed(score_talks.Place("anthropic", False, "right"), 1, 0.1)
    assert row.wrong >= row.continued > 0
    assert row.at_once >= 0.5 * row.wrong  # so few show no more
    assert row.later >= 0.9 * row.continued
    assert (row.rightly, row.accused) == (row.named, 0)

    told: list[str] = []
    right = score_talks.clean(1, 0.002, lambda part, done, of: told.append(part))
    assert right.right >= 80
    assert (right.accused, right.suspected, set(told)) == (0, 0, {"talks: right answers"})


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, True), ({"at_once": 74}, False), ({"later": 85}, False), ({"rightly": 98}, False),
        ({"named": 0, "rightly": 0}, True),
    ],
)  # fmt: skip
def test_the_part_of_conversations_holds_by_what_was_found_and_named(changed: dict[str, int], holds: bool) -> None:
    found = {"wrong": 100, "at_once": 75, "continued": 90, "later": 86, "named": 100, "rightly": 99} | changed
    row = score_talks.Row(**found)

    assert score_talks._holds(row, [row]) is holds
    assert score_talks._holds(row, [score_talks.Row()]) is (holds or "later" in changed)
    assert score_talks._line("whole", row).startswith("| whole | 100 | 7")
