"""Every former name of a setting is still read, and a warning says the present one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchbay.settings import reader, yaml_document
from patchbay.settings.reader import ConfigError, load
from patchbay.settings.renamed import RENAMED
from patchbay.settings.settings import Config
from patchbay.settings.yaml_document import Notes, Section, Setting

from .written import ONE

ACCOUNT = "{id: a, provider: p, key: example-key, %s}"
PROVIDERS = "providers: {p: {preset: generic, base_url: reverse, %s}}"
# section → the text of a file with the setting `%s` in that section, and the reader of the section
SECTIONS: dict[str, tuple[str, Section]] = {
    "": ("%s", reader.SETTINGS),
    "sessions": ("sessions: {%s}", reader.SESSIONS),
    "failover": ("failover: {%s}", reader.FAILOVER),
    "crosstalk": ("crosstalk: {%s}", reader.CROSSTALK),
    "queue": ("queue: {%s}", reader.QUEUE),
    "limits": ("limits: {%s}", reader.LIMITS),
    "providers": (PROVIDERS, reader.PROVIDER),
    "stamp": (PROVIDERS % "stamp: {%s}", reader.STAMP),
    "accounts": (f"accounts: [{ACCOUNT}]", reader.ACCOUNT),
    "models": (f"accounts: [{ACCOUNT % 'models: {%s}'}]", reader.MODELS),
}
# former name → a value, where it is not a duration
VALUES = {
    "other": "pass", "hold": "false", "owner": "refuse", "head": "1KiB", "headers": "7", "remembered": "2000",
    "silent": "[model]", "namespace": "false", "body_at": "[/responses]", "quota": "q", "names": "{a: b}",
}  # fmt: skip
TABLE = [(section, old, new) for section, names in RENAMED.items() for old, new in names.items()]


def file(section: str, setting: str) -> str:
    """Return a good file with *setting* in *section*."""
    text = SECTIONS[section][0] % setting
    text += "" if "providers:" in text else "\n" + PROVIDERS % ""
    return text + ("" if "accounts:" in text else f"\naccounts: [{ACCOUNT % ''}]")


def value(old: str) -> str:
    return VALUES.get(old, "7s")


def plain(text: str) -> Config:
    """Return the settings of *text* without places and warnings."""
    found = load(text, "c")
    return replace(found, accounts=tuple(replace(each, place="") for each in found.accounts), warnings=(), places={})


@pytest.mark.parametrize(("section", "old", "new"), TABLE)
def test_a_former_name_is_read_with_one_warning(section: str, old: str, new: str) -> None:
    former, present = file(section, f"{old}: {value(old)}"), file(section, f"{new}: {value(old)}")

    (warning,) = load(former, "c").warnings
    assert warning.endswith(f"{old}: is now called '{new}'")
    assert load(present, "c").warnings == ()
    assert plain(former) == plain(present) != plain(file(section, ""))


@pytest.mark.parametrize(("section", "old", "new"), TABLE)
def test_a_former_name_beside_the_present_one_is_a_mistake(section: str, old: str, new: str) -> None:
    both = (", " if section else "\n").join(f"{name}: {value(old)}" for name in (new, old))
    with pytest.raises(ConfigError) as caught:
        load(file(section, both), "c")

    (mistake,) = caught.value.mistakes
    assert f"{old}: is now called '{new}', which is set too, on line " in mistake
    assert mistake.endswith("; remove one")


def test_the_table_leads_to_settings_that_exist() -> None:
    assert RENAMED.keys() == SECTIONS.keys()
    for name, (_, section) in SECTIONS.items():
        assert section.renamed is RENAMED[name]
        assert set(section.renamed.values()) <= {*section.keys, ""}
        assert not section.renamed.keys() & section.keys.keys()


def test_a_mistake_in_a_former_setting_has_the_name_that_stands_there() -> None:
    with pytest.raises(ConfigError) as caught:
        load(file("failover", "seconds: soon"), "c")

    (mistake,) = caught.value.mistakes
    assert mistake.startswith("c:1:21: failover.seconds: must be a duration")


def test_a_former_name_in_many_places_is_one_warning() -> None:
    one = "{id: %s, provider: generic, base_url: reverse, key: example-k, quota: q}"
    accounts = ", ".join(one % name for name in "abcdefghi")

    assert load(f"accounts: [{accounts}]", "c").warnings == (
        "c:1:74: accounts[0].quota: is now called 'quota_group' (9 places)",
    )


def test_one_former_name_in_two_sections_is_two_warnings() -> None:
    found = load(f"failover: {{seconds: 7s}}\nqueue: {{seconds: 8s}}\n{ONE}", "c")

    assert (found.failover.timeout, found.queue.timeout) == (7, 8)
    assert found.warnings == (
        "c:1:12: failover.seconds: is now called 'timeout'",
        "c:2:9: queue.seconds: is now called 'timeout'",
    )


def test_a_setting_without_a_use_is_a_warning() -> None:
    section = Section({"kept": yaml_document.flag}, lambda _, values: values, renamed={"gone": ""})
    notes = Notes()
    root = yaml_document.parse("{gone: 3, kept: true}").root
    assert root is not None

    assert section(Setting(root, "", notes)) == {"kept": True}
    assert [(each.path, each.message) for each in notes.warnings] == [("gone", "is no longer used")]
    assert not notes.mistakes


def test_no_former_name_is_forgotten() -> None:
    """Names of released versions: files with them exist."""
    released = (
        ".other .grace sessions.cache_ttl failover.seconds failover.hold failover.hold_seconds failover.patience"
        " failover.owner crosstalk.every queue.seconds queue.patience limits.head limits.headers limits.remembered"
        " providers.silent stamp.namespace stamp.body_at accounts.quota models.names"
    )
    assert set(released.split()) <= {f"{section}.{old}" for section, old, _ in TABLE}
