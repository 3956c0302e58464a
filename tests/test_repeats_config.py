"""Stages that are repeated, in a configuration: names, references, what is refused and written out."""

from __future__ import annotations

import tomllib

import pytest

from mtl_toolkit import ConfigError, config_from, load_config
from mtl_toolkit.config import Repeat, Stage, expand, plain, repeat_names, repeats_of

REFERENCES = {
    "teacher": {"teacher": "single", "losses": [{"type": "distillation", "weight": 0.4}]},
    "start_from": {"start_from": "single"},
}


@pytest.fixture
def raw(tiny_text):
    """The tiny job with its teacher alone, called `single`, and two seeds of it."""
    raw = tomllib.loads(tiny_text)
    raw["stages"] = [{"name": "single", "sharing": False, "seeds": 2}]
    return raw


def stages_of(raw, tmp_path):
    return config_from(raw, base=tmp_path).config.stages


def problems_of(raw, tmp_path):
    with pytest.raises(ConfigError) as error:
        config_from(raw, base=tmp_path)
    return list(error.value.problems)


class TestNames:
    @pytest.mark.parametrize(
        ("options", "labels"),
        [
            ({}, []),
            ({"seeds": 1}, []),
            ({"seeds": 3}, ["seed-1", "seed-2", "seed-3"]),
            ({"folds": 2}, ["fold-1", "fold-2"]),
            (
                {"folds": 2, "seeds": 2},
                ["fold-1-seed-1", "fold-1-seed-2", "fold-2-seed-1", "fold-2-seed-2"],
            ),
        ],
    )
    def test_of_repeats_say_fold_and_seed(self, raw, tmp_path, options, labels):
        raw["stages"] = [{"name": "single", **options}]
        (stage,) = stages_of(raw, tmp_path)
        assert repeat_names(stage) == tuple(f"single/{label}" for label in labels)
        assert [one.name for one in repeats_of(stage)] == [f"single/{label}" for label in labels] or [
            "single"
        ]

    def test_are_not_given_to_extract_stages(self, raw, tmp_path):
        raw["stages"] = [
            {"name": "single"},
            {"name": "features", "kind": "extract", "network": "single", "datasets": ["a"]},
        ]
        _, extract = stages_of(raw, tmp_path)
        assert repeat_names(extract) == ()
        assert repeats_of(extract) == (extract,)


class TestExpand:
    def test_a_repeat_is_the_stage_with_its_own_name(self, raw, tmp_path):
        raw["stages"][0]["folds"] = 2
        loaded = config_from(raw, base=tmp_path)
        (stage,) = loaded.config.stages
        repeats = expand(loaded.config).stages
        assert [(one.origin, one.fold, one.seeds, one.folds) for one in repeats] == [
            ("single", 1, 1, 2),
            ("single", 1, 1, 2),
            ("single", 2, 1, 2),
            ("single", 2, 1, 2),
        ]
        own = {"name", "seeds", "origin", "fold"}
        for one in repeats:
            assert isinstance(one, Repeat)
            assert {k: v for k, v in plain(one).items() if k not in own} == {
                k: v for k, v in plain(stage).items() if k not in own
            }

    def test_changes_nothing_the_second_time(self, raw, tmp_path):
        config = expand(config_from(raw, base=tmp_path).config)
        assert expand(config) == config

    def test_leaves_a_configuration_without_repeats_as_it_is(self, tiny):
        config = load_config(tiny).config
        assert expand(config) == config

    def test_config_toml_keeps_the_stage_as_it_was_written(self, raw, tmp_path):
        raw["stages"][0]["folds"] = 3
        loaded = config_from(raw, base=tmp_path)
        again = config_from(tomllib.loads(loaded.to_toml()), base=tmp_path)
        assert again.config == loaded.config
        (stage,) = again.config.stages
        assert type(stage) is Stage
        assert (stage.seeds, stage.folds) == (2, 3)


class TestReferences:
    @pytest.mark.parametrize("key", REFERENCES)
    def test_may_name_a_repeat(self, raw, tmp_path, key):
        changed = REFERENCES[key] | {key: "single/seed-2"}
        raw["stages"].append({"name": "next", **changed})
        _, stage = stages_of(raw, tmp_path)
        assert getattr(stage, key) == "single/seed-2"

    def test_of_an_extract_stage_may_name_a_repeat(self, raw, tmp_path):
        raw["stages"].append(
            {"name": "features", "kind": "extract", "network": "single/seed-1", "datasets": ["a"]}
        )
        assert stages_of(raw, tmp_path)[1].network == "single/seed-1"

    @pytest.mark.parametrize("key", REFERENCES)
    def test_to_all_repeats_are_refused(self, raw, tmp_path, key):
        raw["stages"].append({"name": "next", **REFERENCES[key]})
        assert problems_of(raw, tmp_path) == [
            f"config: stages.next.{key}: must name a repeat, such as 'single/seed-1', "
            "or a stage that combines them (got 'single', which is repeated)"
        ]

    def test_to_a_repeat_that_is_not_there_suggest_the_nearest(self, raw, tmp_path):
        raw["stages"].append({"name": "next", "start_from": "single/seed-3"})
        (problem,) = problems_of(raw, tmp_path)
        assert problem.startswith(
            "config: stages.next.start_from: no earlier stage or checkpoint 'single/seed-3'"
        )
        assert "did you mean 'single/seed-" in problem

    def test_a_repeat_cannot_name_another_of_its_stage(self, raw, tmp_path):
        raw["stages"][0]["start_from"] = "single/seed-1"
        (problem,) = problems_of(raw, tmp_path)
        assert "no earlier stage or checkpoint 'single/seed-1'" in problem


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "stages.single.seeds: must be at least 1 (got 0)"),
        ({"seeds": 2, "folds": 1}, "stages.single.folds: must be at least 2 (got 1)"),
    ],
)
def test_numbers_that_make_no_repeats_are_refused(raw, tmp_path, options, message):
    raw["stages"][0] |= options
    assert problems_of(raw, tmp_path) == [f"config: {message}"]
