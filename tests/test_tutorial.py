"""A reader of the tutorial who does what it says sees what it shows."""

from __future__ import annotations

import re

import pytest

from tests.doc_pages import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.md"
NUMBER = re.compile(r"-?\d[\d,.:]*")


def masked(text):
    """A page without what differs between machines: numbers, hashes, decisions, the widths of tables."""
    text = re.sub(r"\b[0-9a-f]{16}\b", "#", text)
    text = re.sub(r"^(\d\.png) \w+", r"\1 #", text, flags=re.MULTILINE)
    text = re.sub(r"^\w+, valence", "#, valence", text, flags=re.MULTILINE)
    text = re.sub(r" +", " ", re.sub(r"─+", "─", text))
    return NUMBER.sub("#", text).splitlines()


@pytest.mark.slow
def test_the_tutorial_runs_and_prints_what_it_shows(tmp_path, monkeypatch):
    """If only the outputs differ, run `python docs/run_page.py docs/tutorial.md`."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    from run_page import PageRun

    text = TUTORIAL.read_text(encoding="utf-8")
    assert masked(PageRun(TUTORIAL.name).run(text)) == masked(text)
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()
    assert (tmp_path / "sheet.png").is_file()


class TestRunningAPage:
    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(ROOT / "docs")
        monkeypatch.chdir(tmp_path)

    def test_files_are_written_and_added_to(self, tmp_path):
        from run_page import PageRun

        texts = ("# a.toml\nx = 1\n", "# a.toml, at the end\ny = 2\n", "z = 3\n")
        page = "".join(f"```toml\n{text}```\n" for text in texts)
        assert PageRun("page").run(page) == page
        assert (tmp_path / "a.toml").read_text() == "# a.toml\nx = 1\n# a.toml, at the end\ny = 2\n"
        assert [path.name for path in tmp_path.iterdir()] == ["a.toml"]

    def test_what_is_printed_is_put_into_the_page(self):
        from run_page import PageRun

        page = "```python\nprint(6 * 7)\n```\n\n```text\nold\n```\n```text\n$ mtl --version\nold\n```\n"
        lines = PageRun("page").run(page).splitlines()
        assert lines[5] == "42"
        assert lines[8] == "$ mtl --version"
        assert lines[9] != "old"

    def test_a_command_that_fails_is_told_with_what_it_printed(self):
        from run_page import PageRun

        with pytest.raises(RuntimeError, match="No such option '--what'"):
            PageRun("page").run("```text\n$ mtl plugins --what\n```\n")
