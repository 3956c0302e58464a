"""The rules that keep the core small and plugins replaceable, checked on the syntax trees."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mtl_toolkit
from mtl_toolkit.registry import Registry

ROOT = Path(__file__).parents[1]
CORE = ROOT / "mtl_toolkit"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))

# A part of the core (a module, or a subpackage as a whole) imports only from parts above it.
READING_ORDER = (
    "errors",
    "seeding",
    "files",
    "batch",
    "validators",
    "fields",
    "samples",
    "plugin",
    "hookspecs",
    "entrypoints",
    "registry",
    "config",
    "batch_norm",
    "preprocessing",
    "data",
    "model",
    "ensemble",
    "objective",
    "metrics",
    "self_supervision",
    "evaluation",
    "distributed",
    "checkpoint",
    "rundir",
    "trainer",
    "report_html",
    "contact_sheet",
    "data_figure",
    "pipeline",
    "prediction",
    "testing",
    "cli",
)
PEERS = {"data", "model", "objective", "metrics"}  # what a step consists of; none knows another

PUBLIC_MODULES = {"mtl_toolkit.validators", "mtl_toolkit.testing"}  # beside the names of mtl_toolkit itself
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
}  # where names differ
HEAVY = {"accelerate", "h5py", "matplotlib", "sklearn", "timm", "torch", "torchmetrics", "torchvision"}
DEFAULTS = {"shared", "shuffle", "sum"}  # plugins that a TOML file gets without naming them
LONGEST = 350  # lines of a module


def modules_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path, package: Path) -> Iterator[tuple[str, str, int]]:
    """(module, name, line) of every import in a file of a package, wherever in the file it stands.

    Relative ones are made absolute; the name is '' for `import module`.
    """
    inside = path.relative_to(package.parent).parts[:-1]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(inside[: len(inside) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (above, node.module)))
            yield from ((module, alias.name, node.lineno) for alias in node.names)


def part_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def parts_imported(path: Path) -> Iterator[tuple[str, int]]:
    """The parts of the core that one of its files imports, with the line."""
    for module, name, line in imports_of(path, CORE):
        if module == "mtl_toolkit":
            yield name, line
        elif module.startswith("mtl_toolkit."):
            yield module.split(".")[1], line


def declared_by(project: Path) -> set[str]:
    table = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = [line for lines in table.get("optional-dependencies", {}).values() for line in lines]
    return {canonicalize_name(Requirement(line).name) for line in (*table["dependencies"], *optional)}


def package_in(project: Path) -> Path:
    return CORE if project == ROOT else project / project.name.replace("-", "_")


def literals_in(path: Path) -> Iterator[tuple[str, int]]:
    """The string literals of a file with their lines, but no docstrings."""
    tree = tree_of(path)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.value, node.lineno


class TestCore:
    def test_the_reading_order_names_every_part(self):
        there = {part_of(path) for path in modules_in(CORE)} - {"__init__", "__main__"}
        assert there == set(READING_ORDER)

    @pytest.mark.parametrize("part", READING_ORDER)
    def test_a_part_imports_only_from_those_above_it(self, part):
        allowed = {part, *READING_ORDER[: READING_ORDER.index(part)]}
        if part in PEERS:
            allowed -= PEERS - {part}
        upwards = [
            f"{path.relative_to(ROOT)}:{line} imports {other}"
            for path in modules_in(CORE)
            if part_of(path) == part
            for other, line in parts_imported(path)
            if other not in allowed
        ]
        assert upwards == []

    def test_knows_no_task_dataset_loss_or_balancer_of_the_first_party_plugins(self):
        """Three defaults of the configuration are the exception.

        A name with a hyphen is looked for in longer texts too; the others are also plain English.
        """
        kinds = ("head", "dataset", "sampler", "loss", "balancer", "metric", "architecture")
        own = {project.name for project in PLUGINS}
        names = {p.name for p in Registry.load().plugins if p.kind in kinds and p.source.distribution in own}
        assert {"expression", "distillation", "synthetic-faces"} <= names
        alternatives = "|".join(re.escape(name) for name in names if "-" in name)
        hyphenated = re.compile(rf"(?<![\w-])({alternatives})(?![\w-])")
        found = [
            f"{path.relative_to(ROOT)}:{line}: {text!r}"
            for path in modules_in(CORE)
            for text, line in literals_in(path)
            if text in names - DEFAULTS or hyphenated.search(text)
        ]
        assert found == []


class TestImports:
    @pytest.mark.parametrize("project", [ROOT, *PLUGINS], ids=lambda project: package_in(project).name)
    def test_only_declared_distributions_are_imported(self, project):
        package = package_in(project)
        allowed = declared_by(project) | {canonicalize_name(package.name)}
        undeclared = [
            f"{path.relative_to(ROOT)}:{line} imports {module}"
            for path in modules_in(package)
            for module, _, line in imports_of(path, package)
            if (top := module.split(".")[0]) not in sys.stdlib_module_names
            and canonicalize_name(DISTRIBUTIONS.get(top, top)) not in allowed
        ]
        assert undeclared == []

    @pytest.mark.parametrize("project", PLUGINS, ids=lambda project: project.name)
    def test_plugins_use_the_public_names_of_the_core(self, project):
        package = package_in(project)
        private = [
            f"{path.relative_to(ROOT)}:{line} imports {module} {name}"
            for path in modules_in(package)
            for module, name, line in imports_of(path, package)
            if module.split(".")[0] == "mtl_toolkit"
            and module not in PUBLIC_MODULES
            and not (module == "mtl_toolkit" and name in mtl_toolkit.__all__)
        ]
        assert private == []

    @pytest.mark.parametrize(
        "code",
        [
            "import mtl_toolkit",
            "from mtl_toolkit import Head, hookimpl, suggestion, validators",
            """
            from mtl_toolkit.cli import entry
            sys.argv = ["mtl", "--help"]
            with contextlib.suppress(SystemExit):
                entry()
            """,
        ],
        ids=["the package", "a recipe's base", "mtl --help"],
    )
    def test_start_without_torch_and_its_like(self, code):
        code = f"import contextlib, sys\n{textwrap.dedent(code)}\nprint(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        loaded = set(done.stdout.splitlines()[-1].split())
        assert "mtl_toolkit" in loaded
        assert loaded & HEAVY == set()


class TestPublicNames:
    def test_are_sorted_and_resolve(self):
        assert list(mtl_toolkit.__all__) == sorted(mtl_toolkit.__all__)
        for name in mtl_toolkit.__all__:
            assert getattr(mtl_toolkit, name) is not None

    def test_are_those_that_type_checkers_see(self):
        (block,) = [node for node in tree_of(CORE / "__init__.py").body if isinstance(node, ast.If)]
        seen = [alias.name for node in block.body for alias in node.names]
        assert sorted(seen) == mtl_toolkit.__all__

    def test_an_unknown_one_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="'mtl_toolkit' has no attribute 'Haed'"):
            mtl_toolkit.Haed  # noqa: B018


@pytest.mark.parametrize("project", [ROOT, *PLUGINS], ids=lambda project: package_in(project).name)
def test_modules_are_short(project):
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules_in(package_in(project))
    }
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}
