"""Every network is built once before anything is trained: what keeps one from being built is told at once."""

from __future__ import annotations

import pytest
import torch

import mtl_toolkit.pipeline.trial
from mtl_toolkit import ConfigError, load_config, load_stage, run
from mtl_toolkit.pipeline import DataSource, survey
from mtl_toolkit.pipeline.trial import TrialNetworks

NET = "{{ type = 'timm', name = 'resnet10t', options = {{ channels = [4, 4, 8, 8], stem_width = 4 }}{} }}"
BRANCHES = "branches = { emotion = ['expr'], other = ['va'] }"
EXTRACT = "{ name = 'made', kind = 'extract', network = 'cnn', datasets = ['a', 'b', 'val'] }"


def problems(tiny, *overrides):
    config = load_config(tiny, overrides=overrides).config
    return survey(config, DataSource(config))[1]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "stages.student.backbone=" + NET.format(", freeze = ['layer9']"),
            "stages.student.backbone.freeze: 'resnet10t' has no module 'layer9'; did you mean 'layer4'?",
        ),
        (
            "model.backbone.freeze=['layer9']",
            "stages.teacher: model.backbone.freeze: 'resnet10t' has no module 'layer9'; did you mean",
        ),
        (
            f"stages.student.architecture={{ type = 'two-branch', split = 'layer9', {BRANCHES} }}",
            "stages.student.architecture.split: the backbone has no block 'layer9'; did you mean",
        ),
        (
            "stages.student.architecture={ type = 'two-branch', exchange = 'cross-attention', "
            f"attention_heads = 3, {BRANCHES} }}",
            "stages.student.architecture.attention_heads: must divide the 8 channels",
        ),
    ],
)
def test_a_network_that_cannot_be_built_is_told_in_one_line_with_its_stage(tiny, override, line):
    (found,) = problems(tiny, override)
    assert found.startswith(line)


def test_a_run_is_refused_before_its_first_stage_trains(tiny, tmp_path):
    wrong = f"stages.student.architecture={{ type = 'two-branch', split = 'layer9', {BRANCHES} }}"
    with pytest.raises(ConfigError, match=r"^stages\.student\.architecture\.split: "):
        run(load_config(tiny, overrides=(wrong,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_each_distinct_network_is_built_once_and_the_generator_left_as_found(tiny, monkeypatch):
    built = []

    def build_model(model, heads, **options):
        built.append((model.backbone.freeze, *heads))
        return original(model, heads, **options)

    original = mtl_toolkit.pipeline.trial.build_model
    monkeypatch.setattr(mtl_toolkit.pipeline.trial, "build_model", build_model)
    frozen = NET.format(", freeze = 'all'")
    stages = (
        "{ name = 'one' }, { name = 'two', seeds = 3 }, "
        f"{{ name = 'three', backbone = {frozen} }}, {{ name = 'four', start_from = 'three' }}"
    )
    before = torch.random.get_rng_state()
    assert problems(tiny, f"stages=[{stages}]") == []
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sorted(built) == [("all", "expr", "va"), ("none", "expr", "va")]


@pytest.mark.parametrize("part", ["heads", "trunk"])
def test_the_network_of_a_stage_on_features_still_to_come_is_the_one_it_will_have(tiny, tmp_path, part):
    extract = f"{EXTRACT[:-2]}, part = '{part}' }}"
    stages = f"stages=[{{ name = 'cnn' }}, {extract}, {{ name = 'late', features = 'made' }}]"
    loaded = load_config(tiny, overrides=(stages, "defaults.epochs=1", "defaults.epoch_length=1"))
    late = loaded.config.trainings[1]
    wanted = TrialNetworks(loaded.config).of(late).shapes
    run(loaded, tmp_path / "run")
    state = load_stage(tmp_path / "run" / "late").model.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == wanted
    # Now that they are there, they may be another run's.
    there = load_config(
        tiny, overrides=(f"stages=[{{ name = 'late', features = '{tmp_path / 'run/made'}' }}]",)
    )
    assert TrialNetworks(there.config).of(there.config.trainings[0]).shapes == wanted


def test_batch_statistics_over_groups_need_a_batch_norm_that_is_trained(tiny):
    line = "model.batch_statistics: has no effect, since no stage's network has a batch norm that is trained"
    bare = ("tasks.expr.head.hidden=0", "tasks.va.head.hidden=0", "model.batch_statistics=stream")
    frozen = "stages.student.backbone=" + NET.format(", freeze = 'batch-norm'")
    assert problems(tiny, *bare) == []
    assert problems(tiny, *bare, frozen) == []
    assert problems(tiny, *bare, "model.backbone.freeze=batch-norm") == [f"{line} (got 'stream')"]


def test_a_stage_on_features_does_not_inherit_a_network(tiny):
    stages = f"stages=[{{ name = 'cnn' }}, {EXTRACT}, {{ name = 'late', features = 'made' }}]"
    shared = ("defaults.architecture=shared", f"defaults.backbone={NET.format('')}")
    cnn, late = load_config(tiny, overrides=(stages, *shared)).config.trainings
    assert cnn.backbone is not None
    assert cnn.architecture is not None
    assert late.backbone is None
    assert late.architecture is None


def test_a_network_that_no_stage_could_inherit_is_told(tiny, tmp_path):
    stages = f"stages=[{{ name = 'late', features = '{tmp_path}' }}]"
    with pytest.raises(ConfigError, match=r"defaults\.architecture: has no effect, since the stage works on"):
        load_config(tiny, overrides=(stages, "defaults.architecture=shared"))
