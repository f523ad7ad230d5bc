"""Slips of a settings file that put a key where something else belongs: each place with the key of each provider."""

from __future__ import annotations

import string
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

_BASE64 = string.ascii_letters + string.digits + "-_"
_ALNUM = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"
PIECE = 8  # bytes of a secret that must stand nowhere


@dataclass(frozen=True)
class Slip:
    """A settings file with *secret* in it, behind a public prefix, where it does not belong."""

    name: str
    text: str
    secret: str

    def leaks(self, told: str) -> str:
        """Return the first piece of the secret that stands in *told*, or nothing."""
        pieces = (self.secret[at : at + PIECE] for at in range(len(self.secret) - PIECE + 1))
        return next((piece for piece in pieces if piece in told), "")


def keys() -> dict[str, tuple[str, str]]:
    """Return a prefix and a secret for each shape of key."""
    random = Random("settings with a slip")

    def drawn(length: int, of: str = _ALNUM) -> str:
        return "".join(random.choice(of) for _ in range(length))

    return {
        "openai": ("sk-", drawn(48)),
        "openai-project": ("sk-proj-", drawn(74, _BASE64)),
        "anthropic": ("sk-ant-api03-", drawn(93, _BASE64)),
        "anthropic-oauth": ("sk-ant-oat01-", drawn(93, _BASE64)),
        "gemini": ("AIzaSy", drawn(33, _BASE64)),
        "google-oauth": ("ya29.", drawn(60, _BASE64)),
        "groq": ("gsk_", drawn(52)),
        "xai": ("xai-", drawn(80)),
        "huggingface": ("hf_", drawn(34, string.ascii_letters)),
        "github": ("ghp_", drawn(36)),
        "github-new": ("github_pat_", drawn(22) + "_" + drawn(59)),
        "openrouter": ("sk-or-v1-", drawn(64, _HEX)),
        "perplexity": ("pplx-", drawn(48)),
        "nvidia": ("nvapi-", drawn(64, _BASE64)),
        "replicate": ("r8_", drawn(37)),
        "aws": ("AKIA", drawn(16, string.ascii_uppercase + string.digits)),
        "jwt": ("eyJ", drawn(30, _BASE64) + ".eyJ" + drawn(80, _BASE64) + "." + drawn(43, _BASE64)),
        "mistral": ("", drawn(32)),
        "azure": ("", drawn(84)),
        "hexadecimal": ("", drawn(32, _HEX)),
        "uuid": ("", str(uuid.UUID(int=random.getrandbits(128)))),
        "short": ("sk-", drawn(20)),
        "plain and short": ("", drawn(18)),
        "digits": ("", drawn(32, string.digits)),
        "aws-secret": ("", drawn(40, _ALNUM + "+/")),
        "base64": ("", drawn(42, _ALNUM + "+/") + "=="),
        "base32": ("", drawn(52, string.ascii_uppercase + "234567")),
        "zhipu": ("", drawn(32, _HEX) + "." + drawn(16)),
        "fal": ("", str(uuid.UUID(int=random.getrandbits(128))) + ":" + drawn(32, _HEX)),
        "cohere": ("", drawn(40)),
    }


