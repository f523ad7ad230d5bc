"""Values are covered in every spelling, across every cut, and nothing else is touched."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from patchbay.proxy import redaction
from patchbay.proxy.redaction import MARK, RedactedStream, Redactor

from ..each_row import each_row

KEY = "sk-live_Quoted/0123+456789=abcdef"
PLAIN = "sk-proj-0123456789abcdefghijklmnop"
KEYS = (KEY, PLAIN, "sk-proj-0123456789abcdef", "AIzaSyA-other_key-0123456789")


@pytest.fixture(autouse=True, scope="module", params=[redaction._MANY, 0], ids=["few", "many"])
def many(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have every test of this file once with the search for many values."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(redaction, "_MANY", request.param)
        yield


def _each(form: str) -> Callable[[str], str]:
    return lambda key: "".join(form.format(ord(char), char) for char in key)


def _mixed(key: str) -> str:
    forms = ("{1}", "\\u{0:04x}", "%{0:02X}", "&#{0};", "%{0:02x}", "&#x{0:x};", "\\u{0:04X}")
    return "".join(forms[at % len(forms)].format(ord(char), char) for at, char in enumerate(key))


def _sometimes(escape: Callable[[str], str]) -> Callable[[str], str]:
    return lambda key: "".join(escape(char) if at % 3 == 1 else char for at, char in enumerate(key))


# How a text may be quoted; what is undone by the reader of JSON, a URL, HTML, base64, hex or UTF-16.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "lower case": str.lower,
    "upper case": str.upper,
    "as it is": str,
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON, slashes escaped": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "JSON, every character escaped": _each("\\u{0:04x}"),
    "JSON, every character escaped, in upper case": _each("\\u{0:04X}"),
    "JSON, one character escaped": lambda key: key[:4] + f"\\u{ord(key[4]):04x}" + key[5:],
    "JSON, the first character escaped": lambda key: f"\\u{ord(key[0]):04x}" + key[1:],
    "JSON, the last character escaped": lambda key: key[:-1] + f"\\u{ord(key[-1]):04x}",
    "JSON, some escaped": _sometimes(_each("\\u{0:04x}")),
    "JSON in JSON": lambda key: json.dumps(json.dumps(_each("\\u{0:04x}")(key)))[3:-3],
    "JSON in JSON in JSON": lambda key: json.dumps(json.dumps(json.dumps(_each("\\u{0:04x}")(key))))[5:-5],
    "a string of Python": _each("\\x{0:02x}"),
    "a wide string of Python": _each("\\U{0:08x}"),
    "a string of C": _each("\\{0:03o}"),
    "a string of C in JSON": _each("\\\\{0:03o}"),
    "octal with a zero": _each("\\0{0:03o}"),
    "octal in braces": _each("\\o{{{0:o}}}"),
    "a string of C, some escaped": _sometimes(_each("\\{0:03o}")),
    "a string of Perl": _each("\\x{{{0:x}}}"),
    "a string of Perl, by name": _each("\\N{{U+{0:04X}}}"),
    "a string of JavaScript": _each("\\u{{{0:x}}}"),
    "Markdown": lambda key: key.replace("_", "\\_").replace("-", "\\-"),
    "URL": quote,
    "URL, slashes too": lambda key: quote(key, safe=""),
    "URL, in lower case": _each("%{0:02x}"),
    "URL, in upper case": _each("%{0:02X}"),
    "URL, some escaped": _sometimes(_each("%{0:02x}")),
    "URL in URL": lambda key: quote(_each("%{0:02X}")(key)),
    "URL in URL in URL": lambda key: quote(quote(_each("%{0:02X}")(key))),
    "URL of old": _each("%u{0:04x}"),
    "HTML": html.escape,
    "HTML, decimal": _each("&#{0};"),
    "HTML, decimal without ends": lambda key: "".join(f"&#{ord(char)}" if char in "kI" else char for char in key),
    "HTML, decimal with zeros": _each("&#{0:06};"),
    "HTML, decimal with many zeros": _each("&#{0:015};"),
    "HTML, hexadecimal": _each("&#x{0:x};"),
    "HTML, hexadecimal in upper case": _each("&#X{0:04X};"),
    "HTML, named": lambda key: key.replace("_", "&lowbar;").replace("/", "&sol;").replace("=", "&equals;"),
    "HTML in HTML": lambda key: html.escape(_each("&#{0};")(key)),
    "HTML in JSON": lambda key: _each("\\u{0:04x}")(_each("&#{0};")(key)),
    "URL in JSON": lambda key: _each("\\u{0:04x}")(_each("%{0:02x}")(key)),
    "JSON in URL": lambda key: quote(_each("\\u{0:04x}")(key)),
    "mixed": _mixed,
    "base64": lambda key: b64encode(key.encode()).decode(),
    "base64 behind one byte": lambda key: b64encode(b"x" + key.encode() + b"yz").decode(),
    "base64 behind two bytes": lambda key: b64encode(b"xx" + key.encode() + b"y").decode(),
    "base64 of credentials": lambda key: b64encode(b"user:" + key.encode()).decode(),
    "base64 for URLs": lambda key: urlsafe_b64encode(b"?" + key.encode()).decode(),
    "hexadecimal": lambda key: key.encode().hex(),
    "hexadecimal in upper case": lambda key: key.encode().hex().upper(),
    "UTF-16": lambda key: key.encode("utf-16-le").decode("latin-1"),
    "UTF-16 the other way": lambda key: key.encode("utf-16-be").decode("latin-1"),
    "UTF-32": lambda key: key.encode("utf-32-le").decode("latin-1"),
    "UTF-32 the other way": lambda key: key.encode("utf-32-be").decode("latin-1"),
}


def quotes(data: bytes, key: str, spelled: bytes) -> bool:
    """Whether *data* still has enough of *key*, or of a spelling of it, to be of use."""
    inner = spelled[len(spelled) // 8 : -len(spelled) // 8]  # of base64 the ends are shared with the neighbours
    return key.encode() in data or inner in data


@each_row("key", KEYS)
@each_row("spelling", SPELLINGS)
def test_a_value_is_covered_in_every_spelling(spelling: str, key: str) -> None:
    """R4: a key that an upstream quotes is covered however it is escaped."""
    spelled = SPELLINGS[spelling](key).encode("latin-1")
    before = b'{"error": "bad key ' + spelled + b' given"}'
    after = Redactor(KEYS).scrub(before)

    assert not quotes(after, key, spelled)
    assert len(after) == len(before)
    assert after.startswith(b'{"error": "bad key ')
    assert after.endswith(b' given"}')
    assert MARK[:8] in after


@pytest.mark.slow(every=8)
@pytest.mark.parametrize("key", KEYS[:2])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_value_is_covered_across_every_cut(spelling: str, key: str) -> None:
    """R4: and wherever a chunk ends."""
    spelled = SPELLINGS[spelling](key).encode("latin-1")
    whole = b"data: a " + spelled + b" z\n\n"
    cover = Redactor(KEYS)
    for at in range(len(whole) + 1):
        stream = RedactedStream(lambda: cover)
        out = stream.feed(whole[:at]) + stream.feed(whole[at:])

        assert not quotes(out, key, spelled), at
        assert len(out) == len(whole), "the end of an event is the end of what is kept back"
        assert stream.rest() == b""
    stream = RedactedStream(lambda: cover)
    out = b"".join(stream.feed(whole[at : at + 1]) for at in range(len(whole)))
    assert not quotes(out, key, spelled)
    assert len(out) == len(whole)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_list_of_the_bytes_of_a_value_is_covered_and_stays_one(separators: tuple[str, str], key: str) -> None:
    """R4: a buffer as JSON."""
    cover = Redactor([key])
    whole = json.dumps({"type": "Buffer", "data": [32, *key.encode(), 32]}, separators=separators).encode()
    for at in range(len(whole) + 1):
        stream = RedactedStream(lambda: cover)
        out = stream.feed(whole[:at]) + stream.feed(whole[at:]) + stream.rest()

        data = json.loads(out)["data"]
        assert (data[0], data[-1], len(data)) == (32, 32, len(key) + 2)
        assert set(data[1:-1]) <= {1, 11, 111}


@pytest.mark.parametrize("key", KEYS[:2])
def test_the_beginning_of_a_value_at_the_end_is_given_up(key: str) -> None:
    cover = Redactor(KEYS[:2])
    for length in range(1, len(key)):
        stream = RedactedStream(lambda: cover)
        out = stream.feed(b"a text that ends in " + key[:length].encode())
        rest = stream.rest()

        assert out == b"a text that ends in "
        assert len(rest) == length
        assert (rest == key[:length].encode()) == (length < 16)


@pytest.mark.parametrize(
    "event", [b'data: {"choices":[{"delta":{"content":"sk"}}]}\n\n', b"data: [DONE]\n\n", b": ping\r\n\r\n", b"\r"]
)
def test_an_event_is_not_delayed(event: bytes) -> None:
    cover = Redactor(KEYS)
    stream = RedactedStream(lambda: cover)

    assert [stream.feed(event) for _ in range(3)] == [event] * 3


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"sk-", b"%", b"\\u00", b"&#", b"sk-live_", b"AIza"])))
def test_what_holds_no_value_passes_as_it_is(pieces: list[bytes]) -> None:
    cover = Redactor(KEYS)
    stream = RedactedStream(lambda: cover)
    out = [stream.feed(piece) for piece in pieces]

    assert b"".join((*out, stream.rest())) == b"".join(pieces)


@given(
    st.lists(st.sampled_from([*(spelled(KEY) for spelled in SPELLINGS.values()), "a", " ", "\\", "%", "&", "sk-l"])),
    st.lists(st.integers(1, 60), min_size=1),
)
def test_however_it_is_cut_the_same_is_covered(parts: list[str], sizes: list[int]) -> None:
    whole, cover = " ".join(parts).encode("latin-1") + b"\n", Redactor(KEYS)
    stream, out, at = RedactedStream(lambda: cover), b"", 0
    while at < len(whole):
        size = sizes[at % len(sizes)]
        out += stream.feed(whole[at : at + size])
        at += size
    out += stream.rest()

    assert len(out) == len(whole)
    assert KEY.encode() not in out
    assert KEY not in cover.scrub(whole).decode("latin-1")


def test_a_header_s_name_is_covered_in_any_case() -> None:
    """R4: HTTP/2 has names in lower case."""
    cover = Redactor(("sk-LIVE-0123456789",))

    for name in (b"sk-LIVE-0123456789", b"sk-live-0123456789", b"X-SK-LIVE-0123456789-Y"):
        assert b"0123456789" not in cover.name(name)
        assert len(cover.name(name)) == len(name)
    assert cover.name(b"X-Request-Id") == b"X-Request-Id"


def test_short_values_are_left() -> None:
    assert Redactor(("tiny",)).scrub(b"a tiny text") == b"a tiny text"
    assert Redactor(()).begun(b"tin") == 0


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("one", [b"\\", b"%", b"&", b"%25", b"&amp;", b"\\u", b"\\\\x", b"&#0"])
def test_a_long_row_of_what_begins_escapes_is_read_in_linear_time(one: bytes) -> None:
    """R2, R4: a mebibyte of backslashes holds nobody up (it took hours), and hides no key behind it."""
    key = "sk-real-0123456789abcdef"
    cover = Redactor([key])
    row = one * ((1 << 20) // len(one))
    assert cover.scrub(row) == row
    assert b"\\x73k" not in cover.scrub(row + b" " + b"".join(b"\\x%02x" % char for char in key.encode()))


def _stream(cover: Redactor, *chunks: bytes) -> list[bytes]:
    stream = RedactedStream(lambda: cover)
    return [*map(stream.feed, chunks), stream.rest()]


@pytest.mark.parametrize(
    "spelling", ["as it is", "URL", "hexadecimal", "UTF-16", "UTF-16 the other way", "UTF-32", "UTF-32 the other way"]
)
def test_the_cover_hides_the_whole_value_and_no_more(spelling: str) -> None:
    """R4: from its first character to its last."""
    spelled = SPELLINGS[spelling](PLAIN).encode("latin-1")
    covered = Redactor((PLAIN,)).scrub(b"<" + spelled + b">")

    assert covered[:1] + covered[-1:] == b"<>"
    bare = len(spelled.strip(b"\0"))
    assert covered[1:-1].strip(b"\0") == (MARK + b"-" * bare)[:bare]


@pytest.mark.parametrize("before", [b"", b"x", b"xx", b"xxx"])
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_both_alphabets_of_base64_are_covered(encode: Callable[[bytes], bytes], before: bytes) -> None:
    """R4: of a value whose base64 has the characters in which they differ."""
    key = "?>?>~~~???>>>~~~?>?>?>"
    encoded = encode(before + key.encode() + b"!")
    assert set(encoded) & set(b"+/-_")
    covered = Redactor((key,)).scrub(encoded)
    changed = [at for at, (old, new) in enumerate(zip(encoded, covered, strict=True)) if old != new]

    assert changed[0] <= len(before) * 8 // 6 + 1
    assert changed[-1] >= (len(before) + len(key)) * 8 // 6 - 2


@pytest.mark.parametrize("escape", [partial(quote, safe=""), lambda text: json.dumps(text)[1:-1].replace("/", "\\/")])
def test_base64_is_covered_as_urls_and_json_escape_it(escape: Callable[[str], str]) -> None:
    key = "?>?>~~~???>>>~~~?>?>?>"
    encoded = escape(b64encode(b"me:" + key.encode()).decode()).encode()
    assert set(encoded) & set(b"%\\")
    covered = Redactor((key,)).scrub(encoded)
    stream = RedactedStream(lambda: Redactor((key,)))
    pieces = b"".join(stream.feed(bytes((byte,))) for byte in encoded) + stream.rest()

    assert MARK in covered and len(covered) == len(encoded) and MARK in pieces
    for left in (covered, pieces):
        assert not any(encoded[at : at + 12] in left for at in range(4, len(encoded) - 16))


@pytest.mark.parametrize("spelled", [json.dumps("sk-cl\u00e9-0123456789")[1:-1].encode(), b"sk-cl%C3%A9-0123456789"])
def test_a_value_beyond_ascii_is_covered_as_json_and_urls_escape_it(spelled: bytes) -> None:
    covered = Redactor(("sk-cl\u00e9-0123456789",)).scrub(b"'" + spelled + b"'")

    assert covered == b"'" + (MARK + b"-" * len(spelled))[: len(spelled)] + b"'"


@pytest.mark.parametrize(
    "text",
    [
        b"sk-live-\\0120123456789",  # an escaped line break
        b"sk-live-&zwnj;0123456789",  # an entity that is no ASCII character
        b"sk-live-&nothing;0123456789",
        b"sk&m;live-0123456789",
        b"sk&am;live-0123456789",  # HTML also knows `&amp` without a semicolon
        b"sk-live-&#127;0123456789",  # no printable character
        b"sk-live- 0123456789",
        b"\\x73k-live-012345678",
    ],
)
def test_what_is_no_spelling_of_a_value_is_left(text: bytes) -> None:
    cover = Redactor(("sk-live-0123456789", "sk&live-0123456789", "sk-live-\x7f0123456789"))

    assert cover.scrub(text) is text


@pytest.mark.parametrize(
    "text", [b"sk&excl;live-0123456789", b"sk&#33;live&#45;0123456789", b"sk!live&#126;0123456789"]
)
def test_the_first_and_the_last_printable_character_may_be_escaped(text: bytes) -> None:
    covered = Redactor(("sk!live-0123456789", "sk!live~0123456789")).scrub(text)

    assert covered == (MARK + b"-" * len(text))[: len(text)]


@pytest.mark.parametrize(("length", "covered"), [(15, False), (16, True)])
@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_a_short_value_in_another_case_could_be_an_ordinary_word(
    change: Callable[[str], str], length: int, covered: bool
) -> None:
    value = "Patchbay-is-Good-For"[:length]
    text = b"'" + change(value).encode() + b"'"

    assert (Redactor((value,)).scrub(text) != text) == covered
    assert Redactor((value,)).scrub(value.encode()) != value.encode()


def test_a_long_value_of_the_widest_escapes_is_kept_back_from_its_first_byte() -> None:
    value = "sk-" + "0123456789" * 6
    spelled = "".join(f"&amp;amp;amp;amp;amp;amp;amp;#x{0:014}{ord(char):x};" for char in value).encode()
    assert len(spelled) == 48 * len(value)
    out = _stream(Redactor((value,)), spelled[:-48], spelled[-48:] + b" ")

    assert out == [b"", (MARK + b"-" * len(spelled))[: len(spelled)] + b" ", b""]


def test_escapes_are_undone_four_deep() -> None:
    """R2, R4: each round reads the text again, so there is a bound."""
    cover, spelled = Redactor((PLAIN,)), b"\\u0073"
    for deep in range(1, 6):
        whole = spelled + PLAIN[1:].encode()
        assert (cover.scrub(whole) == whole) == (deep > 4), deep
        spelled = spelled.replace(b"\\", b"\\u005c")


def test_a_value_that_begins_before_an_open_escape_is_kept_back() -> None:
    """R4: also where what opens the escape is the beginning of another value."""
    out = _stream(Redactor(("abcdefghij", "&1234567")), b"- abc&", b"#100;efghij -")

    assert out[0] == b"- "
    assert out[1] == MARK[:15] + b" -"


def test_a_text_that_ends_in_no_beginning_is_not_delayed() -> None:
    """R4: although its last byte stands in the middle of a value."""
    chunks = [b"hello", b" m", b" 0123", b"%41 m", b""]

    assert _stream(Redactor((PLAIN,)), *chunks) == [*chunks, b""]


@pytest.mark.parametrize("form", [str, lambda key: key.encode().hex(), lambda key: b64encode(key.encode()).decode()])
def test_a_good_part_of_a_form_at_the_end_of_a_text_is_covered(form: Callable[[str], str]) -> None:
    spelled = form(PLAIN).encode()[:20]
    out = _stream(Redactor((PLAIN,)), b"ends in " + spelled)

    assert out[0] == b"ends in "
    assert out[1] == (MARK + b"-")[:20]
    assert b"".join(_stream(Redactor((PLAIN,)), b"ends in " + spelled[:6])) == b"ends in " + spelled[:6]


FIELDS = ((b"Server", b"x"), (b"X-" + PLAIN.encode().upper(), b"1"), (b"Via", b"a " + PLAIN.encode() + b" b"))


def test_header_fields_are_covered_in_their_names_and_values() -> None:
    """R4: each keeps its place and its length."""
    cover = Redactor((PLAIN,))
    mark = (MARK + b"-" * len(PLAIN))[: len(PLAIN)]

    assert cover.fields(FIELDS) == ((b"Server", b"x"), (b"X-" + mark, b"1"), (b"Via", b"a " + mark + b" b"))
    assert cover.fields(FIELDS[:1]) == FIELDS[:1]
    assert cover.fields(()) == ()


@pytest.mark.parametrize("size", [2047, 2048, 2049, 5000])
def test_a_value_is_found_in_a_text_of_any_size(size: int) -> None:
    """Long texts are searched in another way than short ones."""
    cover = Redactor(KEYS)
    for spelled in (PLAIN, PLAIN.encode().hex(), _each("%{0:02x}")(PLAIN)):
        whole = spelled.encode().rjust(size)
        covered = cover.scrub(whole)
        assert covered.startswith(whole[: -len(spelled)])
        assert covered[-len(spelled) :] == (MARK + b"-" * size)[: len(spelled)]
    assert cover.scrub(b" " * size) == b" " * size


def test_values_that_become_known_in_the_middle_of_a_stream_are_covered_from_then_on() -> None:
    covers = [Redactor(()), Redactor((PLAIN,))]
    stream = RedactedStream(lambda: covers[0])
    assert stream.feed(PLAIN.encode()) == PLAIN.encode()
    del covers[0]
    assert PLAIN.encode() not in stream.feed(PLAIN.encode() + b".")


@pytest.mark.parametrize("value", ["12345678", "????????", "a b/c+d%", "\N{EURO SIGN}" * 8])
def test_no_form_is_shorter_than_the_word_that_finds_it(value: str) -> None:
    assert min(map(len, redaction._forms(value.encode()))) >= redaction._WORD


@pytest.mark.parametrize("before", range(9))
def test_of_many_values_each_is_found_wherever_it_stands(before: int) -> None:
    keys = [f"{number * 7919 % 1000:03}-{number:04}" for number in range(1000)]
    found = Redactor(keys)
    for key in keys[::97]:
        for after in range(9):
            text = b"-" * before + key.encode() + b"=" * after
            assert found.scrub(text) == text.replace(key.encode(), (MARK + b"-" * 8)[: len(key)])
    assert found.scrub(b"x" * before) == b"x" * before
