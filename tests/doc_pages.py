"""The pages of the documentation, and the fenced blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
FENCE = re.compile(r"^(`{3,})\s*(\S*)\s*$")


@attrs.frozen
class Block:
    """A fenced block: its page, the line of its fence, its language ('' for none), and its text."""

    page: Path
    line: int
    language: str
    text: str

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
    fence, start, language, inside = "", 0, "", list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        found = FENCE.match(line)
        if not fence and found:
            fence, start, language, inside = found[1], number, found[2], []
        elif fence and line == fence:
            yield Block(page, start, language, "".join(f"{one}\n" for one in inside))
            fence = ""
        elif fence:
            inside.append(line)
    if fence:
        raise ValueError(f"{named(page)}:{start}: the block is not closed")


def blocks_in(language: str) -> list[Block]:
    """The blocks of all pages in a language."""
    return [block for page in PAGES for block in blocks_of(page) if block.language == language]
