"""Which tool a command starts."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay.launch.client_programs import find


@pytest.mark.parametrize(
    ("command", "program", "word"),
    [
        ("claude -p hi", "claude", "claude"),
        ("/opt/bin/claude", "claude", "/opt/bin/claude"),
        ("env X=1 claude", "claude", "claude"),
        ("/usr/bin/env -u HOME -i X=1 Y=2 claude -p", "claude", "claude"),
        ("npx @anthropic-ai/claude-code -p hi", "claude", "@anthropic-ai/claude-code"),
        ("npx -y @openai/codex@latest exec", "codex", "@openai/codex@latest"),
        ("npx --package @openai/codex codex exec", "codex", "codex"),
        ("pnpm dlx @google/gemini-cli@0.61.0", "gemini", "@google/gemini-cli@0.61.0"),
        ("bunx opencode-ai run x", "opencode", "opencode-ai"),
        ("uvx --from aider-chat aider", "aider", "aider"),
        ("node /x/node_modules/@qwen-code/qwen-code/cli.js -p", "qwen", "/x/node_modules/@qwen-code/qwen-code/cli.js"),
        ("nice -n 5 nohup codex", "codex", "codex"),
        ("node app.mjs", "app", "app.mjs"),
        ("python agent.py claude", "python", "python"),
        ("sh -c claude", "sh", "sh"),
        ("curl https://api.openai.com", "curl", "curl"),
        ("env", "env", "env"),
        ("env -u", "env", "env"),
        ("node", "node", "node"),
    ],
)
def test_a_command_is_named_by_the_program_that_it_runs_in_the_end(command: str, program: str, word: str) -> None:
    words = command.split()
    name, at = find(words)

    assert (name, words[at]) == (program, word)


@given(st.lists(st.sampled_from(["env", "npx", "-u", "X=1", "codex", "pnpm", "dlx", "--", "", "-"]), min_size=1))
def test_every_command_has_a_word_that_names_its_program(words: list[str]) -> None:
    _, at = find(words)

    assert 0 <= at < len(words)
