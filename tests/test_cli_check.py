"""What `mtl check` prints."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mtl_toolkit.cli.check import PARTS, WIDTH, coverage_text, filled
from mtl_toolkit.data import Coverage


@given(st.lists(st.text("ab 1", min_size=1, max_size=80)))
def test_lines_of_labels_are_short_and_lose_nothing(parts):
    lines = list(filled(parts))
    assert ", ".join(lines) == ", ".join(parts)
    held = [line.count(", ") + 1 for line in lines]
    assert sum(held) == len(parts)
    assert all(many <= PARTS for many in held)
    assert all(len(line) <= WIDTH or many == 1 for line, many in zip(lines, held, strict=True))


def test_a_part_is_never_broken_and_lines_are_as_full_as_they_may_be():
    ranges = {axis: {"min": -1.0, "max": 1.0, "mean": 0.25} for axis in ("valence", "arousal")}
    counts = dict(zip("abcde", (1, 20, 300, 4000, 50000), strict=True))
    text = coverage_text(
        "task", Coverage(labelled=5, partly=2, summary={"axes": ranges, "classes": counts}), 10
    )
    assert text.splitlines() == [
        "task 5 = 50% (+2 in part)",
        "  valence -1.00 .. 1.00 (mean 0.25)",
        "  arousal -1.00 .. 1.00 (mean 0.25)",
        "  a 1, b 20, c 300, d 4,000",
        "  e 50,000",
    ]
