"""The losses of a stage: which labels they are fitted to, what is checked before, what the report says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mtl_toolkit import ConfigError, build_objective, load_config
from mtl_toolkit.pipeline import DataSource, survey
from mtl_toolkit.pipeline.losses import fitted_losses, stage_losses, training_labels

BALANCED = ("tasks.expr.losses=[{ type = 'cross-entropy', class_weights = 'balanced' }]",)


def opened(path, *overrides):
    config = load_config(path, overrides=overrides).config
    return config, DataSource(config)


def test_the_labels_of_all_streams_count_where_they_are_shared_else_only_a_streams_own(tiny):
    config, source = opened(tiny)
    alone, shared = config.stages  # the teacher does not share
    a, b = (source.dataset(name, validation=False).labels() for name in "ab")
    labels = training_labels(source, alone)
    assert len(labels["va"]) == len(labels["expr"]) == 80
    assert not labels["va"].valid[:40].any()
    np.testing.assert_array_equal(labels["va"].values[40:], b["va"].values)
    np.testing.assert_array_equal(labels["expr"].valid[:40], a["expr"].valid)
    assert not labels["expr"].valid[40:].any()
    np.testing.assert_array_equal(training_labels(source, shared)["va"].valid[:40], a["va"].valid)


def test_losses_are_fitted_to_them_by_the_objective_that_a_run_builds(tiny):
    config, source = opened(tiny, *BALANCED)
    stage = config.stages[0]
    ids = source.dataset("a", validation=False).labels()["expr"].values
    counts = np.bincount(ids, minlength=7)
    expected = [40 / ((counts > 0).sum() * count) if count else 0 for count in counts]
    (loss,) = stage_losses(config, stage, training_labels(source, stage))["expr"]
    assert loss.class_weights == pytest.approx(expected)
    build_objective(config, stage, training_labels(source, stage))
    with pytest.raises(ConfigError, match="call fitted"):
        build_objective(config, stage)


def test_what_was_fitted_is_told_and_nothing_where_no_loss_takes_labels(tiny):
    config, source = opened(tiny, *BALANCED)
    (found,) = fitted_losses(source, config.stages[0])["expr"]
    assert found["type"] == "cross-entropy"
    assert len(found["class_weights"]) == 7
    config, source = opened(tiny)
    assert fitted_losses(source, config.stages[0]) == {}


def test_folds_hold_labels_back(tiny):
    from mtl_toolkit.config import expand

    config, source = opened(tiny, "stages.teacher.folds=2", "stages.student.teacher='teacher/fold-1'")
    one, two = (stage for stage in expand(config).stages if stage.name.startswith("teacher/"))
    sizes = [len(training_labels(source, stage)["va"]) for stage in (one, two)]
    assert sum(sizes) == 80


def test_a_run_keeps_balanced_in_its_configuration_and_the_weights_in_its_report(tiny, mtl, tmp_path):
    overrides = (*BALANCED, "defaults.epochs=1", "defaults.epoch_length=1")
    options = [part for one in overrides for part in ("--set", one)]
    code, _, err = mtl("run", str(tiny), "--output", str(tmp_path / "out"), *options)
    assert code == 0, err
    assert 'class_weights = "balanced"' in (tmp_path / "out" / "config.toml").read_text()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    for stage in report["stages"]:
        assert len(stage["fitted_losses"]["expr"][0]["class_weights"]) == 7


PICKY = """
from typing import ClassVar

import attrs
from mtl_toolkit import ConfigError, Loss, hookimpl


@attrs.frozen(kw_only=True)
class Picky(Loss):
    '''Wants labels that are not there.'''

    name: ClassVar[str] = "picky"

    def fitted(self, head, labels):
        if len(labels):
            raise ConfigError(f"picky: does not like these {len(labels)} labels")
        return self

    def build(self, head):
        return lambda output, target, mask: output.values.sum() * 0


@hookimpl
def mtl_losses():
    return [Picky]
"""


def test_labels_that_a_loss_cannot_be_fitted_to_are_told_when_checking(tiny, packages):
    packages.add("stranger", {"picky": PICKY})
    config, source = opened(tiny, "tasks.va.losses=['ccc', 'picky']")
    _, problems = survey(config, source)
    assert problems == ["tasks.va.losses: picky: does not like these 80 labels"]
