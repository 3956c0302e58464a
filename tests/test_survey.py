"""What `mtl check` finds before anything is trained, so that no later stage fails after days."""

from __future__ import annotations

from types import SimpleNamespace

import attrs
import pytest
import torch
from accelerate.state import PartialState

from mtl_toolkit import Batch, build_objective, load_config
from mtl_toolkit.pipeline import DataSource, survey
from mtl_toolkit.pipeline.device import make_accelerator
from mtl_toolkit.pipeline.stage import preparation


def problems(tiny, *overrides):
    config = load_config(tiny, overrides=overrides).config
    return survey(config, DataSource(config))[1]


EXPR_ONLY = (
    "stages.teacher.streams=[{ dataset = 'a', task = 'expr', batch_size = 8 }]",
    "stages.teacher.validation=[{ dataset = 'val', task = 'expr' }]",
)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (EXPR_ONLY, "stages.student: teacher 'teacher': has no task 'va'; there are: expr"),
        (
            ("tasks.expr.losses=[{ type = 'cross-entropy', class_weights = [1, 2] }]",),
            "tasks.expr.losses: cross-entropy: class_weights must have 7 values (got 2)",
        ),
        (
            ("tasks.expr.losses=['bin-cross-entropy']",),
            "tasks.expr.losses: bin-cross-entropy: needs a head with bins (got 'expression')",
        ),
        (
            ("tasks.va.metrics=['accuracy']", "defaults.select={ score = 1 }"),
            "tasks.va.metrics: accuracy: ",
        ),
        (
            (*EXPR_ONLY, "stages.teacher.balancer={ type = 'sum', weights = { va = 0.4 } }"),
            "stages.teacher.balancer: ",
        ),
        (
            ("defaults.scheduler={ type = 'ReduceLROnPlateau' }",),
            "stages.teacher.scheduler.per: must be 'epoch' for ReduceLROnPlateau",
        ),
        (
            ("defaults.scheduler={ type = 'reducelronplateau', per = 'epoch' }", "defaults.validation=[]"),
            "stages.teacher.scheduler.type: ReduceLROnPlateau watches the score",
        ),
    ],
)
def test_parts_that_do_not_fit_are_told(tiny, overrides, line):
    assert any(found.startswith(line) for found in problems(tiny, *overrides)), problems(tiny, *overrides)


def test_a_stage_that_is_taught_all_its_tasks_fits(tiny):
    assert problems(tiny) == []


def test_a_misspelt_task_in_a_datasets_labels_is_told_with_the_nearest(tiny, mtl):
    table = "datasets.a={ type = 'hdf5', path = 'x.h5', labels = { exprr = 'expression' } }"
    code, _, err = mtl("check", str(tiny), "--set", table)
    assert code == 2
    assert "datasets.a.labels.exprr: unknown task; did you mean 'expr'?" in err


def test_metrics_that_report_the_same_name_are_refused(tiny, mtl):
    code, _, err = mtl("check", str(tiny), "--set", "tasks.expr.metrics=['expression-score', 'accuracy']")
    assert code == 2
    assert "tasks.expr.metrics: must report different names (got 'accuracy' twice)" in err


def test_metrics_that_no_head_chooses_by_need_a_selection(tiny, mtl):
    only = ("tasks.expr.metrics=['macro_f1']", "defaults.validation=[{ dataset = 'val', task = 'expr' }]")
    code, _, err = mtl("check", str(tiny), *(part for override in only for part in ("--set", override)))
    assert code == 2
    assert "select: must be given, since the heads choose by none of the metrics: val/expr/macro_f1" in err


def test_a_task_without_a_teacher_keeps_the_whole_weight_of_its_labels(tiny):
    config = load_config(tiny, overrides=("stages.student.teacher={ expr = 'teacher' }",)).config
    terms = build_objective(config, config.stages[1])._terms
    assert {task: one.ground_truth_weight for task, one in terms.items()} == {"expr": 0.6, "va": 1.0}


def test_only_pictures_are_augmented_not_maps_of_features(tiny):
    loaded = load_config(tiny, overrides=("defaults.augmentation={ brightness = 0.5 }",))
    prepare = preparation(SimpleNamespace(loaded=loaded, training=loaded.config.trainings[0]))
    features = torch.rand(2, 3, 7, 7)
    batch = attrs.evolve(Batch.from_tensors(features, {}), noise=torch.rand(2, 16))
    assert prepare(batch) is features


def test_another_device_than_that_of_an_earlier_run_of_the_process_is_taken(monkeypatch):
    make_accelerator("cpu", "fp32")
    monkeypatch.setitem(PartialState._shared_state, "device", torch.device("cuda"))
    assert make_accelerator("cpu", "fp32").device.type == "cpu"
