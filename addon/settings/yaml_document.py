"""
A YAML text as a document with places, and readers of its values by type.

PyYAML finds the structure. The type of a scalar is the one its reader wants, so that `no`, `1:30` and `010` are plain
text. Knows no setting.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

import yaml

from .. import secret_patterns
from ..frozen import dataclass

MAX_SIZE = 1_000_000  # characters
MAX_NODES = 100_000  # with every alias written out
MAX_DEPTH = 50

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OLD_FLAGS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,3})?")
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,9})?)s)?(?:(\d{1,9})ms)?")
_UNITS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?) ?([KMG]?i?B)")
_FACTORS = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_LONG = re.compile(r"(?=.*[0-9])[A-Za-z0-9_\-.+/=]{20,}")  # a value that may be a key
_QUOTED = re.compile(r"'[^']+'|\"[^\"]+\"")
_RUN_TOGETHER = re.compile(r"([A-Za-z_]+)\s*[:=]")  # `name:value` and `name=value` are one word to YAML
_MAX_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar. *quoted* text is never a number, a flag or null."""

    text: str = field(repr=False)
    quoted: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    nodes: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Member:
    """The *place* of a key in a mapping, and its value."""

    place: Place
    value: Node


@dataclass(frozen=True, slots=True)
class Members:
    """A mapping, in the order of the text; merged entries come last."""

    entries: Mapping[str, Member]
    place: Place


