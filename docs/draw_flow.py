"""Draw `images/flow.svg`, the flow of docs/design.md: `python docs/draw_flow.py`, or `--check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import attrs

DRAWING = Path(__file__).parent / "images" / "flow.svg"
WIDTH, HEIGHT = 170, 76  # of a box
COLUMNS, ROWS = 195, 128  # from one box to the next
LEFT, TOP = 24, 24
# Its own light ground makes it readable on a dark page too.
STYLE = """
  .ground { fill: #fbfcfe; stroke: #c9d1dc }
  .core { fill: #eef1f5; stroke: #5c6b7d }
  .plugin { fill: #dcebff; stroke: #2f6fc4 }
  .file { fill: #fff4d6; stroke: #b98a1c }
  rect { stroke-width: 1.4 }
  text { font-family: system-ui, "Helvetica Neue", Arial, sans-serif; fill: #16202c }
  .name { font-size: 15px; font-weight: 600 }
  .about { font-size: 11.5px }
  .label { font-size: 11.5px; fill: #45525f }
  path { fill: none; stroke: #45525f; stroke-width: 1.5 }
  .dashed { stroke-dasharray: 5 4 }
  marker path { fill: #45525f; stroke: none }
"""


@attrs.frozen
class Box:
    """A part of the flow at a column and row: what it is called, what it does, who brings it."""

    column: int
    row: int
    name: str
    about: tuple[str, ...]
    kind: str = "core"

    @property
    def x(self) -> int:
        """Its left side."""
        return LEFT + self.column * COLUMNS

    @property
    def y(self) -> int:
        """Its upper side."""
        return TOP + self.row * ROWS

    def side(self, where: str) -> tuple[float, float]:
        """The middle of a side: left, right, top or bottom."""
        return {
            "left": (self.x, self.y + HEIGHT / 2),
            "right": (self.x + WIDTH, self.y + HEIGHT / 2),
            "top": (self.x + WIDTH / 2, self.y),
            "bottom": (self.x + WIDTH / 2, self.y + HEIGHT),
        }[where]


BOXES = {
    box.name: box
    for box in (
        Box(0, 0, "TOML file", ("tasks, datasets, model,", "stages"), "file"),
        Box(1, 0, "configuration", ("checked, all defaults", "filled in")),
        Box(2, 0, "recipes", ("frozen classes; their", "fields are the keys"), "plugin"),
        Box(3, 0, "registry", ("kind and name to class;", "failures with reasons")),
        Box(4, 0, "entry points", ("installed packages,", "group mtl_toolkit"), "file"),
        Box(0, 1, "datasets", ("labels as arrays,", "inputs by index"), "plugin"),
        Box(1, 1, "streams", ("rows of a step and their", "order (a sampler)"), "plugin"),
        Box(2, 1, "loader", ("reads and collates;", "starts at any step")),
        Box(3, 1, "batch", ("inputs, targets, masks;", "rows of all streams")),
        Box(0, 2, "run directory", ("log, checkpoints,", "report"), "file"),
        Box(1, 2, "best epoch", ("weighted sum of", "metrics, patience")),
        Box(2, 2, "metrics", ("pooled over all", "validation rows"), "plugin"),
        Box(3, 2, "model", ("backbone, sharing,", "temporal, heads"), "plugin"),
        Box(4, 2, "teacher", ("an earlier stage,", "no gradients"), "plugin"),
        Box(1, 3, "optimizer", ("torch's, by name;", "schedule, clipping")),
        Box(2, 3, "balancer", ("one backward pass of", "several losses"), "plugin"),
        Box(3, 3, "objective", ("groups of rows, losses,", "named terms"), "plugin"),
    )
}
ARROWS = (
    ("TOML file", "right", "configuration", "left", ""),
    ("recipes", "left", "configuration", "right", ""),
    ("registry", "left", "recipes", "right", ""),
    ("entry points", "left", "registry", "right", ""),
    ("recipes", "bottom", "loader", "top", "build(...): live objects"),
    ("datasets", "right", "streams", "left", ""),
    ("streams", "right", "loader", "left", ""),
    ("loader", "right", "batch", "left", ""),
    ("batch", "bottom", "model", "top", "one joint pass"),
    ("batch", "right", "teacher", "top", ""),
    ("model", "bottom", "objective", "top", "outputs by task"),
    ("teacher", "bottom", "objective", "right", ""),
    ("model", "left", "metrics", "right", ""),
    ("metrics", "left", "best epoch", "right", ""),
    ("best epoch", "left", "run directory", "right", ""),
    ("objective", "left", "balancer", "right", ""),
    ("balancer", "left", "optimizer", "right", ""),
    ("optimizer", "left", "run directory", "bottom", ""),
)
LEGEND = (("core", "core"), ("plugin", "plugins, or made of them"), ("file", "files and packages"))


def drawing() -> str:
    """The whole drawing."""
    width, height = 2 * LEFT + 4 * COLUMNS + WIDTH, 2 * TOP + 3 * ROWS + HEIGHT + 34
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="The flow from the TOML file to the run directory">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        f'<rect class="ground" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="10"/>',
        *(line for arrow in ARROWS for line in arrow_lines(*arrow)),
        *(line for box in BOXES.values() for line in box_lines(box)),
        *legend_lines(height - 30),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def box_lines(box: Box) -> Iterator[str]:
    """A box with its name and what it does."""
    x, y = box.x, box.y
    yield f'<rect class="{box.kind}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7"/>'
    yield f'<text class="name" x="{x + 12}" y="{y + 25}">{escape(box.name)}</text>'
    for place, line in enumerate(box.about):
        yield f'<text class="about" x="{x + 12}" y="{y + 45 + 15 * place}">{escape(line)}</text>'


def arrow_lines(start: str, out: str, end: str, into: str, label: str) -> Iterator[str]:
    """An arrow from a side of a box to a side of another, with one corner where they do not face."""
    points = [BOXES[start].side(out), BOXES[end].side(into)]
    (x, y), (to_x, to_y) = points
    if x != to_x and y != to_y:
        points.insert(1, (to_x, y) if out in ("left", "right") else (x, to_y))
    dashed = ' class="dashed"' if label.startswith("build") else ""
    yield f'<path{dashed} d="{path(points)}" marker-end="url(#tip)"/>'
    if label:
        yield f'<text class="label" x="{x + 9:g}" y="{(y + to_y) / 2 + 4:g}">{escape(label)}</text>'


def path(points: Sequence[tuple[float, float]]) -> str:
    """Straight lines through some points."""
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in points)


def legend_lines(y: int) -> Iterator[str]:
    """What the colours say."""
    for place, (kind, label) in enumerate(LEGEND):
        x = LEFT + place * COLUMNS
        yield f'<rect class="{kind}" x="{x}" y="{y}" width="26" height="15" rx="3"/>'
        yield f'<text class="label" x="{x + 35}" y="{y + 12}">{label}</text>'


if __name__ == "__main__":
    if "--check" not in sys.argv:
        DRAWING.write_text(drawing(), encoding="utf-8")
    sys.exit(drawing() != DRAWING.read_text(encoding="utf-8"))
