from __future__ import annotations

import pytest

from patchbay.settings import yaml_document
from patchbay.settings.yaml_document import (
    InvalidSetting,
    Items,
    Members,
    Node,
    Notes,
    Place,
    Read,
    Scalar,
    Setting,
    parse,
)


def plain(node: Node | None) -> object:
    match node:
        case Members():
            return {name: plain(member.value) for name, member in node.entries.items()}
        case Items():
            return [plain(inner) for inner in node.nodes]
        case Scalar():
            return node.text
    return None


def complaints(text: str | bytes) -> list[str]:
    return [f"{m.place.line}:{m.place.column} {m.message}" for m in parse(text).mistakes]


def read(text: str, reader: Read) -> object:
    """Return what *reader* makes of *text*, or its complaint."""
    root = parse(text).root
    assert root is not None
    notes = Notes()
    try:
        return reader(Setting(root, "it", notes))
    except InvalidSetting:
        return notes.mistakes[-1].message


def test_every_key_and_value_keeps_its_place() -> None:
    root = parse("a:\n  - b\n  - {c: 'd'}\n").root

    assert isinstance(root, Members)
    items = root.entries["a"].value
    assert isinstance(items, Items)
    inner = items.nodes[1]
    assert isinstance(inner, Members)
    assert root.entries["a"].place == Place(1, 1)
    assert items.nodes[0].place == Place(2, 5)
    assert inner.entries["c"] == yaml_document.Member(Place(3, 6), Scalar("d", True, Place(3, 9)))


def test_what_yaml_1_1_takes_for_something_else_is_text() -> None:
    text = "[no, yes, on, 1:30, 010, 0x1f, 1_000, 2001-01-01, .inf, =, null, 1e3]"

    assert plain(parse(text).root) == text[1:-1].split(", ")


def test_keys_are_text_too() -> None:
    assert plain(parse("on: 1\n010: 2\nnull: 3").root) == {"on": "1", "010": "2", "null": "3"}


def test_a_key_that_stands_twice_is_a_mistake_each_time() -> None:
    assert complaints("a: 1\nb: {c: 1, c: 2}\na: 3\na: 4") == [
        "2:11 'c' is repeated, first on line 2",
        "3:1 'a' is repeated, first on line 1",
        "4:1 'a' is repeated, first on line 1",
    ]


def test_aliases_and_merges_are_written_out() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nall: {<<: [*b, *m], x: 0}\none: {<<: *m}\nsame: *b"
    root = plain(parse(text).root)

    assert isinstance(root, dict)
    assert root["all"] == {"x": "0", "y": "2", "z": "4"}
    assert root["one"] == {"y": "3", "z": "4"}
    assert root["same"] == {"x": "1", "y": "2"}


def test_a_merge_of_no_mapping_and_a_second_merge_are_mistakes() -> None:
    assert complaints("a: &a 1\nb: {<<: *a}") == ["1:4 << must name a mapping, or a list of them"]
    assert complaints("a: &a {}\nb: {<<: *a, <<: *a}") == ["2:13 '<<' is repeated, first on line 2"]


def test_aliases_that_amount_to_too_much_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 60)]
    found = parse("\n".join(lines))

    assert found.root is None
    assert "its aliases expand to too much" in found.mistakes[0].message


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: &a {<<: *a}"])
def test_an_alias_inside_what_it_stands_for_is_refused(text: str) -> None:
    assert complaints(text) == ["1:4 is not YAML: an alias refers to itself"]


