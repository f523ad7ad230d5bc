"""The clients that people use: what to install, how each is pointed at an endpoint, and how it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

KEY = "client-key-that-must-not-go-up"  # what the client is told its key is


@dataclass(frozen=True, slots=True)
class Recipe:
    """
    One client. *version* is the release this was made with; *home* writes its settings below a home folder, for the
    endpoint of a mode, and returns its environment. *first* and *next* are its arguments for one question.
    """

    name: str
    package: str
    version: str
    program: str
    provider: str  # whose official endpoint it uses in regular mode
    home: Callable[[Path, str], Mapping[str, str]]
    first: Callable[[str], Sequence[str]]
    next: Callable[[str], Sequence[str]]
    modes: tuple[str, ...] = ("reverse", "regular", "look", "run", "run-look")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _claude(home: Path, url: str) -> Mapping[str, str]:
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


def _codex(home: Path, url: str, *, sockets: bool = False) -> Mapping[str, str]:
    _write(
        home / ".codex" / "config.toml",
        'model = "sim-large"\nmodel_provider = "bay"\n[model_providers.bay]\nname = "bay"\n'
        f'base_url = "{url}/v1"\nwire_api = "responses"\nenv_key = "BAY_KEY"\n'
        f"supports_websockets = {'true' if sockets else 'false'}\n"
        "[analytics]\nenabled = false\n",
    )
    return {"CODEX_HOME": str(home / ".codex"), "BAY_KEY": KEY}


def _gemini(home: Path, url: str) -> Mapping[str, str]:
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {"enableAutoUpdate": False, "disableAutoUpdate": True},
    }
    _write(home / ".gemini" / "settings.json", json.dumps(settings))
    return {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": KEY, "GEMINI_CLI_TRUST_WORKSPACE": "true"}


def _qwen(home: Path, url: str) -> Mapping[str, str]:
    settings = {"privacy": {"usageStatisticsEnabled": False}, "telemetry": {"enabled": False}}
    _write(home / ".qwen" / "settings.json", json.dumps(settings))
    return {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": KEY, "OPENAI_MODEL": "sim-large"}


def _opencode(home: Path, url: str) -> Mapping[str, str]:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "bay",
        "options": {"baseURL": f"{url}/v1", "apiKey": KEY},
        "models": {"sim-large": {"name": "sim-large"}},
    }
    settings = {"provider": {"bay": provider}, "model": "bay/sim-large", "autoupdate": False, "share": "disabled"}
    _write(home / ".config" / "opencode" / "opencode.json", json.dumps(settings))
    return {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        "Claude Code", "@anthropic-ai/claude-code", "2.1.329", "claude", "anthropic", _claude,
        first=lambda text: ("-p", text),
        next=lambda text: ("-c", "-p", text),
    ),
    Recipe(
        "Codex", "@openai/codex", "0.169.0", "codex", "openai", _codex,
        first=lambda text: ("exec", "--skip-git-repo-check", text),
        next=lambda text: ("exec", "resume", "--last", "--skip-git-repo-check", text),
    ),
    Recipe(
        "Codex, sockets", "@openai/codex", "0.169.0", "codex", "openai", partial(_codex, sockets=True),
        first=lambda text: ("exec", "--skip-git-repo-check", text),
        next=lambda text: ("exec", "resume", "--last", "--skip-git-repo-check", text),
        modes=("reverse", "regular", "look", "run-look"),
    ),
    Recipe(
        "Gemini CLI", "@google/gemini-cli", "0.61.0", "gemini", "gemini", _gemini,
        first=lambda text: ("-m", "sim-large", "-p", text),  # a model of its own choice is chosen by a model
        next=lambda text: ("-m", "sim-large", "--resume", "latest", "-p", text),
    ),
    Recipe(
        "Qwen Code", "@qwen-code/qwen-code", "0.24.4", "qwen", "openai", _qwen,
        first=lambda text: ("--auth-type", "openai", "-p", text),
        next=lambda text: ("--auth-type", "openai", "--continue", "-p", text),
    ),
    Recipe(
        "OpenCode", "opencode-ai", "1.18.33", "opencode", "openai", _opencode,
        first=lambda text: ("run", text),
        next=lambda text: ("run", "-c", text),
    ),
)  # fmt: skip
