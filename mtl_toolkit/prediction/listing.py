"""Test lists: text files that name the pictures or videos to predict, one a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from ..errors import DataError, FileProblems
from ..plugin import Listing

HEADERS = ("image_location", "image")  # first column of a table of pictures
PICTURE = re.compile(r".*\.(jpe?g|png|bmp|webp|tiff?)", re.IGNORECASE)
COUNTED = re.compile(r"(?P<name>.*?)(?:\s*,\s*(?P<count>.*)|\s+(?P<number>[0-9]+))")


@attrs.frozen
class _Entry:
    name: str
    picture: bool
    frames: int | None = None


def parse_listing(path: Path) -> Listing:
    """Read a test list; blank lines and lines that begin with `#` are passed over.

    A line is one of these, and all are of the same kind:

    - a picture, known by its suffix: `video/00001.jpg`; what follows a comma is passed over;
    - the first column of a CSV table whose header begins with `image_location` or `image`: a picture;
    - a video: `video`, or with its number of frames, `video 1234` or `video,1234`.

    Raises:
        DataError: if it cannot be read or is empty, a name is there twice, or a line is none of these.
    """
    problems = FileProblems()
    names: dict[str, int] = {}
    videos: dict[str, int | None] = {}
    kind: bool | None = None
    for line, entry in _entries(path, problems):
        kind = entry.picture if kind is None else kind
        if entry.picture != kind:
            expected, got = _kind(kind), _kind(entry.picture)
            problems.add(
                f"must be a {expected}, as the lines before (got a {got}: {entry.name!r})", path, line
            )
        elif entry.name in names:
            problems.add(f"{entry.name!r} is on line {names[entry.name]} already", path, line)
        else:
            names[entry.name] = line
            if not entry.picture:
                videos[entry.name] = entry.frames
    problems.check()
    if not names:
        raise DataError(f"{path}: must name at least one picture or video (got none)")
    return Listing(videos=videos) if videos else Listing(names=tuple(names))


def _kind(picture: bool) -> str:
    return "picture" if picture else "video"


def _entries(path: Path, problems: FileProblems) -> Iterator[tuple[int, _Entry]]:
    """What each line names."""
    table: bool | None = None
    for line, text in _lines(path, problems):
        if table is None:
            table = text.partition(",")[0].strip().lower() in HEADERS
            if table:
                continue
        try:
            yield line, _entry(text, table)
        except ValueError as error:
            problems.add(str(error), path, line)


def _lines(path: Path, problems: FileProblems) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    try:
        with path.open("rb") as file:
            for line, raw in enumerate(file, 1):
                try:
                    # Decoded line by line, so that the line of a byte that is not UTF-8 is known.
                    text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()
                except UnicodeDecodeError:
                    problems.add("must be UTF-8 text", path, line)
                    continue
                if text and not text.startswith("#"):
                    yield line, text
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def _entry(text: str, table: bool) -> _Entry:
    """What a line names.

    Raises:
        ValueError: if it is neither a picture nor a video; the message says why.
    """
    first = text.partition(",")[0].strip()
    if not first:
        raise ValueError(f"must begin with a name (got {text[:80]!r})")
    if table or PICTURE.fullmatch(first):
        return _Entry(first, picture=True)
    match = COUNTED.fullmatch(text)
    if match is None:
        return _Entry(text, picture=False)
    count = match["number"] if match["count"] is None else match["count"]
    if not re.fullmatch("0*[1-9][0-9]{0,8}", count):
        raise ValueError(f"the number of frames must be a whole number of at least 1 (got {count[:80]!r})")
    return _Entry(match["name"], picture=False, frames=int(count))
