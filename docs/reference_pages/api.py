"""The public names of the core: an index, and a page per module with signatures and docstrings."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import attrs

import mtl_toolkit
from mtl_toolkit.plugin import Recipe

from .docstrings import docstring, escaped, signature
from .tables import anchor

SUBMODULES = ("validators", "testing")  # public modules with names of their own
CALLS = ("__call__", "__getitem__", "__len__")


def modules() -> dict[str, dict[str, Any]]:
    """The public objects by the core's modules, in alphabetical order."""
    found: dict[str, dict[str, Any]] = {}
    for name in mtl_toolkit.__all__:
        value = getattr(mtl_toolkit, name)
        if not inspect.ismodule(value):
            module = getattr(value, "__module__", "").removeprefix("mtl_toolkit.").partition(".")[0]
            found.setdefault("hookspecs" if name == "hookimpl" else module, {})[name] = value
    for module in SUBMODULES:
        if importlib.util.find_spec(f"mtl_toolkit.{module}"):
            found[module] = dict(_names_of(importlib.import_module(f"mtl_toolkit.{module}")))
    return dict(sorted(found.items()))


def _names_of(module: ModuleType) -> Iterator[tuple[str, Any]]:
    names = getattr(module, "__all__", None)
    for name in names or [name for name in vars(module) if not name.startswith("_")]:
        value = getattr(module, name)
        if names or getattr(value, "__module__", "") == module.__name__:
            yield name, value


def names_page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The list of public names, by module."""
    text = (
        "# Public names\n\nWhat `mtl_toolkit` offers to plugins and programs, each with a link to its "
        "signature and docstring. `help(mtl_toolkit.Objective)` prints the same.\n\n"
    )
    for module, names in found.items():
        text += f"## {title_of(module)}\n\n{_about(module)}\n\n| name | what |\n|---|---|\n"
        for name, value in names.items():
            text += f"| [`{name}`](api/{module}.md#{anchor(name)}) | {_first_line(name, value)} |\n"
        text += "\n"
    tree = "\n".join(f"api/{module}" for module in found)
    return f"{text}```{{toctree}}\n:hidden:\n\n{tree}\n```\n"


def title_of(module: str) -> str:
    """How a module's page is called."""
    return f"mtl_toolkit.{module}" if module in SUBMODULES else module


def module_page(module: str, names: Mapping[str, Any]) -> str:
    """All public names of one module."""
    where = f"mtl_toolkit.{module}" if module in SUBMODULES else "mtl_toolkit"
    text = f"# {title_of(module)}\n\n{_about(module)}\n\nImport these from `{where}`.\n\n"
    for name, value in names.items():
        text += f"## `{name}`\n\n{_object(name, value)}\n\n"
    return text


def _about(module: str) -> str:
    doc = inspect.getdoc(importlib.import_module(f"mtl_toolkit.{module}")) or ""
    return doc.partition("\n\n")[0]


def _first_line(name: str, value: Any) -> str:
    return (
        _object(name, value).partition("\n")[0] if name == "hookimpl" else docstring(value).partition("\n")[0]
    )


def _object(name: str, value: Any) -> str:
    if name == "hookimpl":
        return "Marks a hook implementation: `@hookimpl` stands above a function with the name of a hook."
    if inspect.isclass(value):
        return "\n\n".join(_class(name, value))
    if callable(value):
        return f"{_code(signature(name, value))}\n\n{docstring(value)}"
    return docstring(type(value))


def _class(name: str, cls: type) -> Iterator[str]:
    if not issubclass(cls, Recipe | BaseException):
        yield _code(signature(name, cls))
    bases = [base.__name__ for base in cls.__bases__ if base.__name__ in mtl_toolkit.__all__]
    yield docstring(cls)
    if bases:
        yield f"Derives from {', '.join(f'`{base}`' for base in bases)}."
    if table := _attributes(cls):
        yield table
    for member, value in _members(cls).items():
        yield _member(name, member, value)


def _attributes(cls: type) -> str:
    """The documented fields of a recipe or a table of the configuration."""
    fields = [field for field in (attrs.fields(cls) if attrs.has(cls) else ()) if "doc" in field.metadata]
    rows = "".join(
        f"| `{field.name}` | {_type(field)} | {escaped(field.metadata['doc'])} |\n" for field in fields
    )
    return f"| field | type | meaning |\n|---|---|---|\n{rows}".rstrip() if rows else ""


def _type(field: Any) -> str:
    text = field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)
    return f"`{text}`".replace("|", "\\|")


def _members(cls: type) -> dict[str, Any]:
    """Public methods and properties of a class and of its private bases; inherited ones are their base's."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        public = base.__name__ in mtl_toolkit.__all__ and base is not cls
        if not base.__module__.startswith("mtl_toolkit") or public:
            continue
        for name, value in vars(base).items():
            listed = not name.startswith("_") or (name in CALLS and inspect.getdoc(value))
            if listed and isinstance(value, property | classmethod | staticmethod) | inspect.isfunction(
                value
            ):
                found.setdefault(name, value)
    return found


def _member(owner: str, name: str, value: Any) -> str:
    heading = f"### `{owner}.{name}`"
    if isinstance(value, property):
        kind = inspect.signature(value.fget).return_annotation if value.fget else ""
        return f"{heading}\n\n{_code(f'{name}: {kind}')}\n\n{docstring(value)}"
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    call = signature(name, function, bound=not isinstance(value, staticmethod))
    decorated = f"@classmethod\n{call}" if isinstance(value, classmethod) else call
    return f"{heading}\n\n{_code(decorated)}\n\n{docstring(function)}"


def _code(text: str) -> str:
    return f"```py\n{text}\n```"
