"""The numbers of docs/comparison.md: ours are counted again, the others' add up and name their sources."""

from __future__ import annotations

import ast
import re
import runpy
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "third_party_plugin"
COUNT = runpy.run_path(str(ROOT / "docs" / "count_lines.py"))
HOOKS = {"loss": "mtl_losses", "head": "mtl_heads", "dataset": "mtl_datasets"}
PROJECTS = ["mtl-toolkit", "LibMTL", "torchdistill, outline", "torchdistill, example"]


@attrs.frozen
class Package:
    """A package with plugins: its modules, its pyproject.toml, and a configuration that uses it."""

    modules: list[str]
    pyproject: str
    configuration: str


def our_package() -> Package:
    """The example package, without its tests."""
    tests = re.compile(r"(^|/)(tests?/|test_|conftest)")
    names = sorted(path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.rglob("*.py"))
    return Package(
        [(EXAMPLE / name).read_text(encoding="utf-8") for name in names if not tests.search(name)],
        (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"),
        "".join(path.read_text(encoding="utf-8") for path in configurations()),
    )


def configurations() -> Iterable[Path]:
    return (path for path in sorted(EXAMPLE.rglob("*.toml")) if path.name != "pyproject.toml")


def functions(package: Package) -> dict[str, ast.FunctionDef]:
    trees = [ast.parse(source) for source in package.modules]
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


def classes_of_hook(package: Package, hook: str) -> list[str]:
    """The names in the list that a hook returns."""
    found = [node for node in ast.walk(functions(package)[hook]) if isinstance(node, ast.List)]
    return [name.id for node in found for name in node.elts if isinstance(name, ast.Name)]


def plugin_names(package: Package, classes: Iterable[str]) -> list[str]:
    """What a TOML file calls these classes."""
    nodes = [node for source in package.modules for node in ast.walk(ast.parse(source))]
    bodies = [node.body for node in nodes if isinstance(node, ast.ClassDef) and node.name in classes]
    fields = [field for body in bodies for field in body if isinstance(field, ast.AnnAssign)]
    return [ast.literal_eval(field.value) for field in fields if ast.unparse(field.target) == "name"]


def code_of(package: Package, kind: str) -> int:
    """The lines of Python that a plugin needs; those of the package's other plugins are theirs."""
    hooks = [name for name in functions(package) if name.startswith("mtl_") and name != HOOKS[kind]]
    others = [name for hook in hooks for name in classes_of_hook(package, hook)]
    return int(COUNT["lines_behind"](package.modules, HOOKS[kind], without=others))


def packaging_of(package: Package) -> int:
    """The lines of pyproject.toml that a package has once: without tables of tools and entry points."""
    own = re.sub(r"^\[tool\..*?(?=^\[(?!tool\.)|\Z)", "", package.pyproject, flags=re.MULTILINE | re.DOTALL)
    entries = tomllib.loads(own)["project"]["entry-points"]["mtl_toolkit"]
    return len(COUNT["configuration_lines"](own)) - len(entries)


def use_of(package: Package, kind: str) -> int:
    """The lines of the configuration that use a plugin.

    A table of its own, as `[datasets.train]`, counts as a whole. Elsewhere it is the lines with its name.
    """
    total = 0
    names = "|".join(plugin_names(package, classes_of_hook(package, HOOKS[kind])))
    named = re.compile(rf'\b(?:type|head|losses)\b\W*"(?:{names})"')
    for section in re.split(r"^(?=\[)", package.configuration, flags=re.MULTILINE):
        lines = section.split("\n")
        using = [
            number for number in COUNT["configuration_lines"](section) if named.search(lines[number - 1])
        ]
        own_table = kind == "dataset" and section.startswith("[datasets.")
        total += len(COUNT["configuration_lines"](section)) if own_table and using else len(using)
    return total


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the page, without its two first lines."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def counts() -> Mapping[tuple[str, str], tuple[int, int]]:
    """The page's main table: lines of Python and of configuration by kind and project."""
    found = {}
    for kind, *cells in rows("The numbers"):
        for project, cell in zip(PROJECTS, cells, strict=True):
            if cell != "none":
                code, configuration = cell.split(" + ")
                found[kind, project] = int(code), int(configuration)
    return found


def sources() -> list[dict[str, Any]]:
    keys = ["kind", "project", "what", "file", "version", "lines", "code", "configuration"]
    return [dict(zip(keys, row, strict=True)) for row in rows("Where the others' numbers are from")]


@pytest.mark.parametrize("kind", HOOKS)
def test_our_numbers_are_those_of_the_package_that_is_shown(kind):
    """Configuration: the entry point, and the lines that use it.

    The loss is the head's own, so that nothing names it; one line is counted as if something did.
    """
    package = our_package()
    assert counts()[kind, "mtl-toolkit"] == (code_of(package, kind), 1 + (use_of(package, kind) or 1))


def test_our_package_has_as_many_lines_around_its_plugins_as_the_page_says():
    assert counts()["package, once", "mtl-toolkit"] == (0, packaging_of(our_package()))


@pytest.mark.parametrize("kind", HOOKS)
@pytest.mark.parametrize("project", PROJECTS[1:])
def test_a_number_of_another_project_is_the_sum_of_its_sources(kind, project):
    parts = [one for one in sources() if (one["kind"], one["project"]) == (kind, project)]
    total = sum(int(one["code"]) for one in parts), sum(int(one["configuration"]) for one in parts)
    assert counts().get((kind, project), (0, 0)) == total


@pytest.mark.parametrize("source", sources(), ids=lambda one: f"{one['project']}-{one['kind']}-{one['file']}")
def test_a_source_can_be_found_again_and_has_room_for_its_lines(source):
    assert re.fullmatch(r"`[0-9a-f]{40}`|release \d+\.\d+\.\d+", source["version"])
    spans = [COUNT["parts"](span) for span in source["lines"].split(", ")]
    assert int(source["code"]) + int(source["configuration"]) <= sum(map(len, spans))


def test_blank_lines_comments_docstrings_and_imports_do_not_count():
    source = '''"""A module."""

import os
from pathlib import (
    Path,
)


# a comment
@decorated
class Thing:
    """A thing,

    described.
    """

    text = """two

lines"""  # another comment

    def method(self):
        """What it does."""
        import heavy

        # why
        return (
            self.text,
            # inside
        )
'''
    lines = source.split("\n")
    assert [lines[number - 1].strip() for number in sorted(COUNT["code_lines"](source))] == [
        "@decorated",
        "class Thing:",
        'text = """two',
        'lines"""  # another comment',
        "def method(self):",
        "return (",
        "self.text,",
        ")",
    ]


def test_a_name_counts_with_what_it_uses_but_not_with_what_is_counted_elsewhere():
    first = "LIMIT = 3\n\ndef helper():\n    return LIMIT\n\ndef unused():\n    return 0\n"
    second = (
        "class Other:\n    x = 1\n\nclass Mine:\n    parts = helper, Other\n\ndef hook():\n    return Mine\n"
    )
    assert COUNT["lines_behind"]([first, second], "hook") == 2 + 2 + 2 + 2 + 1
    assert COUNT["lines_behind"]([first, second], "hook", without=["Other"]) == 2 + 2 + 2 + 1


def test_a_table_of_its_own_counts_whole_and_an_inline_one_as_a_line():
    source = 'class Dots:\n    name: ClassVar[str] = "dots"\n\n\ndef mtl_datasets():\n    return [Dots]\n'
    whole = (
        '[datasets.train]\n# a comment\ntype = "dots"\nsamples = 3\n\n[datasets.other]\ntype = "image-csv"\n'
    )
    inline = '[datasets]\ntrain = { samples = 3, type = "dots" }\nother = { type = "image-csv" }\n'
    assert use_of(Package([source], "", whole), "dataset") == 3
    assert use_of(Package([source], "", inline), "dataset") == 1