@pytest.mark.parametrize("depth", [yaml_document.MAX_DEPTH + 1, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    assert complaints("[" * depth + "]" * depth) == ["1:1 is nested too deeply"]


def test_one_document_and_no_tags() -> None:
    assert complaints("a: 1\n---\nb: 2\n") == ["2:1 only one document is read; another begins here"]
    assert complaints("a: !!python/object/apply:os.system [ls]\nb: !!str 1") == [
        "1:4 has a tag (!), which is not supported",
        "2:4 has a tag (!), which is not supported",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "1:1 is empty; it needs settings"),
        ("# nothing\n", "1:1 is empty; it needs settings"),
        (b"a: 1\nb: \xff", "2:4 must be UTF-8, byte 8 is not"),
        ("a: 1\n\tb: 2", "2:1 has a tab where YAML needs spaces"),
        ("a: 1\nb: \x07", "2:4 has a character that YAML does not allow"),
        ("a: b: c", "1:5 is not YAML: mapping values are not allowed here"),
        (
            "a: *b",
            "1:4 a value that begins with * must be quoted, as in '*' (else it is an alias, whose anchor comes first)",
        ),
        ("? [a]\n: 1", "1:3 a key must be text"),
        ("a: " + "x" * yaml_document.MAX_SIZE, "1:1 must be 1000000 characters or less, is 1000003"),
    ],
)
def test_what_cannot_be_read_says_why_and_where(text: str | bytes, complaint: str) -> None:
    assert complaints(text) == [complaint]


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert plain(parse(b"\xef\xbb\xbfa: 1").root) == {"a": "1"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ("90s", 90.0),
        ("0.5s", 0.5),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("'2m'", 120.0),
        ("1:30", "must be a duration such as 90s, 500ms or 1h30m, is '1:30'"),
        ("1m30", "must be a duration such as 90s, 500ms or 1h30m, is '1m30'"),
        ("-5s", "must be a duration such as 90s, 500ms or 1h30m, is '-5s'"),
        ("1e999", "must be a duration such as 90s, 500ms or 1h30m, is 1e999"),
        ("0s", "must be longer than 0, is 0s"),
        ("-1", "must not be negative, is -1"),  # also where 0 is allowed
        ("[]", "must be a duration, is a list"),
        ("''", "must be a duration such as 90s, 500ms or 1h30m, is ''"),
    ],
)
def test_durations(text: str, value: object) -> None:
    assert read(text, yaml_document.seconds) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64MB", 64_000_000),
        ("1 MiB", 1_048_576),
        ("1.5KiB", 1536),
        ("4096", 4096),
        ("64 mb", "must be a size such as 64MB, 1MiB or a number of bytes, is '64 mb'"),
        ("0", "must be > 0, is 0"),
        ("1_000", "must be a size such as 64MB, 1MiB or a number of bytes, is '1_000'"),
    ],
)
def test_sizes(text: str, value: object) -> None:
    assert read(text, yaml_document.size) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "must be true or false, is 'yes'; write true"),
        ("Off", "must be true or false, is 'Off'; write false"),
        ("1", "must be true or false, is 1"),
        ("'true'", "must be true or false, is text; take the quotes off"),
        ("~", "must be true or false, is empty"),
    ],
)
def test_flags(text: str, value: object) -> None:
    assert read(text, yaml_document.flag) == value


@pytest.mark.parametrize(
    ("text", "reader", "value"),
    [
        ("7", yaml_document.whole(1, 9), 7),
        ("-3", yaml_document.whole(), -3),
        ("010", yaml_document.whole(), "must be a whole number, is '010'"),
        ("1.0", yaml_document.whole(), "must be a whole number, is 1.0"),
        ("0", yaml_document.whole(1, 9), "must be 1 or more, is 0"),
        ("10", yaml_document.whole(1, 9), "must be 9 or less, is 10"),
        ("'7'", yaml_document.whole(), "must be a whole number, is text; take the quotes off"),
        ("9" * 5000, yaml_document.whole(), "must be a whole number, is '(not shown: it looks like a key)'"),
        ("0.5", yaml_document.positive, 0.5),
        ("0", yaml_document.positive, "must be > 0, is 0"),
        (".inf", yaml_document.positive, "must be a number, is '.inf'"),
        ("1e400", yaml_document.positive, "must be a number, is 1e400"),
    ],
)
def test_numbers(text: str, reader: Read, value: object) -> None:
    assert read(text, reader) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("0123", "0123"),
        ("1:30", "1:30"),
        ("", "must be text, is empty"),
        ("' '", "must be text, is empty"),
        ('"a\\nb"', "must be one line of printable text"),
        ("{a: b}", "must be text, is a mapping"),
    ],
)
def test_text(text: str, value: object) -> None:
    assert read(text or "''", yaml_document.text) == value


