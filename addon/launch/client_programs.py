"""Which tool a command starts, also through `env`, `npx` and their like, and where in the command its name stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from ..tool_recipes import RECIPES

# Programs that run another one. Each with those of its options that take a value.
_RUNNERS = {
    "env": ("-u", "--unset", "-C", "--chdir"),
    "npx": ("-p", "--package", "-c", "--call", "--cache"),
    "bunx": ("-p", "--package"),
    "pnpx": ("-p", "--package"),
    "uvx": ("--from", "--with", "--python", "-p"),
    "pipx": ("--spec", "--python", "--pip-args"),
    "pnpm": ("--package",),
    "yarn": ("-p", "--package"),
    "bun": (),
    "node": ("-r", "--require", "--import", "-C"),
    "nice": ("-n",),
    "nohup": (),
    "time": (),
    "exec": (),
    "caffeinate": ("-t", "-w"),
    "stdbuf": ("-i", "-o", "-e"),
}
_VERBS = {"pipx": {"run"}, "pnpm": {"dlx", "exec"}, "yarn": {"dlx", "exec"}, "bun": {"x", "run"}}
_PACKAGES = {each.package: each.program for each in RECIPES}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_VERSION = re.compile(r"(?<=.)@[^@/]*$")  # of a package: `@openai/codex@latest`
_SUFFIX = re.compile(r"\.(?:exe|cmd|[cm]?js)$")


def find(command: Sequence[str]) -> tuple[str, int]:
    """
    Return the name of the program that *command* runs in the end, and the position of the word that names it.

    A package is named by its program: `npx @openai/codex@latest` is `codex`.
    """
    at = 0
    while at < len(command):
        name = _name(command[at])
        if name not in _RUNNERS:
            return name, at
        following = _argument(command, at + 1, name)
        if following is None:
            return name, at
        at = following
    return "", 0


def _argument(command: Sequence[str], at: int, runner: str) -> int | None:
    """Return the position of the program that *runner* is told to run, looking from *at* on."""
    verbs = _VERBS.get(runner, set())
    while at < len(command):
        word = command[at]
        if word in _RUNNERS[runner]:
            at += 2
        elif word.startswith("-") or word in verbs or (runner == "env" and _ASSIGNMENT.match(word)):
            at += 1
        else:
            return at
    return None


def _name(word: str) -> str:
    package = _VERSION.sub("", word)
    if package in _PACKAGES:
        return _PACKAGES[package]
    for package, program in _PACKAGES.items():
        if f"/node_modules/{package}/" in word:
            return program
    return _SUFFIX.sub("", PurePath(word).name)
