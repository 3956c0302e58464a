"""The fields of an attrs class as a TOML table has them: by key, with their types resolved."""

from __future__ import annotations

import inspect
import sys
import typing
from typing import Any, TypeAlias

import attrs

from .errors import PluginError

Field: TypeAlias = "attrs.Attribute[Any]"


def fields_of(cls: type) -> dict[str, Field]:
    """The fields of an attrs class by TOML key, which is the name of the argument (`_x` is written `x`).

    Raises:
        PluginError: if a type is written as a text that leads nowhere at run time.
    """
    return {field.alias: _resolved(cls, field) for field in attrs.fields(cls) if field.init}


def input_type(field: Field) -> Any:
    """The type of what the file may say: a converter's annotated argument, else the field's own type."""
    function: Any = field.converter
    if isinstance(function, attrs.Converter):
        function = function.converter  # type: ignore[attr-defined]
    if function is not None and not inspect.isclass(function):
        try:
            hints = typing.get_type_hints(function)
            first = next(iter(inspect.signature(function).parameters))
        except (NameError, StopIteration, TypeError, ValueError):
            return field.type or Any
        if first in hints:
            return hints[first]
    return field.type or Any


def default_of(field: Field) -> Any:
    """The value of a field that is left out; `attrs.NOTHING` if it must be given or depends on others."""
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return attrs.NOTHING if default.takes_self else default.factory()
    return default


def _resolved(cls: type, field: Field) -> Field:
    """One by one, so that an annotation elsewhere in the class, which is no field, may stay unresolved."""
    if field.type is None:
        return field
    owner = _owner(cls, field)
    module = sys.modules.get(owner.__module__)

    def holder() -> None: ...

    holder.__annotations__ = {"it": field.type}
    try:
        hints = typing.get_type_hints(holder, vars(module) if module else {}, dict(vars(owner)), True)
    except Exception as error:
        raise PluginError(
            f"{cls.__name__}.{field.name}: its type {field.type!r} cannot be resolved ({error}); "
            "field types are read at run time: import them outside `if TYPE_CHECKING:`"
        ) from None
    return field.evolve(type=hints["it"])


def _owner(cls: type, field: Field) -> type:
    """The class that defines the field: its module is where the names in the type are looked up."""
    for base in cls.__mro__:
        own = vars(base).get("__attrs_attrs__", ())
        if any(other.name == field.name and not other.inherited for other in own):
            return base
    return cls
