"""Stages with attention heads, two branches and the losses of DAN, from a file to a checkpoint."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from mtl_toolkit import ConfigError, load_config, load_stage, run

TEXT = """
name = "branches"

[tasks.expr]
head = { type = "expression", output_norm = true }
losses = ["cross-entropy", "affinity", "partition"]
[tasks.look]
head = "appearance"

[datasets]
faces = { type = "synthetic-faces", samples = 32, seed = 1, labels = ["expression", "appearance"] }

[model]
image_size = 32
backbone = { type = "dan", name = "test_resnet" }

[model.architecture]
type = "two-branch"
branches = { emotion = ["expr"], appearance = ["look"] }
split = "layer2"
exchange = "cross-attention"

[trainer]
device = "cpu"
workers = 0

[[stages]]
name = "both"
epochs = 1
streams = [
    { dataset = "faces", task = "expr", batch_size = 16 },
    { name = "looks", dataset = "faces", task = "look", batch_size = 16 },
]

[[stages]]
name = "emotion"
epochs = 1
architecture = { type = "two-branch", branches = { a = ["expr"], b = ["look"] }, split = "layer2" }
streams = [{ dataset = "faces", task = "expr", batch_size = 16 }]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "branches.toml"
    path.write_text(TEXT)
    return path


def test_stages_of_two_branches_and_of_one_train_and_load_again(config, tmp_path):
    run(load_config(config), tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run/both/log.jsonl").read_text().splitlines()]
    assert {"faces/expr/ground-truth", "looks/look/ground-truth"} <= records[-1]["losses"].keys()
    both = load_stage(tmp_path / "run/both")
    assert set(both.model.trunk.tails) == {"emotion_tail", "appearance_tail"}
    assert set(load_stage(tmp_path / "run/emotion").model.trunk.tails) == {"a_tail"}
    (centres,) = load_file(tmp_path / "run/both/last/objective.safetensors").values()
    assert centres.shape == (7, both.model.trunk.num_features["expr"])


def test_affinity_on_a_backbone_without_attention_is_told_before_the_first_step(config, tmp_path):
    loaded = load_config(config, overrides=["model.backbone={ type = 'timm', name = 'test_resnet' }"])
    with pytest.raises(ConfigError, match=r"^affinity: needs a backbone that gives 'pooled'"):
        run(loaded, tmp_path / "run")
    assert not (tmp_path / "run/both/log.jsonl").exists()