# `KEY` is where the key stands. Each is a whole file, or a part that `_file` makes one of.
_ACCOUNTS = {
    "run together, flow": "  - {id: a, provider: openai, key:KEY}",
    "run together, equals": "  - {id: a, provider: openai, key=KEY}",
    "run together, first": "  - key:KEY\n    id: a",
    "run together, block": "  - id: a\n    provider: openai\n    key:KEY",
    "run together, a name": "  - {id: a, provider: openai, api_key:KEY}",
    "quoted name": '  - {id: a, provider: openai, "key:KEY": x}',
    "file:": "  - {id: a, provider: openai, key: 'file:KEY'}",
    "file: with a pointer": "  - {id: a, provider: openai, key: 'file:KEY#x'}",
    "env:": "  - {id: a, provider: openai, key: 'env:KEY'}",
    "env: a blank": "  - {id: a, provider: openai, key: 'env: KEY'}",
    "cmd:": "  - {id: a, provider: openai, key: 'cmd:KEY'}",
    "cmd, a word": "  - {id: a, provider: openai, key: {cmd: KEY}}",
    "cmd, the program": "  - {id: a, provider: openai, key: {cmd: [KEY]}}",
    "cmd, a member": "  - {id: a, provider: openai, key: {cmd: [x], KEY: 1}}",
    "key, a list": "  - {id: a, provider: openai, key: [KEY]}",
    "key, a mapping": "  - {id: a, provider: openai, key: {KEY: x}}",
    "key, two lines": "  - id: a\n    provider: openai\n    key: |\n      KEY\n      more",
    "id": "  - {id: KEY, provider: openai, key: env:HOME}",
    "id, folded": "  - id: >\n      KEY\n    provider: openai\n    key: env:HOME",
    "id, cut in two": "  - {id: 'KEY KEY', provider: openai, key: env:HOME}",
    "id twice": "  - {id: KEY, provider: openai, key: env:HOME}\n  - {id: KEY, provider: openai, key: env:HOME}",
    "provider": "  - {id: a, provider: KEY, key: env:HOME}",
    "group": "  - {id: a, provider: openai, key: env:HOME, group: KEY}",
    "quota": "  - {id: a, provider: openai, key: env:HOME, quota_group: KEY}",
    "a member": "  - {id: a, provider: openai, key: env:HOME, KEY: x}",
    "a member without a value": "  - {id: a, provider: openai, KEY}",
    "an item": "  - KEY",
    "base_url": "  - {id: a, provider: openai, key: env:HOME, base_url: KEY}",
    "base_url, user": "  - {id: a, provider: openai, key: env:HOME, base_url: 'https://KEY@host.example'}",
    "base_url, password": "  - {id: a, provider: openai, key: env:HOME, base_url: 'ftp://me:KEY@host.example'}",
    "base_url, query": "  - {id: a, provider: openai, key: env:HOME, base_url: 'https://host.example/?key=KEY'}",
    "base_url, path": "  - {id: a, provider: openai, key: env:HOME, base_url: 'https://host.example//KEY'}",
    "base_url, scheme": "  - {id: a, provider: openai, key: env:HOME, base_url: 'KEY://host.example'}",
    "weight": "  - {id: a, provider: openai, key: env:HOME, weight: KEY}",
    "enabled": "  - {id: a, provider: openai, key: env:HOME, enabled: KEY}",
    "rpm": "  - {id: a, provider: openai, key: env:HOME, rpm: 'KEY'}",
    "serialize": "  - {id: a, provider: openai, key: env:HOME, serialize: KEY}",
    "alias of a model": "  - {id: a, provider: openai, key: env:HOME, models: {aliases: {KEY: [x]}}}",
    "model of an alias": "  - {id: a, provider: openai, key: env:HOME, models: {aliases: {x: KEY}}}",
    "name of a model": "  - {id: a, provider: openai, key: env:HOME, models: {upstream_names: {KEY: {}}}}",
    "models": "  - {id: a, provider: openai, key: env:HOME, models: KEY}",
    "header, name": "  - {id: a, provider: openai, key: env:HOME, headers: {KEY: x}}",
    "header, value": "  - {id: a, provider: openai, key: env:HOME, headers: {X-Acme: KEY}}",
    "header, env": "  - {id: a, provider: openai, key: env:HOME, headers: {X-Acme: 'env:KEY'}}",
    "header, Authorization": "  - {id: a, provider: openai, key: env:HOME, headers: {Authorization: Bearer KEY}}",
    "header, a list": "  - {id: a, provider: openai, key: env:HOME, headers: [KEY]}",
    "anchor": "  - &KEY {id: a, provider: openai, key: env:HOME}\n  - *KEY",
    "alias": "  - *KEY",
    "merge of an alias": "  - {<<: *KEY, id: a}",
    "merge of a text": "  - {<<: KEY, id: a}",
    "tag": "  - {id: !KEY a, provider: openai, key: env:HOME}",
    "tag of a handle": "  - {id: !KEY!b a, provider: openai, key: env:HOME}",
    "twice": "  - {id: a, KEY: 1, KEY: 2}",
    "a key of a list": "  - {[KEY]: 1}",
    "open quotes": "  - {id: a, key: 'KEY}",
    "open brackets": "  - {id: a, key: KEY",
    "a colon too many": "  - id: a: KEY",
    "a tab": "  - id: a\n\t key: KEY",
    "an escape": '  - {id: "\\KEY", provider: openai}',
    "comment": "  - {id: a, provider: openi, key: env:HOME} # KEY",
    "complex key": "  - ? KEY\n    : x\n    id: a",
    "complex key, alone": "  - ? KEY",
    "anchor of a key": "  - {&a KEY: x, id: a}",
    "alias as a key": "  - {*KEY : y}",
    "merge of a list": "  - {<<: [KEY, *KEY], id: a}",
    "merge twice": "  - {<<: {KEY: 1}, <<: {KEY: 2}}",
    "tag with a place": "  - {id: !<KEY> a}",
    "tag of an include": "  - {id: a, provider: openai, key: !include KEY}",
    "a variable": "  - {id: a, provider: openai, key: '${KEY}'}",
    "a scheme": "  - {id: a, provider: openai, key: Bearer KEY}",
    "a folder": "  - {id: a, provider: openai, key: 'file:/tmp/KEY'}",
    "a user's folder": "  - {id: a, provider: openai, key: 'file:~KEY/x'}",
    "a missing variable": "  - {id: a, provider: openai, key: 'env:KEY'}",
    "behind a name": "  - {id: work-KEY, provider: openai, key: env:HOME}",
    "behind a blank": "  - {id: a, provider: openai, key: env:HOME, headers: {X-A: 'KEY env:HOME'}}",
    "port": "  - {id: a, provider: generic, key: env:HOME, base_url: 'https://host.example:KEY'}",
    "error rule": "  - {id: a, provider: openai, key: env:HOME, error_rules: [{contains: x, outcome: KEY}]}",
}
_TOP = {
    "a member": "KEY: x",
    "a member, key:": "key:KEY: x",
    "strategy": "strategy: KEY",
    "mode": "mode: KEY",
    "state": "state: KEY",
    "store": "store: KEY",
    "store, a file": "store: 'sqlite:///KEY'",
    "store, a host": "store: 'redis://KEY'",
    "store, a user": "store: 'redis://KEY:x@host:0'",
    "store, a password": "store: 'http://:KEY@host'",
    "grace_period": "grace_period: KEY",
    "journal": "journal: {path: KEY}",
    "journal, a member": "journal: {KEY: 1}",
    "a size": "limits: {body: KEY}",
    "a duration": "sessions: {ttl: KEY}",
    "order": "sessions: {order: [KEY]}",
    "host": "allowed_hosts: ['KEY:x']",
    "origin": "allowed_origins: [KEY]",
    "client, name": "clients: [{name: KEY, key: env:HOME}]",
    "client, scope": "clients: [{name: a, key: env:HOME, scope: KEY}]",
    "client, pools": "clients: [{name: a, key: env:HOME, pools: [KEY]}]",
    "client, run together": "clients: [{name: a, key:KEY}]",
    "provider, name": "providers: {KEY: {preset: openai}}",
    "provider, near": "providers: {KEY: {preset: openai}}\nx-y: {a: KEYx}",
    "provider, preset": "providers: {p: {preset: KEY}}",
    "provider, version": "providers: {p: {preset: azure, api_version: KEY}}",
    "provider, pass_headers": "providers: {p: {preset: openai, pass_headers: [KEY]}}",
    "stamp, name": "providers: {p: {preset: openai, stamp: {headers: {KEY: x}}}}",
    "stamp, value": "providers: {p: {preset: openai, stamp: {headers: {X-A: KEY}}}}",
    "stamp, template": "providers: {p: {preset: openai, stamp: {headers: {X-A: '{KEY}'}}}}",
    "stamp, body": "providers: {p: {preset: openai, stamp: {body: {KEY: '{nothing}'}}}}",
    "echo, name": "providers: {p: {preset: openai, echo: {headers: {KEY: x}}}}",
    "model id": "providers: {p: {preset: openai, model_ids: {KEY: '\u00e4'}}}",
    "disabled_detectors": "providers: {p: {preset: openai, disabled_detectors: [KEY]}}",
    "tag directive": "%TAG !KEY! tag:x,2000:\n---\n!KEY!x a",
    "a long line": "mode: 'xxx yyy zzz xxx yyy zzz xxx yyy zzz xxx yyy zzz KEY'",
    "two words": "mode: [serve KEY]",
    "a line break in it": '"a\\nKEY\\n": x',
    "behind an emoji": "mode: \U0001f511KEY",
    "behind a comment sign": "mode: serve#KEY",
    "an export": "export OPENAI_API_KEY=KEY",
    "a header": '-H "x-api-key: KEY"',
    "toml": '[[accounts]]\nkey = "KEY"',
    "carriage returns": "mode: serve\r\nKEY: x\r",
    "a block sign": "mode: |KEY",
    "a NUL": "mode: a\0KEY",
    "program": "crosstalk: {on_incident: [/usr/bin/KEY]}",
    "store, a query": "store: 'redis://host:1/0?password=KEY'",
    "directive": "%KEY x\n---",
    "second document": "mode: serve\n---\nKEY: x\n---",
}
_ONE = "accounts:\n  - {id: a, provider: openai, key: env:HOME}"


def slips() -> Iterator[Slip]:
    """Yield every slip."""
    for kind, (prefix, secret) in keys().items():
        for place, text in _ACCOUNTS.items():
            yield _slip(f"account, {place}, {kind}", f"accounts:\n{text}\n", prefix, secret)
        for place, text in _TOP.items():
            yield _slip(f"{place}, {kind}", f"{text}\n{_ONE}\n", prefix, secret)


def _slip(name: str, text: str, prefix: str, secret: str) -> Slip:
    return Slip(name, text.replace("KEY", prefix + secret), secret)
