"""The code and the configurations in the documentation work, and the generated pages are up to date."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtl_toolkit import config_from

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#\s]+)(?:#[^)]*)?\)")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """The line on which each block of a language starts, and its text."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start()) + 1, match[2]


def tables() -> Iterator[object]:
    for page in PAGES:
        for line, text in blocks(page, "toml"):
            yield pytest.param(text, id=f"{named(page)}:{line}")


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))], ids=named)
def test_python_blocks_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # attrs and pickle look a class's module up by its name.
    module = type(sys)("docs_page")
    monkeypatch.setitem(sys.modules, "docs_page", module)
    for line, text in blocks(page, "python"):
        # Empty lines in front, so that a traceback shows the page's own line numbers.
        exec(compile("\n" * line + text, str(page), "exec"), vars(module))


@pytest.mark.parametrize("text", list(tables()))
def test_toml_blocks_can_be_read_and_whole_configurations_are_valid(text, tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_DATA", str(tmp_path))
    tables = tomllib.loads(text)
    if {"name", "tasks", "datasets", "model", "stages"} <= set(tables):
        config_from(tables, base=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files(page):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_generated_pages_are_up_to_date():
    """If this fails, run `python docs/generate_reference.py`."""
    script = runpy.run_path(str(ROOT / "docs" / "generate_reference.py"))
    assert script["out_of_date"](script["pages"]()) == []
