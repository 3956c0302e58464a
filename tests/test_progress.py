"""What a run shows: a bar on a terminal, plain lines elsewhere; and the table at its end."""

from __future__ import annotations

import contextlib
import io
import math
import re
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from mtl_toolkit import Progress, ProgressScreen, RunError, load_config
from mtl_toolkit.cli.table import report_table
from mtl_toolkit.pipeline import duration, progress_screen
from mtl_toolkit.trainer.progress import PendingTerms


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(progress_screen.time, "monotonic", lambda: Clock.now)
    return Clock


def screen_on(tiny, *, terminal):
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=120, markup=False, legacy_windows=False)
    (stage, _) = load_config(tiny).config.trainings
    return ProgressScreen(console, epochs=stage.epochs, select=stage.select), written


def record(epoch, **metrics):
    return {"epoch": epoch, "losses": {"total": 1.25}, "metrics": metrics}


def test_an_epoch_is_a_line_with_rate_and_time_left(tiny, clock):
    screen, written = screen_on(tiny, terminal=False)
    stage = load_config(tiny).config.trainings[0]
    with screen:
        screen.stage_started(stage, Progress())
        for step in range(1, 6):
            clock.now += 2
            screen.step_done(Progress(step=step), 5, 16)
        chosen = dict.fromkeys(stage.select, 0.5)
        screen.epoch_done(Progress(best_epoch=1, skipped=3), record(1, **chosen, other=0.1))
    heading, line = written.getvalue().splitlines()
    assert heading == "teacher: 3 epochs on a (expr), b (va)"
    shown = "  ".join(f"{name} 0.500" for name in stage.select)
    assert line == (
        f"  epoch 1/3  loss 1.250  {shown}  8 samples/s  0:20 left  3 unreadable samples skipped  *"
    )


def test_long_epochs_give_a_line_a_minute_where_there_is_no_bar(tiny, clock):
    screen, written = screen_on(tiny, terminal=False)
    for step in range(1, 301):
        clock.now += 1
        screen.step_done(Progress(step=step), 5000, 16)
    lines = written.getvalue().splitlines()
    assert lines[0] == "  epoch 1/3  step 60/5,000  16 samples/s"
    assert len(lines) == 5


def test_a_terminal_has_a_bar_with_rate_and_time_left(tiny):
    screen, written = screen_on(tiny, terminal=True)
    with screen:
        screen.step_done(Progress(step=4), 5, 16)
        screen._bar.refresh()
    assert re.search(r"epoch 1/3.* 4/15 steps .*samples/s.* left ", written.getvalue())


