"""Time of an epoch of GRU training from cached features, against one that runs the frozen CNN, side by side.

Both train the same GRUs and last layers, with the same trainer, on the same windows in the same order: 32
frames, 16 apart, 16 windows a step from each of two streams, and their losses are compared.

- features: read from a file of features, as a stage with `features` does.
- CNN: the frames of the windows are read as pictures, and go through the frozen CNN (eval mode, no gradient)
  at every step, as published code does (Vu et al., ICCV Workshops 2021).

The pictures are random numbers in memory, so the CNN's side pays nothing for reading and decoding files. With
two videos an epoch is one step; both sides grow alike with their number.

    python tests/benchmarks/gru_epoch.py [--backbone resnet50] [--videos 2] [--rounds 2]
"""

from __future__ import annotations

import argparse
import copy
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.balancers import Sum
from mtl_std.shared import Shared
from mtl_std.temporal import GRU
from mtl_std.timm_backbone import Timm
from torch import Tensor

from mtl_toolkit import (
    Batch,
    Head,
    LiveStream,
    MultiTaskModel,
    Objective,
    Samples,
    StreamLoader,
    StreamTask,
    TensorSamples,
    Trainer,
    TrainPlan,
    build_model,
)
from mtl_toolkit.config import Model, Windows
from mtl_toolkit.data import (
    FeatureLayout,
    FeatureSamples,
    create_features,
    map_features,
    training_windows,
    video_order,
)
from mtl_toolkit.pipeline.load import feature_rows, task_features


class VideoFrames(TensorSamples):
    """Pictures that are the frames of videos of one length."""

    def __init__(self, pictures: Tensor, targets: dict[str, Tensor], frames: int) -> None:
        super().__init__(pictures, targets)
        number = np.arange(len(pictures))
        self.columns = {
            "video": np.char.add("video", (number // frames).astype(np.str_)),
            "frame": number % frames + 1,
        }

    def column(self, name: str) -> np.ndarray | None:
        """Which video, and which frame of it."""
        return self.columns.get(name)


class FrozenCNN:
    """From pictures to the features that the heads' last layers read, as an extract stage makes them."""

    def __init__(self, table: Model, heads: dict[str, Head], accelerator: Accelerator, chunk: int) -> None:
        torch.manual_seed(0)
        self.model = build_model(table, heads).requires_grad_(requires_grad=False).eval()
        self.model.to(accelerator.device).to(memory_format=torch.channels_last)
        self.accelerator, self.chunk = accelerator, chunk
        side = table.read_size
        picture = torch.zeros(1, 3, side, side, dtype=torch.uint8, device=accelerator.device)
        with torch.no_grad():
            features = task_features(self.model, picture, "heads", list(heads))
        widths = {task: one.shape[1] for task, one in features.items()}
        self.layout = FeatureLayout("heads", widths, {task: task for task in heads})

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """[rows, 3, side, side] to [rows, width]."""
        pieces = []
        # All rows at once would take gigabytes, and on a CPU more time.
        for some in pictures.contiguous(memory_format=torch.channels_last).split(self.chunk):
            with self.accelerator.autocast():
                pieces.append(feature_rows(self.model, some, self.layout))
        return torch.cat(pieces)


def make_videos(videos: int, frames: int, side: int) -> VideoFrames:
    """Random pictures with random labels of both tasks."""
    generator = torch.Generator().manual_seed(0)
    rows = videos * frames
    pictures = torch.randint(0, 256, (rows, 3, side, side), dtype=torch.uint8, generator=generator)
    classes = torch.randint(0, 7, (rows,), generator=generator)
    values = torch.rand(rows, 2, generator=generator) * 2 - 1
    return VideoFrames(pictures, {"expr": classes, "va": values}, frames)


def cache_features(path: Path, videos: VideoFrames, cnn: FrozenCNN) -> FeatureSamples:
    """Write the features of all frames."""
    order = video_order(videos)
    create_features(path, videos, order, cnn.layout, dtype="float32", origin={})
    parts, present = map_features(path, "r+")
    rows = cnn(videos.read(order).to(cnn.accelerator.device)).cpu().numpy()
    for task, (first, last) in cnn.layout.columns().items():
        parts[task][:] = rows[:, first:last]
    present[:] = True
    return FeatureSamples(videos, path)


def make_trainer(
    heads: dict[str, Head],
    accelerator: Accelerator,
    windows: int,
    samples: Samples,
    model: MultiTaskModel,
    prepare: Callable[[Batch], Tensor],
) -> Trainer:
    """A trainer of the GRUs, on two streams of windows of the same videos."""
    table = training_windows(samples, Windows(length=32, stride=16))
    streams = [
        LiveStream(task, task, samples, lambda g: g.permutation(len(table)), windows, table) for task in heads
    ]
    model.to(accelerator.device)
    return Trainer(
        model=model,
        objective=Objective(heads, [StreamTask(task, task) for task in heads]).to(accelerator.device),
        balancer=Sum().build(list(heads)),
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.5, 0.999)),
        loader=StreamLoader(TrainPlan(streams, seed=0), heads, pin_memory=accelerator.device.type == "cuda"),
        epochs=10**9,
        prepare=prepare,
        accelerator=accelerator,
    )


