"""Docstrings and signatures of Python objects as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ForwardRef

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
TITLES = {"Args": "Arguments"}
ITEM = re.compile(r"    (\*{0,2}[\w.]+(?:, \w+)*): (.*)")
WIDTH = 100
PREFIXES: Mapping[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def docstring(value: Any) -> str:
    """An object's docstring with its sections of arguments, errors and so on as lists.

    Raises:
        ValueError: if it has none.
    """
    text = inspect.getdoc(value)
    if not text:
        raise ValueError(f"{getattr(value, '__qualname__', value)} has no docstring")
    return escaped("\n".join(_blocks(text.splitlines())).strip())


def escaped(text: str) -> str:
    """Keep `<video>` from being read as HTML, outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else part.replace("<", r"\<") for part in parts)


def _blocks(lines: list[str]) -> Iterator[str]:
    section = ""
    for line in lines:
        if found := SECTION.fullmatch(line):
            section = found[1]
            yield from (f"**{TITLES.get(section, section)}**", "")
        elif section and line and not line.startswith(" "):
            section = ""
            yield line
        elif section and (item := ITEM.fullmatch(line)):
            yield f"- `{item[1]}`: {item[2]}"
        else:
            yield (
                f"  {line.strip()}" if section in ("Args", "Attributes", "Raises") and line else line.strip()
            )


def signature(name: str, function: Callable[..., Any], *, bound: bool = False) -> str:
    """A call as it is written, on several lines if one would be too long; `bound` leaves out `self`."""
    found = inspect.signature(function)
    parameters = list(found.parameters.values())[1 if bound else 0 :]
    parts = list(_parameters(parameters))
    result = "" if inspect.isclass(function) else _annotation(found.return_annotation)
    end = f" -> {result}" if result else ""
    line = f"{name}({', '.join(parts)}){end}"
    if len(line) <= WIDTH:
        return line
    listed = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{listed}){end}"


def _parameters(parameters: list[inspect.Parameter]) -> Iterator[str]:
    star = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        prefix = PREFIXES.get(parameter.kind, "")
        star = star or prefix == "*"
        yield f"{prefix}{parameter.name}{_typed(parameter)}{_default(parameter)}"


def _typed(parameter: inspect.Parameter) -> str:
    kind = _annotation(parameter.annotation)
    return f": {kind}" if kind else ""


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return ""
    value = parameter.default
    equals = "=" if parameter.annotation is parameter.empty else " = "
    plain = isinstance(value, bool | int | float | str | tuple | type(None))
    return f"{equals}{value!r}" if plain else f"{equals}..."