def test_the_bar_is_on_standard_error_and_standard_output_has_only_what_is_printed(tiny, monkeypatch, capsys):
    """As in `mtl run config.toml > lines.txt` on a terminal, with a plugin that prints."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ProgressScreen(epochs=3) as screen:
        screen.step_done(Progress(step=4), 5, 16)
        screen._bar.refresh()
        print("printed")
    out, err = capsys.readouterr()
    assert " 4/15 steps " in err
    assert out == "printed\n"


@pytest.mark.parametrize(("widgets", "draws"), [(None, False), ("found", True)])
def test_a_notebook_has_a_bar_if_it_has_ipywidgets(monkeypatch, widgets, draws):
    monkeypatch.setattr(progress_screen.importlib.util, "find_spec", {"ipywidgets": widgets}.get)
    screen = ProgressScreen(Console(force_jupyter=True))
    assert screen._bar.disable is not draws


def test_a_notebooks_bar_is_drawn_between_lines_by_no_thread(monkeypatch, clock):
    """What is said while it is drawn goes into its widget, and vanishes with it."""
    drawn = []

    class Widget(contextlib.nullcontext):
        def clear_output(self, wait):
            drawn.append(clock.now)

        def close(self):
            pass

    monkeypatch.setitem(sys.modules, "ipywidgets", SimpleNamespace(Output=Widget))
    monkeypatch.setattr(progress_screen.importlib.util, "find_spec", lambda _: "found")
    threads = set(threading.enumerate())
    with ProgressScreen(Console(force_jupyter=True), epochs=3) as screen:
        assert set(threading.enumerate()) <= threads
        screen.step_done(Progress(step=1), 5, 16)
        before = len(drawn)
        for step in range(2, 6):
            clock.now += 0.125
            screen.step_done(Progress(step=step), 5, 16)
    assert drawn[before:] == [1000.25, 1000.5]


def test_a_resumed_stage_does_not_count_what_an_earlier_run_did_as_its_own_speed(tiny):
    screen, _ = screen_on(tiny, terminal=True)
    with screen:
        screen.step_done(Progress(epoch=2, step=3), 5, 16)
        (task,) = screen._bar.tasks
        assert (task.completed, task.total) == (13, 15)
        assert sum(sample.completed for sample in task._progress) == 1


def test_only_the_first_of_several_processes_shows_anything(tiny, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with ProgressScreen() as screen:
        screen.stage_started(load_config(tiny).config.trainings[0], Progress())
        screen.warn("something")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (125, "2:05"), (3723, "1:02:03")]
)
def test_a_duration_is_minutes_and_seconds_with_hours_where_there_are_any(seconds, text):
    assert duration(seconds) == text


def test_the_table_has_a_row_for_each_stage_and_a_column_for_each_metric():
    facts = {"best_epoch": 2, "epochs": 3, "seconds": 61, "samples_per_second": 1234.5}
    stages = [
        {"name": "one", "metrics": {"val/expr/f1": 0.25}, **facts},
        {"name": "two", "metrics": {"val/expr/f1": 0.5, "val/va/ccc": -0.125}, **facts},
    ]
    table = report_table({"name": "job", "stages": stages})
    assert [column.header for column in table.columns][:3] == ["stage", "expr\nf1", "va\nccc"]
    assert table.title == "job, validated on val"
    cells = [list(column.cells) for column in table.columns]
    assert cells[:3] == [["one", "two"], ["0.250", "0.500"], ["", "-0.125"]]
    assert [column[0] for column in cells[3:]] == ["2/3", "1:01", "1,234"]


def test_the_tables_columns_name_the_feed_where_there_are_several():
    facts = {"best_epoch": 1, "epochs": 1, "seconds": 1, "samples_per_second": 1.0}
    stages = [{"name": "one", "metrics": {"a/expr/macro_f1": 0.25, "b/va/ccc": 0.5}, **facts}]
    table = report_table({"name": "job", "stages": stages})
    assert [column.header for column in table.columns][1:3] == ["a\nexpr\nmacro\nf1", "b\nva\nccc"]
    assert table.title == "job"


def test_the_samples_of_a_step_that_is_not_finite_are_named_but_not_by_the_hundred():
    pending = PendingTerms(["a", "b"])
    ids = tuple(f"{stream}:{i}" for stream in "ab" for i in range(30))
    pending.add(torch.tensor(1.0), {"a/expr/focal": torch.tensor(2.0)}, ids)
    assert pending.fetch() == [{"total": 1.0, "a/expr/focal": 2.0}]
    terms = {"a/expr/focal": torch.tensor(math.nan), "b/va/ccc": torch.tensor(1.0)}
    pending.add(torch.tensor(math.nan), terms, ids)
    with pytest.raises(RunError) as stopped:
        pending.fetch()
    (problem,) = stopped.value.problems
    assert problem.startswith("the loss is not finite: a/expr/focal = nan; samples of the step: a:0, a:1, ")
    assert problem.endswith("a:19 and 10 more")


def test_all_samples_of_a_step_are_named_where_a_term_of_a_combined_task_is_not_finite():
    """It is of the rows of all streams, whatever one of them is called."""
    pending = PendingTerms(["both", "b"])
    pending.add(torch.tensor(math.nan), {"both/tie": torch.tensor(math.nan)}, ("both:1", "b:2"))
    with pytest.raises(RunError, match=r"both/tie = nan; samples of the step: both:1, b:2$"):
        pending.fetch()
