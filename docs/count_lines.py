"""Count the lines of code or of configuration that somebody wrote, as docs/comparison.md defines them.

`python docs/count_lines.py FILE [FIRST-LAST ...]` prints how many lines count, in the file or in these parts.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

SPACING = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is nothing but a string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def uncounted(tree: ast.Module) -> Iterator[ast.stmt]:
    """The imports and docstrings of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, DOCUMENTED) and node.body and is_docstring(node.body[0]):
            yield node.body[0]


def lines_of(node: ast.AST) -> range:
    """The lines of a statement, decorators included."""
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])  # type: ignore[attr-defined]
    return range(first, node.end_lineno + 1)  # type: ignore[attr-defined]


def code_lines(source: str) -> set[int]:
    """The numbers of the lines of Python code: not blank, comment, docstring or import.

    Raises:
        SyntaxError: if it is not Python.
    """
    found = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SPACING:
            found.update(range(token.start[0], token.end[0] + 1))
    blank = {number for number, line in enumerate(source.split("\n"), 1) if not line.strip()}
    return found - blank - {number for node in uncounted(ast.parse(source)) for number in lines_of(node)}


def configuration_lines(text: str) -> set[int]:
    """The numbers of the lines of TOML, YAML or shell: not blank, and not a comment."""
    return {
        number
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    }


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """The functions, classes and constants of a module, by name."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            yield from ((name, node) for name in names if name.isupper())


def lines_behind(sources: Iterable[str], start: str, without: Iterable[str] = ()) -> int:
    """How many lines a name needs: those of its definition, and of all that this uses.

    Args:
        sources: the modules of a package, in which a name means one thing only
        start: the name of a function, class or constant in one of them
        without: names that are counted elsewhere

    Raises:
        KeyError: if no module defines `start`.
    """
    nodes = dict[str, tuple[ast.stmt, int]]()
    for source in sources:
        counted = code_lines(source)
        for name, node in definitions(ast.parse(source)):
            nodes[name] = node, len(counted.intersection(lines_of(node)))
    total, seen, waiting = 0, set(without), [start]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        node, count = nodes[name]
        total += count
        waiting += [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and one.id in nodes]
    return total


def parts(text: str) -> range:
    """The lines that `FIRST-LAST` or `LINE` means.

    Raises:
        ValueError: if these are no numbers.
    """
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main() -> None:
    """Print the count of a file."""
    parser = argparse.ArgumentParser(description="Count lines as docs/comparison.md does.")
    parser.add_argument("file", type=Path)
    parser.add_argument("lines", type=parts, nargs="*", help="FIRST-LAST; by default the whole file")
    asked = parser.parse_args()
    try:
        text = asked.file.read_text(encoding="utf-8")
        counted = code_lines(text) if asked.file.suffix == ".py" else configuration_lines(text)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        parser.error(f"{asked.file}: {error}")
    if asked.lines:
        counted &= {number for part in asked.lines for number in part}
    print(len(counted))


if __name__ == "__main__":
    main()
