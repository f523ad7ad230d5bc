"""
The mutants of a module: its source with one small change each, such as `<` for `<=` or a statement left out.

Docstrings, annotations, decorators, imports, assertions, f-strings, log calls and texts of exceptions stay as they are.
The mutants are made from the syntax tree; the change itself is made in the text, so that it can be shown as a diff.
"""

from __future__ import annotations

import ast
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: (r"is\s+not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: (r"not\s+in", ("in",)),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
}
_TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_ORDERED = {"isinstance", "issubclass", "getattr", "setattr", "hasattr"}  # swapped arguments fail at once
# Arguments are swapped for others of their shape; a call in the place of a constant fails at once.
_SWAPPABLE = {ast.Name: "name", ast.Attribute: "name", ast.Constant: "constant", ast.Call: "call", ast.BinOp: "call"}
_LOGGERS = {"log", "_log", "logger", "_logger", "logging"}
_UNUSED = {"help", "description", "epilog", "strict"}  # keyword arguments: texts, and what no right call depends on
_UNTOUCHED = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.TypeAlias, ast.Assert, ast.JoinedStr)
_BREAK = " ⏎ "  # between the lines of a change that spans several


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a module, named by its path below addon/."""

    module: str
    kind: str
    line: int
    before: str  # the lines that change, stripped
    after: str
    source: str  # the whole module with the change
    statement: tuple[int, int]  # first and last line of the statement, without the block below it

    @property
    def change(self) -> str:
        return f"{self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class _Edit:
    kind: str
    start: int  # bytes
    end: int
    text: str
    statement: tuple[int, int]


def mutants(module: str, source: str) -> list[Mutant]:
    """Return every mutant of *source*, in the order of the text; some may not be valid Python (see `valid`)."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return [_mutant(module, source, edit) for edit in finder.edits]


def valid(mutant: Mutant, source: str) -> bool:
    """Return whether *mutant* is valid Python that differs from *source* in more than its form."""
    try:
        changed = ast.parse(mutant.source)
    except SyntaxError:
        return False
    return ast.dump(changed) != ast.dump(ast.parse(source))


def sample(found: list[Mutant], source: str, count: int, seed: int) -> list[Mutant]:
    """Draw *count* valid mutants: one from each statement before a second from any, so long tables weigh little."""
    if not found:
        return []
    drawing = random.Random(f"{seed} {found[0].module}")
    statements: dict[tuple[int, int], list[Mutant]] = defaultdict(list)
    for mutant in found:
        statements[mutant.statement].append(mutant)
    groups = list(statements.values())
    order: list[list[Any]] = [groups, *groups]
    for group in order:
        drawing.shuffle(group)
    turns = (group[turn] for turn in range(max(map(len, groups))) for group in groups if turn < len(group))
    drawn: list[Mutant] = []
    while len(drawn) < count and (candidate := next(turns, None)):
        if valid(candidate, source):
            drawn.append(candidate)
    return sorted(drawn, key=lambda mutant: mutant.line)


def _mutant(module: str, source: str, edit: _Edit) -> Mutant:
    data = source.encode()
    changed = (data[: edit.start] + edit.text.encode() + data[edit.end :]).decode()
    first = data[: edit.start].count(b"\n")
    begins = data.rfind(b"\n", 0, edit.start) + 1
    ends = data.find(b"\n", edit.end)
    ends = len(data) if ends < 0 else ends
    before = data[begins:ends].decode()
    after = (data[begins : edit.start] + edit.text.encode() + data[edit.end : ends]).decode()
    old, new = _different(before.split("\n"), after.split("\n"))
    return Mutant(module, edit.kind, first + 1 + old[0], old[1], new, changed, edit.statement)


def _different(old: list[str], new: list[str]) -> tuple[tuple[int, str], str]:
    """Return the number and text of the lines that differ, and what is there instead."""
    skipped = 0
    while len(old) > 1 and len(new) > 1 and old[0] == new[0]:
        old, new, skipped = old[1:], new[1:], skipped + 1
    while len(old) > 1 and len(new) > 1 and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return (skipped, _line(old)), _line(new)


def _line(lines: list[str]) -> str:
    return _BREAK.join(line.strip() for line in lines)