Node = Scalar | Items | Members


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """A mistake or a warning: its place in the text, and the path of its setting (empty: the whole text)."""

    place: Place
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text that was read. Without a *root* it is unreadable; *mistakes* then say why."""

    root: Node | None
    mistakes: tuple[Mistake, ...] = ()


def parse(text: str | bytes) -> Document:
    """Read *text* as one YAML document. Never raises: every error is among the mistakes."""
    try:
        return _parsed(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as e:
        before = e.object[: e.start].decode("utf-8", "replace")
        return _unreadable(_place_after(before), f"must be UTF-8, byte {e.start} is not")


def places(node: Node | None, path: str = "") -> Iterator[tuple[str, Place]]:
    """Yield the path of every setting below *node*, as messages write it, with its place."""
    match node:
        case Items(nodes=nodes):
            for at, inner in enumerate(nodes):
                yield f"{path}[{at}]", inner.place
                yield from places(inner, f"{path}[{at}]")
        case Members(entries=entries):
            for name, member in entries.items():
                below = f"{path}.{name}" if path else name
                yield below, member.value.place
                yield from places(member.value, below)


# -- values, read by type ---------------------------------------------------------------------------------------------


class InvalidSetting(Exception):
    """A setting is invalid, and its mistake is noted."""


@dataclass(frozen=True, slots=True)
class Notes:
    """The mistakes and warnings about one document."""

    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Setting:
    """A node and its *path*. All settings of a document share *notes*."""

    node: Node
    path: str
    notes: Notes = field(repr=False)
    key: Place | None = None  # the place of its name, if it has one

    @property
    def place(self) -> Place:
        return self.node.place

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, Scalar) and not self.node.quoted and self.node.text in _NULL

    def note(self, message: str) -> None:
        """Note that *message* is wrong with this setting."""
        self.notes.mistakes.append(Mistake(self.place, self.path, message))

    def warn(self, message: str) -> None:
        """Note *message* as a warning about the name of this setting."""
        self.notes.warnings.append(Mistake(self.key or self.place, self.path, message))

    def wrong(self, message: str) -> InvalidSetting:
        """Note *message* and return what to raise."""
        self.note(message)
        return InvalidSetting()

    def members(self) -> dict[str, Setting]:
        """Return the entries of a mapping; null is an empty one."""
        if self.is_null:
            return {}
        if not isinstance(self.node, Members):
            raise self.wrong(f"must be a mapping (name: value), is {self.described()}")
        path = f"{self.path}." if self.path else ""
        return {
            name: Setting(member.value, path + shown(name), self.notes, member.place)
            for name, member in self.node.entries.items()
        }

    def items(self) -> list[Setting]:
        """Return the items of a list; null is an empty one."""
        if self.is_null:
            return []
        if not isinstance(self.node, Items):
            raise self.wrong(f"must be a list, is {self.described()}")
        return [Setting(node, f"{self.path}[{at}]", self.notes) for at, node in enumerate(self.node.nodes)]

    def scalar(self, must: str) -> Scalar:
        """Return the scalar; anything else is a mistake: it *must* be …"""
        if not isinstance(self.node, Scalar) or self.is_null:
            raise self.wrong(f"must be {must}, is {self.described()}")
        return self.node

    def unquoted(self, must: str) -> str:
        """Return the text of an unquoted scalar: numbers and flags have no quotes."""
        found = self.scalar(must)
        if found.quoted:
            raise self.wrong(f"must be {must}, is text; take the quotes off")
        return found.text

    def described(self) -> str:
        """Return the value for a message: short, printable, and hidden if it looks like a key."""
        match self.node:
            case Items():
                return "a list"
            case Members():
                return "a mapping"
            case Scalar(text=text, quoted=quoted):
                if self.is_null:
                    return "empty"
                said = secret_patterns.NOT_SHOWN if _LONG.fullmatch(text) else shown(text)
                return f"'{said}'" if quoted or not _NUMBER.fullmatch(text) else said


Read = Callable[[Setting], Any]


def text(setting: Setting) -> str:
    """Read a scalar that is not empty, as it is written."""
    found = setting.scalar("text").text
    if not found.strip():
        raise setting.wrong("must be text, is empty")
    if not found.isprintable():
        raise setting.wrong("must be one line of printable text")
    return found


def flag(setting: Setting) -> bool:
    """Read `true` or `false`; `yes` and its like are mistakes."""
    found = setting.unquoted("true or false")
    if found in _FLAGS:
        return _FLAGS[found]
    hint = _OLD_FLAGS.get(found.lower())
    raise setting.wrong(f"must be true or false, is {setting.described()}" + (f"; write {hint}" if hint else ""))


def whole(least: int | None = None, most: int | None = None) -> Read:
    """Make a reader of whole numbers from *least* to *most*."""

    def read(setting: Setting) -> int:
        found = setting.unquoted("a whole number")
        if not _WHOLE.fullmatch(found):
            raise setting.wrong(f"must be a whole number, is {setting.described()}")
        number = int(found)
        if least is not None and number < least:
            raise setting.wrong(f"must be {least} or more, is {found}")
        if most is not None and number > most:
            raise setting.wrong(f"must be {most} or less, is {found}")
        return number

    return read


def positive(setting: Setting) -> float:
    """Read a number above 0."""
    found = setting.unquoted("a number")
    if not _NUMBER.fullmatch(found) or not math.isfinite(float(found)):
        raise setting.wrong(f"must be a number, is {setting.described()}")
    if float(found) <= 0:
        raise setting.wrong(f"must be > 0, is {found}")
    return float(found)


def seconds(setting: Setting) -> float:
    """Read a duration above 0: `1h30m`, `90s`, `500ms`, or plain seconds."""
    found = setting.scalar("a duration").text
    value = length_of(found)
    if value is None:
        raise setting.wrong(f"must be a duration such as 90s, 500ms or 1h30m, is {setting.described()}")
    if value <= 0:
        raise setting.wrong(f"must {'not be negative' if value else 'be longer than 0'}, is {found}")
    return value


def length_of(text: str) -> float | None:
    """Return the seconds that *text* means, in the forms of `seconds`; None: it means none."""
    units = _DURATION.fullmatch(text)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if not text or units is None:
        return None
    return sum(float(count) * unit for count, unit in zip(units.groups(), _UNITS, strict=True) if count)


def size(setting: Setting) -> int:
    """Read a size above 0 in bytes: `64MB`, `1MiB`, or plain bytes."""
    found = setting.scalar("a size").text
    units = _SIZE.fullmatch(found)
    if _WHOLE.fullmatch(found):
        value = int(found)
    elif units and units[2] in _FACTORS:
        value = int(float(units[1]) * _FACTORS[units[2]])
    else:
        raise setting.wrong(f"must be a size such as 64MB, 1MiB or a number of bytes, is {setting.described()}")
    if value <= 0:
        raise setting.wrong(f"must be > 0, is {found}")
    return value


def one_of(*names: str) -> Read:
    """Make a reader of one word among *names*."""

    def read(setting: Setting) -> str:
        found = setting.scalar("one of " + ", ".join(names)).text
        if found not in names:
            raise setting.wrong(f"{setting.described()} is none of {', '.join(names)}{suggestion(found, names)}")
        return found

    return read


def suggestion(word: str, names: Iterable[str]) -> str:
    """Return a "did you mean" for the nearest of *names*, or nothing if none is near *word*."""
    names = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word[:_MAX_SHOWN].lower(), names, 1)
    return f", did you mean '{shown(names[near[0]])}'?" if near else ""


@dataclass(frozen=True, slots=True)
class Section:
    """
    A reader of a mapping in which only *keys* may stand and *needs* must. *renamed* are former keys (see `RENAMED`).

    *make* gets the setting and the valid values. Missing and invalid ones are noted and left out, even where they are
    needed: a mistake must not hide another.
    """

    keys: Mapping[str, Read]
    make: Callable[[Setting, dict[str, Any]], Any]
    needs: tuple[str, ...] = ()
    extensions: str = ""  # keys with this prefix are ignored
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, setting: Setting) -> Any:
        members = setting.members()
        values: dict[str, Any] = {}
        for name, member in members.items():
            if name in self.keys:
                _attempt(values, name, self.keys[name], member)
            elif name in self.renamed:
                self._read_renamed(values, self.renamed[name], member, members)
            elif not (self.extensions and name.startswith(self.extensions)):
                _unknown(setting, member, name, self.keys)
        for name in self.needs:
            if name not in members:
                setting.note(f"{name} is missing")
        return self.make(setting, values)

    def _read_renamed(self, values: dict[str, Any], new: str, member: Setting, members: Mapping[str, Setting]) -> None:
        if not new:
            member.warn("is no longer used")
        elif new in members:
            member.note(f"is now called '{new}', which is set too, on line {members[new].place.line}; remove one")
        else:
            member.warn(f"is now called '{new}'")
            _attempt(values, new, self.keys[new], member)


@dataclass(frozen=True, slots=True)
class Each:
    """A reader of a list of *inner*; invalid items are left out."""

    inner: Read

    def __call__(self, setting: Setting) -> tuple[Any, ...]:
        values: dict[int, Any] = {}
        for at, item in enumerate(setting.items()):
            _attempt(values, at, self.inner, item)
        return tuple(values.values())


@dataclass(frozen=True, slots=True)
class Named:
    """A reader of a mapping from any names to *inner*; *name* checks and normalises a name."""

    inner: Read
    name: Callable[[Setting, str], str] = lambda _, name: name

    def __call__(self, setting: Setting) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, member in setting.members().items():
            try:
                kept = self.name(member, name)
            except InvalidSetting:
                continue
            _attempt(values, kept, self.inner, member)
        return values


@dataclass(frozen=True, slots=True)
class Either:
    """A reader of a value in a *short* form or as a mapping."""

    short: Read
    long: Section

    def __call__(self, setting: Setting) -> Any:
        return self.long(setting) if isinstance(setting.node, Members) else self.short(setting)


def _attempt(values: dict[Any, Any], name: object, read: Read, setting: Setting) -> None:
    try:
        values[name] = read(setting)
    except InvalidSetting:
        return


def _unknown(setting: Setting, member: Setting, name: str, keys: Mapping[str, Read]) -> None:
    """Note that *name* is not a setting. Its text is shown with care: a key may be part of it."""
    inside = f"{setting.path}." if setting.path else ""
    joined = _RUN_TOGETHER.match(name)
    if joined and joined[1] in keys:  # the rest of the name is its value
        where, message = inside + joined[1], f"must be written '{joined[1]}: …', with a space after the colon"
    else:
        where = inside + (secret_patterns.NOT_SHOWN if _LONG.fullmatch(name) else shown(name))
        message = "is not a setting" + (suggestion(name, keys) or f"; there are {', '.join(keys)}")
    setting.notes.mistakes.append(Mistake(member.key or member.place, where, message))


def shown(value: str) -> str:
    """Return *value*, a text of the document, for a message: one short line, hidden if it looks like a key."""
    value = secret_patterns.shown(value)
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)
    return line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "…"


# -- from text to nodes -----------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """PyYAML without types of scalars: a node has a tag only where the user wrote one."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""


