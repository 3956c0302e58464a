"""The report as one HTML page with plots, that needs no network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e4e4e4; text-align: right; }
th { font-weight: 600; vertical-align: bottom; } th:first-child, td:first-child { text-align: left; }
td.best { font-weight: 700; } img { max-width: 100%; } .scroll { overflow-x: auto; }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: 13px; } .quiet { color: #666; }
"""


def render_report(
    report: Mapping[str, Any], epochs: Mapping[str, Sequence[Mapping[str, Any]]], config: str
) -> str:
    """Write the page.

    Args:
        report: as in report.json.
        epochs: the records of each stage's epochs, as in its log.
        config: the resolved configuration.
    """
    name = html.escape(report["name"])
    sections = "".join(_stage(stage, epochs.get(stage["name"], ())) for stage in report["stages"])
    versions = ", ".join(f"{key} {value}" for key, value in report["versions"].items())
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{STYLE}</style></head><body><h1>{name}</h1>{_scores(report['stages'])}{sections}"
        f"<h2>Configuration</h2><pre>{html.escape(config)}</pre>"
        f'<p class="quiet">{html.escape(versions)}</p></body></html>\n'
    )


def _scores(stages: Sequence[Mapping[str, Any]]) -> str:
    """One row per stage that trained, one column per metric, the best value of each in bold."""
    stages = [stage for stage in stages if stage["epochs"]]
    names = list(dict.fromkeys(name for stage in stages for name in stage["metrics"]))
    best = {name: max(s["metrics"][name] for s in stages if name in s["metrics"]) for name in names}
    head = "".join(f"<th>{html.escape(name).replace('/', '<br>')}</th>" for name in names)
    rows = ""
    for stage in stages:
        cells = ""
        for name in names:
            value = stage["metrics"].get(name)
            mark = ' class="best"' if value is not None and value == best[name] else ""
            cells += f"<td{mark}>{'' if value is None else f'{value:.3f}'}</td>"
        cells += f"<td>{stage['best_epoch']}/{stage['epochs']}</td><td>{stage['seconds']:,.0f} s</td>"
        rows += f"<tr><td>{html.escape(stage['name'])}</td>{cells}</tr>"
    return (
        f'<div class="scroll"><table><tr><th>stage</th>{head}<th>best<br>epoch</th><th>time</th></tr>{rows}'
        "</table></div>"
    )


def _stage(stage: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> str:
    what = f"{stage['epochs']} epochs, best {stage['best_epoch']}" if stage["epochs"] else "features"
    facts = (
        f"{what}; {stage['seconds']:,.0f} s, "
        f"{stage['samples_per_second']:,.0f} samples/s, {stage['peak_memory_bytes'] / 2**20:,.0f} MiB at most"
    )
    if stage.get("skipped_samples"):
        facts += f"; {stage['skipped_samples']} unreadable samples skipped"
    picture = (
        f'<img alt="losses and metrics" src="data:image/png;base64,{_plots(stage, epochs)}">'
        if epochs
        else ""
    )
    return f"<h2>{html.escape(stage['name'])}</h2><p>{facts}</p>{picture}"


def _plots(stage: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _lines(left, "losses", epochs)
    _lines(right, "metrics", epochs)
    right.axvline(stage["best_epoch"], color="#999", linewidth=1, linestyle=":")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def _lines(axes: Axes, what: str, epochs: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(name for record in epochs for name in record[what]))
    for number, name in enumerate(names):
        points = [(record["epoch"], record[what][name]) for record in epochs if name in record[what]]
        style = ("-", "--", ":")[number // 10 % 3]
        axes.plot(*zip(*points, strict=True), style, marker=".", linewidth=1.2, label=name)
    axes.set_title(what, fontsize=10)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if names:
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
