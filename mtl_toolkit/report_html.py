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
        epochs: the records of each stage's epochs, and of each repeat's, as in its log.
        config: the resolved configuration.
    """
    name = html.escape(report["name"])
    sections = "".join(_stage(stage, epochs) for stage in report["stages"])
    versions = ", ".join(f"{key} {value}" for key, value in report["versions"].items())
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{STYLE}</style></head><body><h1>{name}</h1>{_scores(report['stages'])}{sections}"
        f"<h2>Configuration</h2><pre>{html.escape(config)}</pre>"
        f'<p class="quiet">{html.escape(versions)}</p></body></html>\n'
    )


def title_of(stage: Mapping[str, Any]) -> str:
    """The name of a stage in tables; one that was repeated says how often."""
    return f"{stage['name']} (mean of {len(stage['repeats'])})" if "repeats" in stage else str(stage["name"])


def combines_metrics(stages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an epoch is chosen by more than one metric, so that their weighted sum is worth a column."""
    return any(len(stage.get("select", ())) > 1 for stage in stages)


def value_text(stage: Mapping[str, Any], name: str) -> str:
    """A metric of a stage, or its "score", as tables have it: over repeats with the standard deviation."""
    value, spread = _value(stage, name), stage.get("std", {}).get(name)
    if name == "score":
        spread = stage.get("score_std")
    if value is None:
        return ""
    return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"


def epochs_text(stage: Mapping[str, Any]) -> str:
    """The best epoch of a stage and how many there were, as tables have them; '' where that says nothing."""
    return "" if "repeats" in stage or not stage["epochs"] else f"{stage['best_epoch']}/{stage['epochs']}"


def _value(stage: Mapping[str, Any], name: str) -> float | None:
    value = stage.get("score") if name == "score" else stage["metrics"].get(name)
    return None if value is None else float(value)


def _scores(stages: Sequence[Mapping[str, Any]]) -> str:
    """One row per stage with metrics or epochs, one column per metric, the best value of each in bold."""
    stages = [stage for stage in stages if stage["epochs"] or stage["metrics"]]
    names = list(dict.fromkeys(name for stage in stages for name in stage["metrics"]))
    names = ["score", *names] if combines_metrics(stages) else names
    values = {name: [_value(stage, name) for stage in stages] for name in names}
    best = {name: max((v for v in values[name] if v is not None), default=None) for name in names}
    head = "".join(f"<th>{html.escape(name).replace('/', '<br>')}</th>" for name in names)
    rows = ""
    for stage in stages:
        cells = ""
        for name in names:
            value = _value(stage, name)
            mark = ' class="best"' if value is not None and value == best[name] else ""
            cells += f"<td{mark}>{value_text(stage, name)}</td>"
        cells += f"<td>{epochs_text(stage)}</td><td>{stage['seconds']:,.0f} s</td>"
        rows += f"<tr><td>{html.escape(title_of(stage))}</td>{cells}</tr>"
    return (
        f'<div class="scroll"><table><tr><th>stage</th>{head}<th>best<br>epoch</th><th>time</th></tr>{rows}'
        "</table></div>"
    )


def _stage(stage: Mapping[str, Any], epochs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The section of a stage: facts, its repeats if there are any, and curves."""
    repeats = stage.get("repeats", ())
    what = f"{stage['epochs']} epochs, best {stage['best_epoch']}" if stage["epochs"] else _made(stage)
    facts = (
        f"{f'{len(repeats)} repeats' if repeats else what}; {stage['seconds']:,.0f} s, "
        f"{stage['samples_per_second']:,.0f} samples/s, {stage['peak_memory_bytes'] / 2**20:,.0f} MiB at most"
    )
    if stage.get("skipped_samples"):
        facts += f"; {stage['skipped_samples']} unreadable samples skipped"
    curves = [epochs.get(one["name"], ()) for one in repeats or (stage,)]
    table = _scores(repeats) if repeats else ""
    picture = (
        f'<img alt="losses and metrics" src="data:image/png;base64,{_plots(stage, curves)}">'
        if any(curves)
        else ""
    )
    return f"<h2>{html.escape(stage['name'])}</h2><p>{facts}</p>{table}{picture}"


def _made(stage: Mapping[str, Any]) -> str:
    """What a stage without epochs has made."""
    if stage.get("kind") != "ensemble":
        return "features"
    combined = "; ".join(_combined(task, how) for task, how in stage["tasks"].items())
    return html.escape(f"ensemble of {', '.join(stage['members'])}; {combined}")


def _combined(task: str, how: Mapping[str, Any]) -> str:
    """How the outputs of a task are combined, and what was tuned."""
    weights = ", ".join(f"{weight:.2f} {member}" for member, weight in how["weights"].items())
    tuned = "".join(f"; {key} tuned: {_short(value)}" for key, value in how["tuned"].items())
    return f"{task}: {how['combine']} ({weights}){tuned}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plots(stage: Mapping[str, Any], curves: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """Losses and metrics over epochs: of a stage, or of its repeats, thin, with their mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _lines(left, "losses", curves)
    _lines(right, "metrics", curves)
    if "repeats" not in stage:
        right.axvline(stage["best_epoch"], color="#999", linewidth=1, linestyle=":")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def _lines(axes: Axes, what: str, curves: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(name for epochs in curves for record in epochs for name in record[what]))
    for number, name in enumerate(names):
        found = [{r["epoch"]: r[what][name] for r in epochs if name in r[what]} for epochs in curves]
        colour, style = f"C{number % 10}", ("-", "--", ":")[number // 10 % 3]
        for points in found if len(found) > 1 else ():
            axes.plot(list(points), list(points.values()), style, color=colour, linewidth=0.6, alpha=0.4)
        mean = mean_curve(found)
        axes.plot(list(mean), list(mean.values()), style, color=colour, marker=".", linewidth=1.2, label=name)
    axes.set_title(f"{what}, mean and each repeat" if len(curves) > 1 else what, fontsize=10)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if names:
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def mean_curve(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The mean of values by epoch, over the epochs that all curves have: some may have stopped early."""
    shared = sorted(set.intersection(*map(set, curves)))
    return {epoch: sum(curve[epoch] for curve in curves) / len(curves) for epoch in shared}