def _parsed(source: str) -> Document:
    if len(source) > MAX_SIZE:
        return _unreadable(Place(1, 1), f"must be {MAX_SIZE} characters or less, is {len(source)}")
    try:
        root = yaml.compose(source, _Loader)
        if root is None:
            return _unreadable(Place(1, 1), "is empty; it needs settings")
        tree = _Tree()
        return Document(tree.node(root), tuple(tree.mistakes))
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        return _unreadable(_place(mark) if mark else Place(1, 1), _problem(e))
    except yaml.reader.ReaderError as e:
        return _unreadable(_place_after(source[: e.position]), "has a character that YAML does not allow")
    except (yaml.YAMLError, ValueError, OverflowError):  # "\\UFFFFFFFF" is a ValueError of PyYAML's
        return _unreadable(Place(1, 1), "is not YAML")
    except RecursionError:
        return _unreadable(Place(1, 1), "is nested too deeply")


def _problem(error: yaml.MarkedYAMLError) -> str:
    if error.context == "expected a single document in the stream":
        return "only one document is read; another begins here"
    if error.context == "while scanning an alias" or "undefined alias" in (error.problem or ""):
        return "a value that begins with * must be quoted, as in '*' (else it is an alias, whose anchor comes first)"
    if "\\t" in (error.problem or ""):
        return "has a tab where YAML needs spaces"
    told = " ".join(part for part in (error.context, error.problem) if part)
    # PyYAML quotes names of anchors and tags as they were written
    return "is not YAML: " + _QUOTED.sub(lambda found: found[0][0] + shown(found[0][1:-1]) + found[0][-1], told)


