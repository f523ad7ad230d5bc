"""
Puts a mutant in place of a module that is loaded: new code in its functions, new values under its names.

A function takes new code as it is, wherever it is referred to. A value of a module or a class is made anew by running
the mutant, and set in the module and in those that imported it. What other modules or tests made of it when they were
imported stays, so that a mutant which survives then has to be run with everything loaded anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import gc
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

_PLAIN = (str, bytes, int, float, bool, complex, type(None))
_ABSENT = object()


class _Unknown(Exception):
    """A value that cannot be carried over from the mutant."""


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """A module as it is loaded: its source, and its functions."""

    module: ModuleType
    source: str
    functions: dict[CodeType, list[FunctionType]]


def loaded(sources: dict[str, str]) -> dict[str, Loaded]:
    """Return those modules of *sources*, by path, that are loaded."""
    modules = {getattr(each, "__file__", None): each for each in list(sys.modules.values())}
    functions: dict[str, dict[CodeType, list[FunctionType]]] = defaultdict(lambda: defaultdict(list))
    gc.unfreeze()
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__code__.co_filename in sources:
            functions[each.__code__.co_filename][each.__code__].append(each)
    gc.freeze()  # forks look at nothing of it for garbage, so that they share its memory
    return {path: Loaded(modules[path], text, functions[path]) for path, text in sources.items() if path in modules}


def apply(target: Loaded, source: str) -> bool:
    """
    Put *source* in place of *target*, and return whether nothing of the change can have been missed.

    Raises whatever running the mutant raises: it cannot be imported.
    """
    path = target.module.__file__ or ""
    before = compile(target.source, path, "exec", dont_inherit=True)
    after = compile(source, path, "exec", dont_inherit=True)
    functions, whole = _changed(before, after)
    for old, new in functions:
        whole = whole and old in target.functions
        for one, other in [(old, new), *_functions_within(old, new)]:  # an import may have made some that live on
            whole = _replace(target, one, other) and whole
    if not whole:
        _set_values(target.module, _run(target.module, after))
    return whole


def _replace(target: Loaded, old: CodeType, new: CodeType) -> bool:
    """Give the functions with *old* the code *new*; False if one of them cannot take it."""
    try:
        for function in target.functions.get(old, []):
            function.__code__ = new
    except ValueError:  # it uses other variables of the function around it
        return False
    return True


def _changed(before: CodeType, after: CodeType) -> tuple[list[tuple[CodeType, CodeType]], bool]:
    """Return the outermost functions that differ, and whether that is all: no module or class body differs."""
    old, new = _inner(before), _inner(after)
    found: list[tuple[CodeType, CodeType]] = []
    whole = _body(before) == _body(after) and len(old) == len(new)
    for one, other in zip(old, new, strict=False):
        if not one.co_flags & inspect.CO_OPTIMIZED:  # the body of a class
            inner, same = _changed(one, other)
            found += inner
            whole = whole and same
        elif _whole(one) != _whole(other):
            found.append((one, other))
    return found, whole


def _functions_within(before: CodeType, after: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    for one, other in zip(_inner(before), _inner(after), strict=False):
        yield one, other
        yield from _functions_within(one, other)


def _inner(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _body(code: CodeType) -> tuple[object, ...]:
    """Return what *code* does itself, without its lines and the code within."""
    constants = tuple(None if isinstance(each, CodeType) else (type(each), repr(each)) for each in code.co_consts)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (
        code.co_code,
        names,
        code.co_argcount,
        code.co_kwonlyargcount,
        code.co_flags,
        code.co_exceptiontable,
        constants,
    )


def _whole(code: CodeType) -> tuple[object, ...]:
    return _body(code), tuple(map(_whole, _inner(code)))


def _run(module: ModuleType, code: CodeType) -> ModuleType:
    """Run *code* as *module* would be imported, and return what came of it."""
    fresh = ModuleType(module.__name__)
    fresh.__dict__.update({name: value for name, value in vars(module).items() if name.startswith("__")})
    sys.modules[module.__name__] = fresh
    try:
        exec(code, fresh.__dict__)  # noqa: S102 - it is our own code
    finally:
        sys.modules[module.__name__] = module
    return fresh


def _set_values(module: ModuleType, fresh: ModuleType) -> None:
    """Give *module*, its classes and functions the values of *fresh*, and those who imported them too."""
    for name, old in list(vars(module).items()):
        if name.startswith("__"):
            continue
        new = vars(fresh).get(name, _ABSENT)
        if isinstance(old, type) and old.__module__ == module.__name__ and isinstance(new, type):
            _set_members(old, new, module)
        elif isinstance(old, FunctionType) and isinstance(new, FunctionType):
            _set_defaults(old, new, module)
        elif new is _ABSENT:
            delattr(module, name)
        else:
            with contextlib.suppress(_Unknown):
                if not _same(value := _carried(new, module), old):
                    _set_everywhere(name, old, value)


def _set_everywhere(name: str, old: object, value: object) -> None:
    for each in list(sys.modules.values()):
        if getattr(each, "__dict__", {}).get(name, _ABSENT) is old and each.__name__.split(".")[0] in (
            "patchbay",
            "tests",
        ):
            setattr(each, name, value)


def _set_members(old: type, fresh: type, module: ModuleType) -> None:
    for name, new in vars(fresh).items():
        before = vars(old).get(name, _ABSENT)
        if isinstance(before, FunctionType) and isinstance(new, FunctionType):
            _set_defaults(before, new, module)
        elif isinstance(new, (*_PLAIN, tuple, frozenset)) and not name.startswith("__"):
            with contextlib.suppress(_Unknown, AttributeError, TypeError):
                if not _same(value := _carried(new, module), before):
                    setattr(old, name, value)


def _set_defaults(old: FunctionType, new: FunctionType, module: ModuleType) -> None:
    for name in ("__defaults__", "__kwdefaults__"):
        with contextlib.suppress(_Unknown):
            if not _same(value := _carried(getattr(new, name), module), getattr(old, name)):
                setattr(old, name, value)


def _carried(value: object, module: ModuleType) -> Any:
    """Return *value* with the functions and classes of *module* in place of those that the mutant made."""
    if isinstance(value, enum.Enum):
        return _carried(type(value), module)[value.name]
    if type(value) in _PLAIN or isinstance(value, (re.Pattern, ModuleType)):
        return value
    if type(value) in (tuple, list, set, frozenset):
        return type(value)(_carried(each, module) for each in value)  # type: ignore[call-arg, attr-defined]
    if type(value) in (dict, MappingProxyType):
        found = {_carried(key, module): _carried(each, module) for key, each in value.items()}  # type: ignore[attr-defined]
        return type(value)(found)  # type: ignore[call-arg]
    if isinstance(value, (type, FunctionType)):
        return _named(value.__qualname__, module) if value.__module__ == module.__name__ else value
    if dataclasses.is_dataclass(value):
        made = object.__new__(_carried(type(value), module))
        for each in dataclasses.fields(value):
            object.__setattr__(made, each.name, _carried(getattr(value, each.name), module))
        return made
    raise _Unknown


def _named(qualified: str, module: ModuleType) -> object:
    found: object = module
    for name in qualified.split("."):
        found = getattr(found, name, _ABSENT)
    if found is _ABSENT:
        raise _Unknown
    return found


def _same(one: object, other: object) -> bool:
    """Return whether two values are equal through and through: dataclasses may compare some fields only."""
    if type(one) is not type(other):
        return False
    if isinstance(one, re.Pattern):
        return (one.pattern, one.flags) == (other.pattern, other.flags)  # type: ignore[attr-defined]
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))  # type: ignore[arg-type, call-overload]
    if isinstance(one, (dict, MappingProxyType)):
        return _same(list(one.items()), list(other.items()))  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        fields = [each.name for each in dataclasses.fields(one)]
        return all(_same(getattr(one, each), getattr(other, each)) for each in fields)
    return one is other or bool(one == other)
