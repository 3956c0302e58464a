"""The assertions of the conformance kit, read from its sources, and which of them a failure came from."""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import attrs

from mtl_toolkit import testing
from mtl_toolkit.testing.check import Broken, ConformanceError

KIT = Path(testing.__file__).parent
ASSERTING = re.compile(r"_?(expect|try)")  # how functions begin that make an assertion for their caller
Place = tuple[Path, int, str]  # module, line, and the name of the function called; '' if it raises


@attrs.frozen
class Site:
    """A place where a check can fail: a statement `raise Broken(...)`, or a call of `expect...`.

    Attributes:
        path: of the module.
        first: its first line.
        last: its last line.
        function: that it is in.
        calls: the name of the function called; '' if it raises.
        text: the statement.
    """

    path: Path
    first: int
    last: int
    function: str
    calls: str
    text: str

    def places(self) -> set[Place]:
        """Where a failure of it may be seen to come from."""
        return {(self.path, line, self.calls) for line in range(self.first, self.last + 1)}

    def __str__(self) -> str:
        return f"{self.path.name}:{self.first}, {self.function}: {self.text}"


def all_sites() -> list[Site]:
    """Every assertion of the kit."""
    return [site for path in sorted(KIT.glob("*.py")) for site in _inside(ast.parse(path.read_text()), path)]


def fired(error: BaseException | None) -> set[Place]:
    """Where a check failed, from the rule down to the assertion; nowhere if it was a plugin's own error.

    The traceback of the `Broken` behind a `ConformanceError` has it, and behind that of a default loss or
    metric, which is told as the head's, that of its own rule.
    """
    found = set()
    while isinstance(error, ConformanceError | Broken):
        frames = list(traceback.walk_tb(error.__traceback__))
        called = [frame.f_code.co_name for frame, _ in frames[1:]] + [""]
        for (frame, line), name in zip(frames, called, strict=True):
            found.add((Path(frame.f_code.co_filename), line, name))
        error = error.__context__
    return found


def _inside(node: ast.AST, path: Path, function: str = "") -> Iterator[Site]:
    for child in ast.iter_child_nodes(node):
        calls = _calls(child)
        if isinstance(child, ast.stmt) and calls is not None:
            yield Site(path, child.lineno, child.end_lineno or 0, function, calls, ast.unparse(child))
        yield from _inside(child, path, child.name if isinstance(child, ast.FunctionDef) else function)


def _calls(node: ast.AST) -> str | None:
    match node:
        case ast.Raise(exc=ast.Call(func=ast.Name("Broken"))):
            return ""
        case ast.Expr(value=ast.Call(func=ast.Name(name))) if ASSERTING.match(name):
            return name
    return None