class _Tree:
    """Turns PyYAML's nodes into ours: resolves aliases and merges, bounds the size, notes mistakes."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._made: dict[int, Node] = {}
        self._weight: dict[int, int] = {}
        self._open: set[int] = set()

    def node(self, found: yaml.Node) -> Node:
        if id(found) in self._open:
            raise _error("an alias refers to itself", found)
        if id(found) not in self._made:
            self._open.add(id(found))
            if len(self._open) > MAX_DEPTH:
                raise RecursionError
            if found.tag:
                self._note(found, "has a tag (!), which is not supported")
            self._made[id(found)] = self._make(found)
            self._weight[id(found)] = self._weigh(found)
            self._open.discard(id(found))
        return self._made[id(found)]

    def _make(self, found: yaml.Node) -> Node:
        match found:
            case yaml.MappingNode():
                return self._members(found)
            case yaml.SequenceNode():
                return Items(tuple(self.node(inner) for inner in found.value), _place(found.start_mark))
            case yaml.ScalarNode():
                return Scalar(found.value, bool(found.style), _place(found.start_mark))
            case _:
                raise TypeError(type(found).__name__)

    def _members(self, found: yaml.MappingNode) -> Members:
        entries: dict[str, Member] = {}
        merged: dict[str, Member] = {}
        merges: list[yaml.Node] = []
        for key, value in found.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                self._note(key, "a key must be text")
            elif key.value == "<<" and not key.style:
                merges.append(key)
                merged = {**self._merged(value), **merged}
                self._twice(key, merges[0] if len(merges) > 1 else None)
            else:
                here = entries.setdefault(key.value, Member(_place(key.start_mark), self.node(value)))
                self._twice(key, None if here.place == _place(key.start_mark) else here)
        entries |= {name: member for name, member in merged.items() if name not in entries}
        return Members(entries, _place(found.start_mark))

    def _merged(self, value: yaml.Node) -> dict[str, Member]:
        sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
        merged: dict[str, Member] = {}
        for source in sources:
            members = self.node(source)
            if not isinstance(members, Members):
                self._note(source, "<< must name a mapping, or a list of them")
                return {}
            merged = {**members.entries, **merged}
        return merged

    def _twice(self, key: yaml.Node, before: yaml.Node | Member | None) -> None:
        if before is not None:
            line = before.place.line if isinstance(before, Member) else before.start_mark.line + 1
            self._note(key, f"'{shown(key.value)}' is repeated, first on line {line}")

    def _weigh(self, found: yaml.Node) -> int:
        weight = 1 + sum(self._weight.get(id(inner), 1) for inner in _children(found))
        if weight > MAX_NODES:
            raise _error("its aliases expand to too much", found)
        return weight

    def _note(self, found: yaml.Node, message: str) -> None:
        self.mistakes.append(Mistake(_place(found.start_mark), "", message))


def _children(found: yaml.Node) -> Iterator[yaml.Node]:
    match found:
        case yaml.MappingNode():
            for pair in found.value:
                yield from pair
        case yaml.SequenceNode():
            yield from found.value


def _error(problem: str, found: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=found.start_mark)


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _place_after(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _unreadable(place: Place, message: str) -> Document:
    return Document(None, (Mistake(place, "", message),))
