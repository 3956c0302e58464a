"""Which dataset a row is of, where a stream has several: for samplers, and in batches."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from mtl_toolkit import ConcatSamples, TensorSamples, load_config
from mtl_toolkit.data import part_numbers
from mtl_toolkit.pipeline import DataSource

STREAM = (
    "{ dataset = ['long', 'short'], task = 'expr', batch_size = 4, sampler = { type = 'temperature', %s } }"
)
STAGE = "stages=[{ name = 'one', streams = [%s], validation = [{ dataset = 'long', task = 'expr' }] }]"
DATASETS = (
    "datasets={ long = { type = 'synthetic-faces', samples = 30, labels = ['expression'] }, "
    "short = { type = 'synthetic-faces', samples = 6, seed = 1, labels = ['expression'] } }",
)
VIDEOS = (
    "datasets={ long = { type = 'synthetic-videos', videos = 2, frames = 60, missing = 0.0 }, "
    "short = { type = 'synthetic-videos', videos = 1, frames = 24, missing = 0.0, seed = 1 } }",
)


def one_pass(tiny, datasets, options, more=""):
    stream = STREAM % options
    overrides = (*datasets, STAGE.replace("name = 'one'", f"name = 'one'{more}") % stream)
    config = load_config(tiny, overrides=overrides).config
    source, stage = DataSource(config), config.trainings[0]
    samples, windows = source.items(stage, stage.streams[0], validation=False)
    drawn = source.order(stage, stage.streams[0])(np.random.default_rng(0))
    rows = drawn if windows is None else windows.order[windows.starts[drawn]]
    return Counter(part_numbers(samples, rows).tolist()), len(drawn)


def test_rows_of_a_concatenation_know_their_part_and_others_are_of_the_first():
    sizes = {"a": 3, "none": 0, "b": 2}
    parts = {name: TensorSamples(torch.zeros(size, 1), {}) for name, size in sizes.items()}
    rows = np.array([4, 0, 2, 3])
    assert part_numbers(ConcatSamples(parts), rows).tolist() == [2, 0, 0, 2]
    assert part_numbers(parts["a"], np.array([0, 2])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("temperature", "shares"), [("1", {0: 30, 1: 6}), ("inf", {0: 18, 1: 18}), ("2", {0: 25, 1: 11})]
)
def test_a_stream_draws_its_datasets_by_temperature(tiny, temperature, shares):
    assert one_pass(tiny, DATASETS, f"temperature = {temperature}") == (shares, 36)


def test_a_stream_of_windows_draws_them_by_the_dataset_of_their_frames(tiny):
    more = ", temporal = 'gru', windows = { length = 8, stride = 4 }"
    alone, count = one_pass(tiny, VIDEOS, "temperature = 1", more)
    assert set(alone) == {0, 1}
    assert alone[0] > 2 * alone[1]
    even, _ = one_pass(tiny, VIDEOS, "temperature = inf", more)
    assert abs(even[0] - even[1]) <= 1
    assert sum(even.values()) == count
