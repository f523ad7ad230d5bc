from __future__ import annotations

import pytest

from patchbay.settings import yaml_document
from patchbay.settings.yaml_document import Items, Members, Mistake, Node, Part, Place, Read, Scalar, Unusable, parse


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
    notes: list[Mistake] = []
    try:
        return reader(Part(root, "it", notes))
    except Unusable:
        return notes[-1].message


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
        "2:11 'c' stands here twice, first on line 2",
        "3:1 'a' stands here twice, first on line 1",
        "4:1 'a' stands here twice, first on line 1",
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
    assert complaints("a: &a {}\nb: {<<: *a, <<: *a}") == ["2:13 '<<' stands here twice, first on line 2"]


def test_aliases_that_amount_to_too_much_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 60)]
    found = parse("\n".join(lines))

    assert found.root is None
    assert "its aliases amount to too much" in found.mistakes[0].message


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: &a {<<: *a}"])
def test_an_alias_inside_what_it_stands_for_is_refused(text: str) -> None:
    assert complaints(text) == ["1:4 is no YAML: an alias stands inside what it stands for"]


@pytest.mark.parametrize("depth", [yaml_document.MAX_DEPTH + 1, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    assert complaints("[" * depth + "]" * depth) == ["1:1 is nested too deeply"]


def test_one_document_and_no_tags() -> None:
    assert complaints("a: 1\n---\nb: 2\n") == ["2:1 only one document is read; another begins here"]
    assert complaints("a: !!python/object/apply:os.system [ls]\nb: !!str 1") == [
        "1:4 has a tag (!), which is not understood",
        "2:4 has a tag (!), which is not understood",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "1:1 is empty; it needs settings"),
        ("# nothing\n", "1:1 is empty; it needs settings"),
        (b"a: 1\nb: \xff", "2:4 must be UTF-8, byte 8 is not"),
        ("a: 1\n\tb: 2", "2:1 holds a tab where YAML wants spaces"),
        ("a: 1\nb: \x07", "2:4 holds a character that YAML does not allow"),
        ("a: b: c", "1:5 is no YAML: mapping values are not allowed here"),
        ("a: *b", "1:4 is no YAML: found undefined alias 'b'"),
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
