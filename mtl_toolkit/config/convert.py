"""Turn plain TOML values into typed recipes, strictly, and report every problem with its key path.

cattrs dispatches on types; the hooks here take its place where it would stop at the first error of a table,
name no key, or turn 5 into "5".
"""

from __future__ import annotations

import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
import cattrs

from ..errors import PluginError, suggestion
from ..plugin import Recipe
from ..registry import Registry

T = TypeVar("T")
Key = str | int
KINDS_OF_VALUE = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


class Problems(Exception):
    """What is wrong in a value: (path below it, message) pairs."""

    def __init__(self, found: Sequence[tuple[tuple[Key, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = list(found)

    @classmethod
    def one(cls, message: str) -> Problems:
        """A single problem with the value itself."""
        return cls([((), message)])

    def below(self, key: Key) -> list[tuple[tuple[Key, ...], str]]:
        """The same problems seen from one level up."""
        return [((key, *path), message) for path, message in self.found]


def make_converter(registry: Registry, base: Path) -> cattrs.Converter:
    """A strict converter; relative paths are taken from `base`, plugins from `registry`."""
    converter = cattrs.Converter()

    def factory(
        applies: Callable[[Any], bool], make: Callable[[Any], Callable[[Any], Any]]
    ) -> None:
        def hook(cls: Any) -> Callable[[Any, Any], Any]:
            structure = make(cls)
            return lambda value, _type: structure(value)

        converter.register_structure_hook_factory(applies, hook)

    factory(attrs.has, lambda cls: lambda value: structure_table(cls, value, converter))
    factory(_is_recipe, lambda cls: lambda value: _structure_recipe(cls, value, converter, registry))
    factory(_is_mapping, lambda cls: lambda value: _structure_mapping(cls, value, converter))
    factory(_is_sequence, lambda cls: lambda value: _structure_sequence(cls, value, converter))
    factory(_is_union, lambda cls: lambda value: _structure_union(cls, value, converter))
    factory(lambda cls: get_origin(cls) is Literal, lambda cls: lambda value: _structure_literal(cls, value))
    for kind in KINDS_OF_VALUE:
        converter.register_structure_hook(kind, _structure_scalar)
    converter.register_structure_hook(Path, lambda value, _: expand_path(_structure_scalar(value, str), base))
    converter.register_structure_hook(Any, lambda value, _: value)
    return converter


def expand_path(text: str, base: Path) -> Path:
    """Expand `~` and `${VAR}`; a relative path is taken from `base`."""

    def variable(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise Problems.one(f"the environment variable {name} is not set (got {text!r})")
        return os.environ[name]

    path = Path(re.sub(r"\$\{(\w+)\}", variable, text)).expanduser()
    return Path(os.path.normpath(base / path))


def structure_table(cls: type[T], value: Any, converter: cattrs.Converter) -> T:
    """Build an attrs class from a table, field by field, collecting all problems."""
    if not isinstance(value, Mapping):
        raise Problems.one(f"must be a table {{ ... }} (got {value!r})")
    fields = fields_of(cls)
    extra = getattr(cls, "extra_keys", None)
    found: list[tuple[tuple[Key, ...], str]] = []
    known = {name: field for name, field in fields.items() if name != extra}
    arguments: dict[str, Any] = {}
    for key, item in value.items():
        if key in known:
            _structure_field(known[key], item, converter, arguments, found)
        elif extra is not None:
            arguments.setdefault(extra, {})[key] = item
        else:
            found.append(((key,), f"unknown key{suggestion(key, known)}"))
    for name, field in known.items():
        if name not in value:
            if "toml_default" in field.metadata:
                _structure_field(field, field.metadata["toml_default"], converter, arguments, found)
            elif field.default is attrs.NOTHING:
                found.append(((name,), "is missing"))
    if found:
        raise Problems(found)
    try:
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        raise Problems.one(readable(error)) from None


def fields_of(cls: type) -> dict[str, attrs.Attribute[Any]]:
    """The fields of an attrs class with their types resolved."""
    attrs.resolve_types(cls)
    return {field.name: field for field in attrs.fields(cls) if field.init}


def readable(error: Exception) -> str:
    """Say an attrs validator's message as rule and value found."""
    text = str(error.args[0]) if error.args else type(error).__name__
    bound = re.fullmatch(r"'\w+' must be (>=|>|<=|<) (.+): (.+)", text)
    if bound:
        words = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}
        return f"must be {words[bound[1]]} {bound[2]} (got {bound[3]})"
    return re.sub(r"^'\w+' (?=must )", "", text)


def _structure_field(
    field: attrs.Attribute[Any],
    item: Any,
    converter: cattrs.Converter,
    arguments: dict[str, Any],
    found: list[tuple[tuple[Key, ...], str]],
) -> None:
    try:
        value = converter.structure(item, field.type or Any)  # type: ignore[arg-type]
        if field.converter is None and field.validator is not None:
            field.validator(None, field, value)
    except Problems as problems:
        found.extend(problems.below(field.name))
    except PluginError as error:
        found.append(((field.name,), str(error)))
    except Exception as error:
        found.append(((field.name,), readable(error)))
    else:
        arguments[field.name] = value


def _structure_recipe(
    base: type[Recipe], value: Any, converter: cattrs.Converter, registry: Registry
) -> Recipe:
    if isinstance(value, base):
        return value
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, Mapping):
        raise Problems.one(f"must be a {base.kind}'s name or a table with a type (got {value!r})")
    if not isinstance(value.get("type"), str):
        names = [plugin.name for plugin in registry.of_kind(base.kind)]
        raise Problems([(("type",), f'must name a {base.kind}, as in type = "..."{suggestion("", names)}')])
    try:
        recipe = registry.recipe(base.kind, value["type"], base)
    except PluginError as error:
        raise Problems([(("type",), str(error))]) from None
    return structure_table(recipe, {k: v for k, v in value.items() if k != "type"}, converter)


def _structure_mapping(cls: Any, value: Any, converter: cattrs.Converter) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Problems.one(f"must be a table (got {value!r})")
    arguments = get_args(cls)
    item_type = arguments[1] if len(arguments) == 2 else Any
    return dict(_each(value.items(), item_type, converter))


def _structure_sequence(cls: Any, value: Any, converter: cattrs.Converter) -> tuple[Any, ...] | list[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise Problems.one(f"must be a list [...] (got {value!r})")
    arguments = get_args(cls)
    fixed = get_origin(cls) is tuple and Ellipsis not in arguments
    if fixed and len(value) != len(arguments):
        raise Problems.one(f"must have {len(arguments)} items (got {len(value)})")
    if fixed:
        return tuple(
            item
            for key, one in enumerate(value)
            for _, item in _each([(key, one)], arguments[key], converter)
        )
    items = [item for _, item in _each(enumerate(value), arguments[0] if arguments else Any, converter)]
    return items if get_origin(cls) is list else tuple(items)


def _each(items: Any, item_type: Any, converter: cattrs.Converter) -> list[tuple[Key, Any]]:
    result = []
    found: list[tuple[tuple[Key, ...], str]] = []
    for key, item in items:
        try:
            result.append((key, converter.structure(item, item_type)))
        except Problems as problems:
            found.extend(problems.below(key))
        except Exception as error:
            found.append(((key,), readable(error)))
    if found:
        raise Problems(found)
    return result


def _structure_union(cls: Any, value: Any, converter: cattrs.Converter) -> Any:
    """Take the first member that fits; a nested problem of the closest member is the one told."""
    members = [member for member in get_args(cls) if member is not type(None)]
    tried: list[Problems] = []
    for member in members:
        try:
            return converter.structure(value, member)
        except Problems as problems:
            tried.append(problems)
    nested = [problems for problems in tried if any(path for path, _ in problems.found)]
    if nested or len(tried) == 1:
        raise (nested or tried)[0]
    rules = " or ".join(_describe(member) for member in members)
    raise Problems.one(f"must be {rules} (got {value!r})")


def _structure_literal(cls: Any, value: Any) -> Any:
    choices = get_args(cls)
    if isinstance(value, str) and value in choices:
        return value
    near = suggestion(value, choices) if isinstance(value, str) else ""
    raise Problems.one(f"must be {_describe(cls)} (got {value!r}){near if 'mean' in near else ''}")


def _structure_scalar(value: Any, kind: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise Problems.one(f"must be {KINDS_OF_VALUE[kind]} (got {value!r})")
    return value


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if _is_mapping(kind):
        return "a table"
    if _is_sequence(kind):
        return "a list"
    return KINDS_OF_VALUE.get(kind, "a string" if kind is Path else getattr(kind, "__name__", str(kind)))


def _is_recipe(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Recipe)


def _is_mapping(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (dict, Mapping, typing.Mapping)


def _is_sequence(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (tuple, list, Sequence)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def plain(value: Any) -> Any:
    """The reverse: recipes to plain values that TOML can hold, all defaults written out, None left out."""
    if attrs.has(type(value)):
        table = {"type": value.name} if isinstance(value, Recipe) else {}
        extra = getattr(type(value), "extra_keys", None)
        for field in attrs.fields(type(value)):
            item = getattr(value, field.name)
            if field.name == extra:
                table |= plain(item)
            elif item is not None:
                table[field.name] = plain(item)
        return table
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value

