"""The pages of the documentation, and the fenced blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
]
FENCE = re.compile(r"^(`{3,})\s*(\S*)\s*(\S*)$")

INCLUDED = "{literalinclude}"
HEADING = re.compile(r"#{1,6} ")
ADDED = re.compile(r"# (\S+), at the end\n")


@attrs.frozen
class Block:
    """A fenced block.

    Attributes:
        page: where it stands.
        line: the line of its fence.
        language: what follows the fence; '' for nothing.
        text: what is inside.
        argument: of a directive; '' for none.
    """

    page: Path
    line: int
    language: str
    text: str
    argument: str = ""

    def __str__(self) -> str:
        return f"{named(self.page)}:{self.line}"


def named(page: Path) -> str:
    """How messages and test names call a page."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in order.

    Raises:
        ValueError: if a fence is not closed.
    """
    fence, start, language, argument, inside = "", 0, "", "", list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        found = FENCE.match(line)
        if not fence and found:
            fence, language, argument = found.groups()
            start, inside = number, []
        elif fence and line == fence:
            yield Block(page, start, language, "".join(f"{one}\n" for one in inside), argument)
            fence = ""
        elif fence:
            inside.append(line)
    if fence:
        raise ValueError(f"{named(page)}:{start}: the block is not closed")


def text_of(page: Path) -> str:
    """The text of a page, and after it the modules of the packages that it is about.

    These are those of which it shows a module, and the one that it is the README of.
    """
    shown = [page.parent / block.argument for block in blocks_of(page) if block.language == INCLUDED]
    modules = {module for path in shown for module in path.parent.glob("*.py")}
    if "examples" in page.parts:
        modules |= set(page.parent.glob("*/*.py"))
    return "\n".join(path.read_text(encoding="utf-8") for path in (page, *sorted(modules)))


def blocks_in(language: str) -> list[Block]:
    """The blocks of all pages in a language."""
    return [block for page in PAGES for block in blocks_of(page) if block.language == language]


def anchors_of(page: Path) -> set[str]:
    """The places in a page that a link may lead to: its headings, as GitHub and MyST name them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    inside = {line for block in blocks_of(page) for line in block.text.splitlines()}
    headings = [line.lstrip("#").strip() for line in lines if HEADING.match(line) and line not in inside]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def file_of(block: Block) -> str:
    """What a TOML block is part of: one that begins with `# NAME, at the end` follows the block `# NAME`."""
    added = ADDED.match(block.text)
    if not added:
        return block.text
    before = [one.text for one in blocks_of(block.page) if one.text.startswith(f"# {added[1]}\n")]
    return "\n".join([*before, block.text])