def epochs(trainer: Trainer) -> Iterator[tuple[float, float]]:
    """Yield the seconds of an epoch and its mean loss, again and again."""
    while True:
        started = time.perf_counter()
        trainer._train_epoch()
        if trainer.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        taken = time.perf_counter() - started
        total, steps = trainer.progress.sums["total"]
        trainer.progress.next_epoch()
        yield taken, total / steps


def time_in_turns(
    ours: Iterator[tuple[float, float]], theirs: Iterator[tuple[float, float]], rounds: int, repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of an epoch from features, the median of some in a row, and of one with the CNN, by round."""
    _, wanted = next(ours)  # the first epoch from features warms up; the CNN did when features were made
    from_features, with_cnn = [], []
    for number in range(rounds):
        taken, loss = next(theirs)
        with_cnn.append(taken)
        if not number:
            assert abs(loss - wanted) < 1e-2 * abs(wanted), f"the losses differ: {loss} and {wanted}"
            print(f"loss of the first epoch: {wanted:.5f} from features, {loss:.5f} with the CNN")
        from_features.append(statistics.median(next(ours)[0] for _ in range(repeats)))
    return from_features, with_cnn


def report(from_features: list[float], with_cnn: list[float], steps: int) -> None:
    """Print both times and how many times as fast features are."""
    for name, values in (("features", from_features), ("CNN", with_cnn)):
        seconds = statistics.median(values)
        print(f"{name:8} {seconds:9.3f} s an epoch, {1000 * seconds / steps:9.1f} ms a step")
    ratios = [slow / fast for slow, fast in zip(with_cnn, from_features, strict=True)]
    spread = f"from {min(ratios):,.0f} to {max(ratios):,.0f}"
    print(f"features are {statistics.median(ratios):,.0f} times as fast ({spread})")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="resnet50", help="a model of timm")
    parser.add_argument("--size", type=int, default=112, help="side of what the CNN sees, in pixels")
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--frames", type=int, default=144, help="of a video")
    parser.add_argument("--windows", type=int, default=16, help="a step, of each stream")
    parser.add_argument("--chunk", type=int, default=64, help="pictures that the CNN sees at once")
    parser.add_argument("--rounds", type=int, default=2, help="epochs with the CNN")
    parser.add_argument("--repeats", type=int, default=10, help="epochs from features in each round")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    """Make the features, time both in turns, and report."""
    options = parse()
    heads: dict[str, Head] = {"expr": Expression(), "va": ValenceArousal()}
    precision = {"fp32": "no"}.get(options.precision, options.precision)
    accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision=precision)
    table = Model(backbone=Timm(name=options.backbone), architecture=Shared(), image_size=options.size)
    videos = make_videos(options.videos, options.frames, table.read_size)
    cnn = FrozenCNN(table, heads, accelerator, options.chunk)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        features = cache_features(Path(folder) / "videos.h5", videos, cnn)
        print(f"features of {len(videos):,} frames made once in {time.perf_counter() - started:.1f} s")
        model = build_model(table, heads, temporal=GRU(), columns=cnn.layout.columns())
        make = functools.partial(make_trainer, heads, accelerator, options.windows)
        ours = make(features, copy.deepcopy(model), lambda batch: batch.inputs)
        theirs = make(videos, model, lambda batch: cnn(batch.inputs))
        timed = time_in_turns(epochs(ours), epochs(theirs), options.rounds, options.repeats)
        report(*timed, len(ours.loader))


if __name__ == "__main__":
    main()