def test_a_word_that_is_nearly_right_is_guessed() -> None:
    reader = yaml_document.one_of("anthropic", "openai")

    assert read("openai", reader) == "openai"
    assert read("opneai", reader) == "'opneai' is none of anthropic, openai, did you mean 'openai'?"
    assert read("OPENAI", reader) == "'OPENAI' is none of anthropic, openai, did you mean 'openai'?"
    assert read("x", reader) == "'x' is none of anthropic, openai"


def test_a_message_shows_no_key_and_nothing_long() -> None:
    key = read("sk-live-51H8abcdefghij", yaml_document.one_of("a", "b"))
    long = read("'" + "word " * 50 + "'", yaml_document.one_of("a", "b"))

    assert key == "'(not shown: it looks like a key)' is none of a, b"
    assert isinstance(long, str)
    assert len(long) < 100


# -- readers of lists and mappings -------------------------------------------------------------------------------------


def noted(text: str, reader: Read, path: str = "it") -> tuple[object, list[str], list[str]]:
    """Return the value, and its mistakes and warnings as `line:column path: message`."""
    root = parse(text).root
    assert root is not None
    notes = Notes()

    def told(found: list[yaml_document.Mistake]) -> list[str]:
        return [f"{m.place.line}:{m.place.column} {m.path}: {m.message}" for m in found]

    try:
        value = reader(Setting(root, path, notes))
    except InvalidSetting:
        value = "invalid"
    return value, told(notes.mistakes), told(notes.warnings)


SECTION = yaml_document.Section(
    {"size": yaml_document.whole(1, 9), "name": yaml_document.text},
    lambda setting, values: values,
    needs=("name",),
    extensions="x-",
    renamed={"old": "size", "gone": ""},
)


@pytest.mark.parametrize(
    ("text", "value", "mistakes", "warnings"),
    [
        ("{name: a, size: 1}", {"name": "a", "size": 1}, [], []),
        ("{name: a, size: 9, x-more: 1}", {"name": "a", "size": 9}, [], []),
        ("{name: a, size: 0}", {"name": "a"}, ["1:17 it.size: must be 1 or more, is 0"], []),
        ("{name: a, size: 10}", {"name": "a"}, ["1:17 it.size: must be 9 or less, is 10"], []),
        ("{size: 1}", {"size": 1}, ["1:1 it: name is missing"], []),
        ("~", {}, ["1:1 it: name is missing"], []),
        ("[1]", "invalid", ["1:1 it: must be a mapping (name: value), is a list"], []),
        ("{name: a, old: 2}", {"name": "a", "size": 2}, [], ["1:11 it.old: is now called 'size'"]),
        ("{name: a, old: 2, size: 3}", {"name": "a", "size": 3},
         ["1:16 it.old: is now called 'size', which is set too, on line 1; remove one"], []),
        ("{name: a, gone: 2}", {"name": "a"}, [], ["1:11 it.gone: is no longer used"]),
        ("{name: a, sise: 2}", {"name": "a"}, ["1:11 it.sise: is not a setting, did you mean 'size'?"], []),
        ("{name: a, z: 2}", {"name": "a"}, ["1:11 it.z: is not a setting; there are size, name"], []),
        ("{name: a, 'size:3': ''}", {"name": "a"},
         ["1:11 it.size: must be written 'size: …', with a space after the colon"], []),
        ("{name: a, 'z:3': ''}", {"name": "a"}, ["1:11 it.z:3: is not a setting; there are size, name"], []),
        ("{name: a, abcdefghijklmnopqrs1: ''}", {"name": "a"},
         ["1:11 it.(not shown: it looks like a key): is not a setting; there are size, name"], []),
        ("{name: a, abcdefghijklmnopqr1: ''}", {"name": "a"},
         ["1:11 it.abcdefghijklmnopqr1: is not a setting; there are size, name"], []),
    ],
)  # fmt: skip
def test_a_section_takes_its_keys_and_notes_every_other(
    text: str, value: object, mistakes: list[str], warnings: list[str]
) -> None:
    assert noted(text, SECTION) == (value, mistakes, warnings)


