"""The documentation builds with Sphinx, and every page can be reached and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.doc_pages import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    # A process of its own: Sphinx keeps what it has registered.
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-n",
        "-q",
        str(ROOT / "docs"),
        str(folder),
    ]
    return folder, subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_documentation_builds_without_warnings(built):
    """A page in no toctree, a link without a target and a wrong directive are warnings."""
    _, done = built
    assert (done.returncode, done.stderr) == (0, "")


def test_every_page_is_in_the_html(built):
    folder, _ = built
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in ROOT.glob("docs/**/*.md")}
    missing = {str(page) for page in pages if not (folder / page).with_suffix(".html").is_file()}
    assert missing == set()


def test_pages_load_nothing_from_the_network(built):
    """Formulas and drawings are there without one."""
    folder, _ = built
    loads = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]* (?:src|href)="(https?:[^"]+)"')
    found = {url for page in folder.rglob("*.html") for url in loads.findall(page.read_text("utf-8"))}
    assert found == set()


def test_formulas_are_drawn(built):
    folder, _ = built
    text = (folder / "streams-and-labels.html").read_text(encoding="utf-8")
    assert "<math " in text
    assert "\\lambda" not in text


def test_the_drawing_of_the_flow_is_up_to_date(monkeypatch):
    """If this fails, run `python docs/draw_flow.py`."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    from draw_flow import DRAWING, drawing

    assert DRAWING.read_text(encoding="utf-8") == drawing()
