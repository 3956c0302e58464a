"""Build an attrs class from a TOML table, field by field, so that all problems are found at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import cattrs

from ..errors import PluginError, UserError, shown, suggestion
from ..fields import Field, default_of, fields_of, input_type
from .problems import Found, Problems, UnsupportedType, readable
from .typewords import words

T = TypeVar("T")
MENDABLE = (ValueError, TypeError, UserError)  # what converters and validators raise; all else is a bug


def structure(value: Any, kind: Any, converter: cattrs.Converter) -> Any:
    """Turn one plain value into its type; raises `Problems` and nothing else for what the user can mend."""
    try:
        return converter.structure(value, kind)
    except cattrs.StructureHandlerNotFoundError:
        raise UnsupportedType.one(f"cannot be given in TOML (its type is {words(kind)})") from None
    except PluginError as error:
        raise Problems([((), problem) for problem in error.problems]) from None


def structure_table(cls: type[T], value: Any, converter: cattrs.Converter) -> T:
    """Build an attrs class from a table; keys without a field go to `extra_keys`, if the class names it.

    A bare string is short for a table with only `type`, where that says what the other keys are for.
    """
    fields = fields_of(cls)
    extra = getattr(cls, "extra_keys", None)
    has_name = extra is not None and "type" in fields
    if isinstance(value, str) and has_name:
        value = {"type": value}
    if not isinstance(value, Mapping):
        wanted = "a name or a table" if has_name else "a table"
        raise Problems.one(f"must be {wanted} {{ ... }} (got {shown(value)})")
    known = {key: field for key, field in fields.items() if key != extra}
    arguments: dict[str, Any] = {}
    found: list[Found] = []
    for key, field in known.items():
        if key in value or "toml_default" in field.metadata:
            item = value[key] if key in value else field.metadata["toml_default"]
            try:
                arguments[key] = _structure_field(field, item, converter)
            except Problems as problems:
                found += problems.below(key)
        elif field.default is attrs.NOTHING:
            found.append(((key,), "is missing"))
    others = {key: item for key, item in value.items() if key not in known}
    if extra is not None:
        arguments[extra] = others
    else:
        found += [((key,), f"unknown key{suggestion(key, known)}") for key in others]
    wrong = {path[0] for path, _ in found}
    found += _broken_rules(cls, {k: field for k, field in fields.items() if k not in wrong}, arguments)
    if found:
        raise Problems(found)
    return _construct(cls, arguments)


def _structure_field(field: Field, item: Any, converter: cattrs.Converter) -> Any:
    try:
        return structure(item, input_type(field), converter)
    except UnsupportedType:
        if field.converter is None:
            raise
        return item  # the field's own converter knows what to make of it


def _construct(cls: type[T], arguments: Mapping[str, Any]) -> T:
    try:
        return cls(**arguments)
    except MENDABLE as error:
        raise Problems.one(readable(error)) from error


def _broken_rules(cls: type, fields: Mapping[str, Field], arguments: Mapping[str, Any]) -> list[Found]:
    """Ask every validator, not only up to the first that complains, on an instance that is not finished."""
    draft, converted, found = _draft(cls, fields, arguments)
    complete = all(_is_set(draft, field) for field in attrs.fields(cls))
    for key, value in converted.items():
        validator = fields[key].validator
        if validator is None:
            continue
        try:
            validator(draft, fields[key], value)
        except MENDABLE as error:
            found.append(((key,), readable(error)))
        except AttributeError:
            # It compares with a field that is itself wrong or missing, which is told already.
            if complete:
                raise
    return found


def _draft(
    cls: type, fields: Mapping[str, Field], arguments: Mapping[str, Any]
) -> tuple[Any, dict[str, Any], list[Found]]:
    """An instance with those fields set that are known; their values by key; what converters refused."""
    draft: Any = object.__new__(cls)
    converted: dict[str, Any] = {}
    found: list[Found] = []
    for key, field in fields.items():
        if key in arguments:
            try:
                value = _converted(field, arguments[key], draft)
            except MENDABLE as error:
                found.append(((key,), readable(error)))
                continue
            converted[key] = value
        else:
            value = default_of(field)
        if value is not attrs.NOTHING:
            object.__setattr__(draft, field.name, value)
    return draft, converted, found


def _converted(field: Field, value: Any, draft: Any) -> Any:
    converter: Any = field.converter
    if converter is None:
        return value
    takes_self, takes_field = (getattr(converter, name, False) for name in ("takes_self", "takes_field"))
    convert = getattr(converter, "converter", converter)  # attrs.Converter, or a plain function
    return convert(value, *([draft] if takes_self else []), *([field] if takes_field else []))


def _is_set(draft: Any, field: Field) -> bool:
    return hasattr(draft, field.name)