class _Finder(ast.NodeVisitor):
    """Collects the edits of one module."""

    def __init__(self, source: str) -> None:
        self.edits: list[_Edit] = []
        self._data = source.encode()
        self._lines = [0]
        for line in self._data.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._statement = (1, 1)
        self._functions: list[str] = []
        self._last: set[ast.stmt] = set()

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, _UNTOUCHED) or _is_log_call(node) or _is_guard(node):
            return
        outer = self._statement
        if isinstance(node, ast.stmt | ast.match_case):
            self._statement = _header(node)
        if node not in self._last and _is_droppable(node, self._functions):
            self._replace("statement", node, "pass")
        super().visit(node)
        self._statement = outer

    # What is not followed, or only in part

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        self._functions.append(node.name)
        self._early_return(node)
        self._last.add(node.body[-1])  # as a dropped statement it would be an early return
        for each in node.body:
            self.visit(each)
        self._functions.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for each in node.body:
            self.visit(each)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(isinstance(target, ast.Name) and target.id.startswith("__") for target in node.targets):
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave the text of an exception alone."""

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in _UNUSED:
            self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        if not isinstance(node.slice, ast.Tuple):  # dict[str, int]
            self.visit(node.slice)

    # Conditions

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        self._condition("if", node.test, "or True")
        self._condition("if", node.test, "and False")
        self.generic_visit(node)

    visit_IfExp = visit_If

    def visit_While(self, node: ast.While) -> None:
        if not isinstance(node.test, ast.Constant):
            self._condition("while", node.test, "and False")
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._condition("filter", test, "or True")
        self._table(node.iter)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._table(node.iter)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip((node.left, *node.comparators), node.ops, node.comparators, strict=False):
            pattern, others = _COMPARISONS[type(operator)]
            for other in others:
                self._between("comparison", left, right, pattern, other)
            if isinstance(operator, ast.In | ast.NotIn):
                self._table(right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._unparse("and/or", node, ast.BoolOp(other, node.values))
        for index in range(len(node.values)):
            rest = [*node.values[:index], *node.values[index + 1 :]]
            self._unparse("operand", node, rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._unparse("not", node, node.operand)
        self.generic_visit(node)

    # Values

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            for other in (node.value + 1, node.value - 1):
                self._replace("constant", node, repr(other) if other >= 0 else f"({other})")

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _ARITHMETIC and not any(map(_is_text, (node.left, node.right))):
            operator, other = _ARITHMETIC[type(node.op)]
            self._between("arithmetic", node.left, node.right, re.escape(operator), other)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if type(node.op) in _ARITHMETIC and not _is_text(node.value):
            operator, other = _ARITHMETIC[type(node.op)]
            self._between("arithmetic", node.target, node.value, re.escape(operator), other)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in _TWINS:
            self._replace("min/max" if name in ("min", "max") else "any/all", node.func, _TWINS[name])
        elif name not in _ORDERED and not any(isinstance(each, ast.Starred) for each in node.args):
            for one, two in zip(node.args, node.args[1:], strict=False):
                self._swap(one, two)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "split" and not node.args:
            self._words(node.func.value)
        self.generic_visit(node)

    # Tables

    def visit_Dict(self, node: ast.Dict) -> None:
        self._table(node)
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        self._table(node)
        self.generic_visit(node)

    def visit_Tuple(self, node: ast.Tuple | ast.List) -> None:
        if not self._functions and isinstance(node.ctx, ast.Load):
            self._table(node)
        self.generic_visit(node)

    visit_List = visit_Tuple

    def _table(self, node: ast.expr) -> None:
        """Leave out each entry of a literal with several."""
        if isinstance(node, ast.Dict):
            firsts: list[ast.expr] = [key or value for key, value in zip(node.keys, node.values, strict=True)]
            if None in node.keys:  # a merge: its stars are in no node
                return
            lasts = node.values
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            firsts = lasts = node.elts
            if isinstance(node, ast.Tuple) and len(firsts) == 2:
                for each in reversed(firsts):
                    self._replace("entry", node, f"({ast.unparse(each)},)")
                return
        else:
            return
        for index in range(len(firsts) if len(firsts) > 1 else 0):
            if index < len(firsts) - 1:
                start, end = self._start(firsts[index]), self._start(firsts[index + 1])
            else:
                start, end = self._end(lasts[index - 1]), self._end(lasts[index])
            self._edit("entry", start, end, "")

    def _words(self, node: ast.expr) -> None:
        """Leave out each word of a text that is split into a table."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = self._data[self._start(node) : self._end(node)].decode()
            for word in node.value.split():
                places = list(re.finditer(rf"(?<![^\s\"']){re.escape(word)}(?![^\s\"'])", text))
                if len(places) == 1:
                    begin = self._start(node) + len(text[: places[0].start()].encode())
                    self._edit("entry", begin, begin + len(word.encode()), "")

    # Making edits

    def _early_return(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        if node.name == "__init__" or not body or body[0].lineno == node.lineno or _is_empty(body[0]):
            return
        outer, self._statement = self._statement, _header(body[0])
        start = self._start(body[0])
        indent = " " * body[0].col_offset
        if not getattr(body[0], "decorator_list", None):
            self._edit("early return", start, start, f"return None\n{indent}")
        self._statement = outer

    def _condition(self, kind: str, test: ast.expr, more: str) -> None:
        """Make *test* constant; the names that it assigns stay assigned."""
        if any(isinstance(each, ast.NamedExpr) for each in ast.walk(test)):
            self._replace(kind, test, f"({ast.unparse(test)}) {more}")
        else:
            self._replace(kind, test, more.split()[1])

    def _swap(self, one: ast.expr, two: ast.expr) -> None:
        if _SWAPPABLE.get(type(one)) == _SWAPPABLE.get(type(two), "") and ast.dump(one) != ast.dump(two):
            texts = [self._data[self._start(each) : self._end(each)].decode() for each in (one, two)]
            gap = self._data[self._end(one) : self._start(two)].decode()
            self._edit("arguments", self._start(one), self._end(two), texts[1] + gap + texts[0])

    def _between(self, kind: str, left: ast.expr, right: ast.expr, pattern: str, other: str) -> None:
        start, end = self._end(left), self._start(right)
        gap = self._data[start:end].decode()
        if place := re.search(pattern, gap):
            begin = start + len(gap[: place.start()].encode())
            self._edit(kind, begin, begin + len(place.group().encode()), other)

    def _unparse(self, kind: str, node: ast.expr, other: ast.expr) -> None:
        self._replace(kind, node, f"({ast.unparse(other)})")

    def _replace(self, kind: str, node: ast.AST, text: str) -> None:
        self._edit(kind, self._start(node), self._end(node), text)

    def _edit(self, kind: str, start: int, end: int, text: str) -> None:
        edit = _Edit(kind, start, end, text, self._statement)
        if edit not in self.edits[-200:]:  # a table that is found as an operand and by itself
            self.edits.append(edit)

    def _start(self, node: ast.AST) -> int:
        return self._lines[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined, no-any-return]

    def _end(self, node: ast.AST) -> int:
        return self._lines[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined, no-any-return]


def _header(node: ast.stmt | ast.match_case) -> tuple[int, int]:
    """Return the first and last line of a statement, or of what stands above its block."""
    match node:
        case ast.match_case():
            start, end = node.pattern.lineno, node.body[0].lineno - 1
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            end = node.body[0].lineno - 1
        case ast.Match():
            start, end = node.lineno, node.cases[0].pattern.lineno - 1
        case _:
            start = node.lineno
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno or start
    return start, max(start, end)


def _is_droppable(node: ast.AST, functions: list[str]) -> bool:
    match node:
        case ast.Expr(value=ast.Constant() | ast.JoinedStr()):
            return False
        case ast.Expr(value=value):
            return not _is_log_call(value)
        case ast.Assign(targets=targets):
            return functions[-1:] != ["__init__"] and all(
                isinstance(each, ast.Attribute | ast.Subscript) for each in targets
            )
        case ast.Return() | ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Continue() | ast.Break():
            return True
    return False


def _is_log_call(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Call() as call):
            return _is_log_call(call)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            return name in _LOGGERS
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=name))):
            return name in _LOGGERS
    return False


def _is_guard(node: ast.AST) -> bool:
    """Return whether it is `if TYPE_CHECKING` or `if __name__ == "__main__"`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).startswith(("TYPE_CHECKING", "__name__ =="))


def _is_text(node: ast.expr) -> bool:
    match node:
        case ast.JoinedStr() | ast.List() | ast.Tuple() | ast.Constant(value=str() | bytes()):
            return True
        case ast.BinOp(op=ast.Add() | ast.Mod(), left=left, right=right):
            return _is_text(left) or _is_text(right)
    return False


def _is_empty(node: ast.stmt) -> bool:
    match node:
        case ast.Pass() | ast.Raise() | ast.Expr(value=ast.Constant()) | ast.Return(value=None):
            return True
        case ast.Return(value=ast.Constant(value=None)):
            return True
    return False
