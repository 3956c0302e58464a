"""`mtl evaluate --by`: results by columns of a dataset, in the JSON file and as tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
CONFIG = """
name = "small"
[tasks.expr]
head = { type = "expression" }
[tasks.va]
head = { type = "valence-arousal" }
[datasets.people]
type = "image-csv"
csv = "people.csv"
where = { split = "test" }
labels = { expr = { column = "label" }, va = { columns = ["valence", "arousal"] } }
[datasets.faces]
type = "synthetic-faces"
samples = 8
[model]
backbone = { type = "timm", name = "resnet18" }
[[stages]]
name = "only"
streams = [{ dataset = "faces", task = "expr" }]
epochs = 1
"""
ROWS = 200
Rows = dict[str, np.ndarray]


@pytest.fixture
def people(tmp_path, monkeypatch) -> Rows:
    """A table of people and a file of predictions in another order; columns of the rows that are judged."""
    random = np.random.default_rng(0)
    columns: Rows = {
        "file": np.array([f"{row:03d}.jpg" for row in range(ROWS)]),
        "split": random.choice(["train", "test"], ROWS, p=[0.1, 0.9]),
        "gender": random.choice(["female", "male", ""], ROWS, p=[0.5, 0.4, 0.1]),
        "age": random.integers(1, 90, ROWS),
        "label": random.integers(0, 7, ROWS),
        "valence": random.uniform(-1, 1, ROWS).round(3),
        "arousal": random.uniform(-1, 1, ROWS).round(3),
    }
    wrong = random.random(ROWS) < np.where(columns["gender"] == "male", 0.6, 0.2)
    guess = np.where(wrong, (columns["label"] + 1) % 7, columns["label"])
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(CONFIG)
    with Path("people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in range(ROWS):
            values = {name: column[row] for name, column in columns.items()}
            writer.writerow((values | {"label": CLASSES[values["label"]]}).values())
    with Path("out.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = [f"expr.{name}" for name in CLASSES] + ["va.valence", "va.arousal"]
        writer.writerow(["name", "video", "frame", "face", *names])
        for row in random.permutation(ROWS):
            shares = np.eye(7)[guess[row]]
            axes = [
                columns[axis][row] * (0.5 if columns["gender"][row] == "male" else 0.9)
                for axis in ("valence", "arousal")
            ]
            writer.writerow([columns["file"][row], "", 0, 1, *shares, *axes])
    kept = columns["split"] == "test"
    return {name: column[kept] for name, column in (columns | {"guess": guess}).items()}


@pytest.fixture
def judged(mtl, people) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Run the command on the file of predictions; its output, and the dataset's part of the JSON file."""

    def evaluate(*arguments: str) -> tuple[str, dict[str, Any]]:
        given = ("small.toml", "--predictions", "out.csv", "--dataset", "people", "--draws", "20")
        code, output, errors = mtl("evaluate", *given, "-o", "found.json", *arguments)
        assert (code, errors) == (0, "")
        text = Path("found.json").read_text()
        return output, json.loads(text, parse_constant=pytest.fail)["datasets"]["people"]

    return evaluate


def accuracies(people: Rows, groups: dict[str, np.ndarray]) -> dict[str, float]:
    """The accuracy of each group, given its rows."""
    right = people["guess"] == people["label"]
    return {name: float(right[rows].mean()) for name, rows in groups.items()}


def metric(found: dict[str, Any], by: str, name: str = "accuracy", key: str = "value") -> dict[str, Any]:
    """A metric of expressions by group."""
    groups = found["by"][by]["tasks"]["expr"]["groups"]
    return {group: one["metrics"][name][key] for group, one in groups.items()}


def test_groups_of_a_column_have_the_metrics_and_counts_of_their_rows(judged, people):
    _, found = judged("--by", "gender")
    rows = {
        "female": people["gender"] == "female",
        "male": people["gender"] == "male",
        "(none)": people["gender"] == "",
    }
    values = metric(found, "gender")
    assert list(values) == list(rows)
    assert values == pytest.approx(accuracies(people, rows))
    groups = found["by"]["gender"]["tasks"]["expr"]["groups"]
    assert [groups[name]["rows"] for name in rows] == [int(one.sum()) for one in rows.values()]
    gap = found["by"]["gender"]["tasks"]["expr"]["gaps"]["accuracy"]
    assert gap["value"] == pytest.approx(values["female"] - values["male"])
    assert (gap["highest"], gap["lowest"]) == ("female", "male")
    low, high = gap["interval"]
    assert low < gap["value"] < high
    ccc = found["by"]["gender"]["tasks"]["va"]["gaps"]["ccc"]
    assert (ccc["highest"], ccc["lowest"]) == ("female", "male")


def test_numbers_are_cut_into_bands(judged, people):
    _, found = judged("--by", "age=18,40")
    age = people["age"]
    rows = {"< 18": age < 18, "18 to < 40": (age >= 18) & (age < 40), ">= 40": age >= 40}
    values = metric(found, "age=18,40")
    assert list(values) == list(rows)
    assert values == pytest.approx(accuracies(people, rows))


