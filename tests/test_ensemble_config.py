"""Ensembles in a configuration: what is refused, before anything is trained."""

from __future__ import annotations

import pytest

from mtl_toolkit import ConfigError, load_config
from mtl_toolkit.pipeline import DataSource, survey
from mtl_toolkit.pipeline.members import unlike_members
from mtl_toolkit.pipeline.misfits import described
from tests.test_ensemble_stages import CONFIG, FITTED, MEAN, STUDENT, write


def refused(tmp_path, text):
    """The problems of the tables."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    return caught.value.problems


def surveyed(tmp_path, text):
    """The problems of data and networks."""
    config = load_config(write(tmp_path, text)).config
    return survey(config, DataSource(config))[1]


def ensemble(**keys):
    """The fitted ensemble with other keys; None leaves one out."""
    given = {
        "members": '["one", "two"]',
        "combine": '{ expr = "weighted", au = "weighted" }',
        "fit_on": '[{ dataset = "tuning", task = "expr" }, { dataset = "tuning", task = "au" }]',
        "validation": '[{ dataset = "val", task = "all" }]',
        **keys,
    }
    lines = "".join(f"{key} = {value}\n" for key, value in given.items() if value is not None)
    return f'\n[[stages]]\nname = "e"\nkind = "ensemble"\n{lines}'


def test_a_sound_one_has_no_problem_and_comes_back_from_its_own_text(tmp_path):
    text = CONFIG + MEAN + FITTED + STUDENT
    assert surveyed(tmp_path, text) == []
    loaded = load_config(tmp_path / "job.toml")
    again = load_config(write(tmp_path, loaded.to_toml()))
    assert again.config == loaded.config
    assert again.config.ensembles[0].weights == {"one": 2.0}


def test_its_score_is_made_of_the_metrics_that_it_selects(tmp_path):
    text = CONFIG + ensemble(select="{ mean_f1 = 1.0 }")
    assert load_config(write(tmp_path, text)).config.ensembles[0].select == {"val/au/mean_f1": 1.0}


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"select": "{ mean_f = 1.0 }"}, "select.mean_f: is no metric of this stage"),
        (
            {"members": '["one", "three"]'},
            "members[1]: no earlier stage or checkpoint 'three'; there are: one",
        ),
        ({"members": "[]"}, "members: must not be empty"),
        ({"combine": '"median"'}, "combine: must be 'mean' or 'weighted' or 'majority' or a table"),
        ({"combine": '{ exp = "mean" }', "tune": "true"}, "combine.exp: unknown task; did you mean 'expr'?"),
        ({"combine": '{ all = "mean" }', "tune": "true"}, "combine.all: unknown task"),
        (
            {"combine": '{ va = "weighted" }'},
            "combine.va: has nothing to fit its weights on: fit_on has no feed of this task",
        ),
        (
            {"fit_on": None},
            "combine: has nothing to fit on: fit_on must name samples that are not validated",
        ),
        (
            {"fit_on": None, "combine": None, "tune": "true"},
            "tune: has nothing to fit on: fit_on must name samples that are not validated",
        ),
        ({"combine": None}, 'fit_on: has no effect without combine = "weighted" or tune = true'),
        ({"weights": "{ on = 1.0 }"}, "weights.on: no such member; did you mean 'one'?"),
        ({"weights": "{ one = -1.0 }"}, "weights: must be numbers from 0"),
        ({"weights": "{ one = 0.0, two = 0.0 }"}, "weights: must be above 0 for some member (got 0 for all)"),
        (
            {"weights": "{ one = 2.0 }", "combine": '"weighted"'},
            'weights: have no effect, since combine = "weighted" fits them',
        ),
        (
            {
                "fit_on": '[{ dataset = ["tuning", "val"], task = "expr" }]',
                "combine": '{ expr = "weighted" }',
            },
            "fit_on[0].dataset: must not be validated on too: what is fitted fits it (got 'val')",
        ),
        ({"epochs": "3"}, "epochs: unknown key for kind = 'ensemble'; kind = 'train' has it"),
    ],
)
def test_a_wrong_table_is_told_with_its_key(tmp_path, keys, line):
    problems = refused(tmp_path, CONFIG + ensemble(**keys))
    assert any(f"stages.e.{line}" in problem for problem in problems), problems


def test_an_ensemble_has_no_weights_to_start_from(tmp_path):
    started = STUDENT.replace('teacher = "mean"', 'start_from = "mean"').replace(
        'losses = [{ type = "distillation", weight = 0.4 }]', ""
    )
    (problem,) = refused(tmp_path, CONFIG + MEAN + started)
    assert "must name a stage of kind 'train' (got 'mean', which is of kind 'ensemble')" in problem


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            {"combine": '{ va = "majority" }', "tune": "true"},
            "task 'va': head 'valence-arousal': has no decisions whose majority could be taken",
        ),
        ({"combine": '"weighted"'}, "combine: fit_on has no feed of task 'va' to fit its weights on"),
        ({"members": '["one"]'}, "validation: no member has task 'va'"),
        ({"members": '["one"]', "combine": '{ va = "mean", au = "weighted" }'}, "combine.va: no member has"),
        ({"weights": "{ two = 0.0 }"}, "weights: no member with task 'va' has one above 0"),
        (
            {"validation": '[{ dataset = "a", task = "au" }]'},
            "validation 'a': a member is trained on 'a', with 8 groups (",
        ),
    ],
)
def test_what_cannot_be_combined_or_judged_is_told_before_training(tmp_path, keys, line):
    problems = surveyed(tmp_path, CONFIG + ensemble(**keys))
    assert any(problem.startswith(f"stages.e: {line}") for problem in problems), problems


def test_samples_to_fit_on_must_have_labels(tmp_path):
    text = CONFIG.replace('labels = ["expression", "action-units"]', 'labels = ["expression"]')
    problems = surveyed(tmp_path, text + ensemble())
    assert problems == ["stages.e: fit_on 'tuning' has no label of task 'au'"]


def test_what_is_fitted_on_shares_no_person_with_what_is_validated(tmp_path):
    """Under another name, and with other samples: the persons of a seed are the same."""
    text = CONFIG.replace("samples = 30\nseed = 2", "samples = 28\nseed = 3")
    (problem,) = surveyed(tmp_path, text + ensemble())
    assert problem.startswith("stages.e: fit_on 'tuning' must share nothing with validation, as what is ")
    assert "(got 'val' with 7 groups (" in problem


def test_folds_of_a_member_are_not_validated_on(tmp_path):
    text = CONFIG.replace("seeds = 2", "folds = 2").replace(
        'validation = [{ dataset = "val", task = "all" }]', 'validation = [{ dataset = "a", task = "all" }]'
    )
    keys = {"validation": '[{ dataset = "a", task = "au" }]', "members": '["two"]'}
    line = "dataset 'a' is cut into the folds of 'two', which train on it; allow_overlap = true permits it"
    assert f"stages.e: validation: {line}" in surveyed(tmp_path, text + ensemble(**keys))
    keys = {
        "fit_on": '[{ dataset = "a", task = "au" }]',
        "members": '["two"]',
        "combine": None,
        "tune": "true",
    }
    problems = surveyed(tmp_path, text + ensemble(**keys))
    assert f"stages.e: fit_on: {line}" in problems
    assert any(one.startswith("stages.e: fit_on 'a': a member is trained on 'a', with ") for one in problems)
    assert surveyed(tmp_path, text + ensemble(**keys, allow_overlap="true")) == []


def test_thresholds_are_not_tuned_on_what_a_member_was_trained_on_unless_that_is_permitted(tmp_path):
    keys = {"fit_on": '[{ dataset = "a", task = "au" }]', "combine": None, "tune": "true"}
    (problem,) = surveyed(tmp_path, CONFIG + ensemble(**keys))
    assert problem.startswith("stages.e: fit_on 'a': a member is trained on 'a', with 8 groups (")
    assert problem.endswith("; allow_overlap = true permits it")
    assert surveyed(tmp_path, CONFIG + ensemble(**keys, allow_overlap="true")) == []


def test_members_must_mean_and_read_the_same(tmp_path):
    config = load_config(write(tmp_path, CONFIG + ensemble())).config
    one, two = (described(config, name) for name in ("one", "two/seed-1"))
    assert list(unlike_members({"one": one, "two": two})) == []
    other = {
        **two,
        "preprocessing": {**two["preprocessing"], "read_size": 24, "mean": [0.0, 0.0, 0.0]},
        "windows": {"length": 8},
        "tasks": {"au": {**two["tasks"]["au"], "meaning": {"kind": "multi-label", "units": ["AU1"]}}},
    }
    units = one["tasks"]["au"]["meaning"]["units"]
    assert list(unlike_members({"one": one, "two": other})) == [
        "'two' has windows {'length': 8}, 'one' None",
        "'two' has preprocessing read_size 24, 'one' 19",
        f"task 'au': 'two' has units ['AU1'], 'one' {units}",
    ]