def test_at_the_top_a_path_has_no_dot_before_it() -> None:
    assert noted("{z: 1}", SECTION, "")[1] == ["1:2 z: is not a setting; there are size, name", "1:1 : name is missing"]
    assert noted("{size: 0, name: a}", SECTION, "")[1] == ["1:8 size: must be 1 or more, is 0"]


def test_invalid_items_and_members_are_left_out_and_noted() -> None:
    whole = yaml_document.whole()
    assert noted("[1, x, 3]", yaml_document.Each(whole)) == ((1, 3), ["1:5 it[1]: must be a whole number, is 'x'"], [])
    assert noted("~", yaml_document.Each(whole)) == ((), [], [])
    assert noted("{a: 1}", yaml_document.Each(whole))[1] == ["1:1 it: must be a list, is a mapping"]
    found = noted("{a: 1, b: x}", yaml_document.Named(whole))
    assert found == ({"a": 1}, ["1:11 it.b: must be a whole number, is 'x'"], [])

    def short(setting: Setting, name: str) -> str:
        if len(name) > 1:
            raise setting.wrong("is too long")
        return name.upper()

    assert noted("{ab: 1, c: 2}", yaml_document.Named(whole, short)) == ({"C": 2}, ["1:6 it.ab: is too long"], [])
    either = yaml_document.Either(whole, SECTION)
    assert (noted("5", either)[0], noted("{name: a}", either)[0]) == (5, {"name": "a"})


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("[1]", "a list"), ("{a: 1}", "a mapping"), ("~", "empty"), ("''", "''"), ("word", "'word'"), ("1.5", "1.5"),
        ("'1.5'", "'1.5'"), ("'~'", "'~'"), ("null", "empty"), ("Null", "empty"), ("NULL", "empty"), ("nULL", "'nULL'"),
        ("abcdefghijklmnopqrs1", "'(not shown: it looks like a key)'"),
        ("abcdefghijklmnopqr1", "'abcdefghijklmnopqr1'"),
        ("abcdefghijklmnopqrst", "'abcdefghijklmnopqrst'"), ("1" * 20, "'(not shown: it looks like a key)'"),
    ],
)  # fmt: skip
def test_a_value_is_described_in_a_few_words(text: str, described: str) -> None:
    root = parse(text).root
    assert root is not None
    assert Setting(root, "it", Notes()).described() == described


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b", "a b"), ("a\tb\x00", "a\ufffdb\ufffd"), ("-" * 60, "-" * 60), ("-" * 61, "-" * 60 + "…")],
)
def test_a_text_is_shown_on_one_short_line(text: str, shown: str) -> None:
    assert yaml_document.shown(text) == shown


def test_every_setting_has_a_path_and_a_place() -> None:
    found = dict(yaml_document.places(parse("a:\n  - b\n  - {c: 'd'}\ne: 1\n").root))
    inside = {"a[0]": Place(2, 5), "a[1]": Place(3, 5), "a[1].c": Place(3, 9)}

    assert found == {"a": Place(2, 3), **inside, "e": Place(4, 4)}
    assert list(yaml_document.places(None)) == []


def test_the_bounds_of_a_document() -> None:
    assert (yaml_document.MAX_SIZE, yaml_document.MAX_NODES, yaml_document.MAX_DEPTH) == (1_000_000, 100_000, 50)
    assert complaints("'': 1") == ["1:1 a key must be text"]
    assert complaints("[a]: 1") == ["1:1 a key must be text"]


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("1B", 1), ("0", "must be > 0, is 0")])
def test_the_smallest_size(text: str, value: object) -> None:
    assert read(text, yaml_document.size) == value