def test_columns_are_crossed(judged, people):
    _, found = judged("--by", "gender * age=40")
    rows = {
        f"{gender} & {band}": (people["gender"] == gender) & inside
        for gender in ("female", "male")
        for band, inside in (("< 40", people["age"] < 40), (">= 40", people["age"] >= 40))
    }
    rows["(none)"] = people["gender"] == ""
    values = metric(found, "gender * age=40")
    assert list(values) == list(rows)
    assert values == pytest.approx(accuracies(people, rows))


def test_each_column_has_tables_of_its_own_in_the_order_given(judged):
    output, found = judged("--by", "gender", "--by", "age=40", "--by", "gender")
    assert list(found["by"]) == ["gender", "age=40"]
    titles = [line.partition(";")[0] for line in output.splitlines() if "; gaps are" in line]
    assert titles == ["expr by gender", "va by gender", "expr by age=40", "va by age=40"]


def test_without_by_there_is_nothing_by_group(judged):
    output, found = judged()
    assert found["by"] == {}
    assert "gap" not in output


def test_groups_with_fewer_rows_than_wanted_are_out_of_the_gap(judged, people):
    least = int((people["gender"] == "male").sum()) + 1
    output, found = judged("--by", "gender", "--min-rows", str(least))
    assert metric(found, "gender", key="left_out") == {
        "female": None,
        "male": "few rows",
        "(none)": "no group",
    }
    assert found["by"]["gender"]["min_rows"] == least
    assert found["by"]["gender"]["tasks"]["expr"]["gaps"]["accuracy"] is None
    assert f"expr by gender; gaps are of values over {least} rows or more" in output
    assert "no gaps: they need two groups that can be compared" in output


def test_the_tables_show_groups_intervals_recall_and_gaps(judged):
    output, found = judged("--by", "gender")
    lines = [line.split() for line in output.partition("expr by gender")[2].splitlines()]
    expr = found["by"]["gender"]["tasks"]["expr"]
    assert ["gender", "rows", *expr["gaps"]] in lines
    for name, group in expr["groups"].items():
        shown = [
            f"{one['value']:.3f}" + ("*" if one["left_out"] == "lower ceiling" else "")
            for one in group["metrics"].values()
        ]
        place = lines.index([name, str(group["rows"]), *shown])
        bounds = [f"{bound:.3f}" for one in group["metrics"].values() for bound in one["interval"]]
        assert [cell for cell in lines[place + 1] if cell != ".."] == bounds
        recall = [
            cell
            for one in group["recall"].values()
            if one["rows"]
            for cell in (f"{100 * one['value']:.0f}", f"({one['rows']})")
        ]
        assert [name, *recall] in lines
    gap = expr["gaps"]["accuracy"]
    low, high = (f"{bound:.3f}" for bound in gap["interval"])
    assert ["accuracy", f"{gap['value']:.3f}", low, "..", high, "female", "male"] in lines
    assert max(map(len, output.splitlines())) <= 100


def test_a_class_that_a_group_lacks_is_told_under_the_table(mtl, judged, people):
    lines = Path("people.csv").read_text().splitlines()
    Path("people.csv").write_text(
        "\n".join(line for line in lines if not (",male," in line and ",fear," in line))
    )
    output, found = judged("--by", "gender")
    left_out = metric(found, "gender", "macro_f1", "left_out")
    assert (left_out["female"], left_out["male"]) == (None, "lower ceiling")
    assert metric(found, "gender", "macro_f1", "ceiling")["male"] == pytest.approx(6 / 7)
    assert "* not in the gap: some class or unit has no row in this group" in output


@pytest.mark.parametrize(
    ("by", "line"),
    [
        ("gendre", "dataset 'people' has no column 'gendre'; did you mean 'gender'?"),
        (
            "age",
            "column 'age' of dataset 'people' must have at most 30 different values (got ",
        ),
        (
            "gender=3",
            "column 'gender' of dataset 'people' must hold numbers to be cut into bands (got 'female')",
        ),
        ("age=40,18", "cuts must be ascending numbers, as in --by age=18,40,65 (got '40,18')"),
        ("age=18,18", "cuts must be ascending numbers, as in --by age=18,40,65 (got '18,18')"),
        ("age=", "cuts must be ascending numbers, as in --by age=18,40,65 (got '')"),
        ("age=old", "cuts must be ascending numbers, as in --by age=18,40,65 (got 'old')"),
        ("age=18,inf", "cuts must be ascending numbers, as in --by age=18,40,65 (got '18,inf')"),
        ("age=nan", "cuts must be ascending numbers, as in --by age=18,40,65 (got 'nan')"),
        ("=18", "must name a column, as in --by gender"),
        ("gender*", "must name a column, as in --by gender"),
        ("group", "dataset 'people' has no column 'group'"),
    ],
)
def test_what_is_no_grouping_is_told_in_a_line(mtl, people, by, line):
    given = ("small.toml", "--predictions", "out.csv", "--dataset", "people")
    code, output, errors = mtl("evaluate", *given, "--by", by)
    assert (code, output) == (2, "")
    assert errors.startswith(f"error: --by {by}: {line}")
    assert errors.count("\n") == 1


def test_the_columns_of_a_dataset_that_has_few_are_listed(mtl, people):
    given = ("small.toml", "--predictions", "out.csv", "--dataset", "faces")
    _, _, errors = mtl("evaluate", *given, "--by", "zodiac")
    assert errors == (
        "error: --by zodiac: dataset 'faces' has no column 'zodiac'; there are: glasses, group, skin_tone\n"
    )
