"""The code, configurations and commands in the documentation work, and the generated pages are up to date."""

from __future__ import annotations

import json
import re
import runpy
import sys
import tomllib

import pytest

from mtl_toolkit.pipeline.records import FREE
from tests.doc_commands import command_lines, problem_of
from tests.doc_pages import (
    INCLUDED,
    PAGES,
    ROOT,
    Block,
    anchors_of,
    blocks_in,
    blocks_of,
    file_of,
    named,
    text_of,
)
from tests.doc_toml import OWN_PLUGIN, problems_of

LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)]*))?\)")
CHECKED = {"python", "toml", "sh", "json", "text"}
# What else a block may be, and why nothing is done with it.
UNCHECKED = {
    "": "an outline of folders and files",
    "bibtex": "for a reader's own bibliography",
    "{toctree}": "Sphinx checks it",
    INCLUDED: "files that have tests of their own",
    "py": "a signature, on a generated page",
}
# Pages whose Python needs what the tests of this file have not, with the test that runs it.
RUN_ELSEWHERE = {"docs/tutorial.md": "tests/test_tutorial.py runs it with the page's commands"}


def code_pages() -> list[object]:
    pages = [page for page in PAGES if any(block.language == "python" for block in blocks_of(page))]
    return [pytest.param(page, id=named(page)) for page in pages if named(page) not in RUN_ELSEWHERE]


def own_plugins(block: Block) -> list[str]:
    return OWN_PLUGIN.findall(text_of(block.page))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_blocks_are_in_languages_that_are_checked(page):
    """A language that is not must be listed with a reason."""
    unknown = [str(block) for block in blocks_of(page) if block.language not in CHECKED | set(UNCHECKED)]
    assert unknown == []


@pytest.mark.parametrize("page", code_pages())
def test_python_blocks_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # attrs and pickle look a class's module up by its name.
    module = type(sys)("docs_page")
    monkeypatch.setitem(sys.modules, "docs_page", module)
    for block in blocks_of(page):
        if block.language == "python":
            # Empty lines in front, so that a traceback shows the page's own line numbers.
            exec(compile("\n" * block.line + block.text, str(page), "exec"), vars(module))


@pytest.mark.parametrize("block", blocks_in("toml"), ids=str)
def test_toml_blocks_are_valid_once_what_they_lack_is_added(block, tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_DATA", str(tmp_path))
    assert problems_of(tomllib.loads(file_of(block)), tmp_path, text_of(block.page)) == []


@pytest.mark.parametrize("block", blocks_in("sh"), ids=str)
def test_shell_blocks_have_commands_with_known_arguments(block):
    lines = list(command_lines(block.text))
    assert [(line, problem) for line in lines if (problem := problem_of(line, own_plugins(block)))] == []


@pytest.mark.parametrize("block", [one for one in blocks_in("text") if "$ " in one.text], ids=str)
def test_commands_whose_output_is_shown_have_known_arguments(block):
    lines = list(command_lines(block.text, prompt="$ "))
    assert [(line, problem) for line in lines if (problem := problem_of(line, own_plugins(block)))] == []


def test_json_blocks_can_be_read():
    for block in blocks_in("json"):
        json.loads(block.text)


def test_what_the_abaw_page_quotes_is_in_its_example():
    example = (ROOT / "examples" / "abaw-affwild2.toml").read_text(encoding="utf-8").splitlines()
    quoted = [block for block in blocks_in("toml") if named(block.page) == "docs/abaw.md"]
    lines = [line for block in quoted for line in block.text.splitlines()]
    assert [line for line in lines if line not in example] == []


def test_the_abaw_page_and_the_readme_show_the_same_scores():
    shown = [block.text for block in blocks_in("text") if "$ mtl run examples/abaw.toml\n" in block.text]
    assert len(shown) == 2
    assert shown[0] == shown[1]


def test_the_page_of_the_run_directory_lists_what_may_change_at_any_time():
    (line,) = re.findall(
        r"^(.*) may change at any time\.$", text_of(ROOT / "docs" / "run-directory.md"), re.M
    )
    assert sorted(re.findall(r"`(\w+)`", line)) == sorted(FREE)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_headings(page):
    lost = []
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        if not path.exists() or (anchor and anchor not in anchors_of(path)):
            lost.append(f"{target}#{anchor}")
    assert lost == []


def test_the_generated_pages_are_up_to_date(monkeypatch):
    """If this fails, run `python docs/generate_reference.py`."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    script = runpy.run_path(str(ROOT / "docs" / "generate_reference.py"))
    assert script["out_of_date"](script["pages"]()) == []
