"""Pictures a second of an extract stage, against its network alone on tensors in memory, side by side.

- stage: the code of an extract stage with its own loader. It makes the file, reads and decodes JPEG pictures
  of a packed file, runs the network (trunk and heads), writes the features, and makes the file last. Left out
  is what a dataset costs once however large it is: loading the network, finding how wide its features are.
- network: the same modules on pictures that are in memory as the trunk wants them: cut, normalised, on the
  device, in its memory format.

Both use the same pictures, batch size, precision and number of threads. `--parts` adds two parts of the
stage: its loader alone, and from pictures in memory to features, which has the cut and the normalisation. All
are timed in turns, the whole dataset at a time, so that a change in the machine's speed meets all. The
weights are random.

    python tests/benchmarks/extract_rate.py [--backbone resnet50] [--samples 192] [--rounds 7] [--parts]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.packing import write_packed
from mtl_std.pictures import encode
from mtl_std.shared import Shared
from mtl_std.timm_backbone import Timm

from mtl_toolkit import (
    LiveStream,
    Loaded,
    MultiTaskModel,
    Screen,
    SequentialPlan,
    StreamLoader,
    TrainedStage,
    build_model,
    config_from,
    load_stage,
)
from mtl_toolkit.checkpoint import save_checkpoint
from mtl_toolkit.config import ExtractStage, Model
from mtl_toolkit.model import describe
from mtl_toolkit.pipeline import DataSource
from mtl_toolkit.pipeline.device import make_accelerator
from mtl_toolkit.pipeline.extract import Extracted, Extraction
from mtl_toolkit.pipeline.job import StageJob
from mtl_toolkit.pipeline.loading import loader_workers, pins_memory
from mtl_toolkit.rundir import StageDirectory

FRAMES = 100  # of a video
TASKS = {"expr": "expression", "va": "valence-arousal"}


def write_pictures(path: Path, samples: int, side: int) -> None:
    """Pack smooth random pictures with some grain, about as large as photographs of faces."""
    generator = torch.Generator().manual_seed(0)
    pictures = []
    for _ in range(samples):
        rough = torch.rand(1, 3, 16, 16, generator=generator) * 255
        smooth = torch.nn.functional.interpolate(rough, size=(side, side), mode="bicubic")
        grain = torch.randn(smooth.shape, generator=generator) * 4
        pictures += encode((smooth + grain).clamp(0, 255).to(torch.uint8), 95)
    videos = [f"video{index // FRAMES}" for index in range(samples)]
    frames = np.arange(samples) % FRAMES + 1
    columns: dict[str, list[str] | np.ndarray] = {
        "id": [f"{video}/{frame:05d}.jpg" for video, frame in zip(videos, frames, strict=True)],
        "video": videos,
        "frame": frames,
    }
    write_packed(path, pictures, labels={}, columns=columns)


def configure(folder: Path, options: argparse.Namespace) -> Loaded:
    """A configuration with one extract stage, of a network in `folder`."""
    trainer: dict[str, Any] = {"device": options.device, "precision": options.precision}
    if options.workers is not None:
        trainer["workers"] = options.workers
    return config_from(
        {
            "name": "extract-rate",
            "trainer": trainer,
            "tasks": {name: {"head": {"type": kind}} for name, kind in TASKS.items()},
            "datasets": {"pictures": {"type": "hdf5", "path": "pictures.h5"}},
            "model": {"image_size": options.size, "backbone": {"type": "timm", "name": options.backbone}},
            "stages": [
                {
                    "name": "features",
                    "kind": "extract",
                    "network": "network",
                    "datasets": ["pictures"],
                    "batch_size": options.batch_size,
                }
            ],
        },
        base=folder,
    )


def save_network(folder: Path, backbone: str, size: int) -> Model:
    """A checkpoint with random weights, as a training stage leaves it."""
    torch.manual_seed(0)
    heads = {"expr": Expression(), "va": ValenceArousal()}
    model = Model(backbone=Timm(name=backbone), architecture=Shared(), image_size=size)
    save_checkpoint(folder, build_model(model, heads), describe(model, heads))
    return model


def make_job(folder: Path, loaded: Loaded) -> StageJob:
    """The extract stage, as a run would do it."""
    trainer = loaded.config.trainer
    (stage,) = loaded.config.stages
    return StageJob(
        loaded=loaded,
        stage=stage,
        source=DataSource(loaded.config),
        directory=StageDirectory(folder / "features"),
        references={},
        accelerator=make_accelerator(trainer.device, trainer.precision),
        screen=Screen(),
        stop=lambda: 0,
    )


def load_network(folder: Path, job: StageJob) -> TrainedStage:
    """The network as the stage uses it."""
    network = load_stage(folder, job.loaded.registry).to(job.accelerator.device)
    network.model.to(memory_format=torch.channels_last)
    return network


def run_stage(extraction: Extraction) -> Iterator[None]:
    """Make the features of all samples, again and again."""
    folder, samples = extraction.path.parent, len(extraction.samples)
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        done = Extracted()
        extraction.run(done)
        assert (done.samples, done.skipped) == (samples, 0)
        yield


def run_network(extraction: Extraction, pictures: torch.Tensor) -> Iterator[None]:
    """Run trunk and heads over pictures in memory, as one would write it by hand."""
    network, trainer = extraction.network, extraction.job.loaded.config.trainer
    device = extraction.job.accelerator.device
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(trainer.precision)
    with torch.no_grad():
        ready = network.model.preprocess(pictures.to(device)).contiguous(memory_format=torch.channels_last)
    bare = MultiTaskModel(
        network.model.trunk, {task: network.model.heads[f"{task}_head"] for task in network.heads}
    ).eval()
    while True:
        with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
            for batch in ready.split(extraction.stage.batch_size):
                bare(batch)
        synchronise(device)
        yield


def run_features(extraction: Extraction, pictures: torch.Tensor) -> Iterator[None]:
    """Make the features of pictures in memory as the stage makes them."""
    while True:
        for batch in pictures.split(extraction.stage.batch_size):
            extraction._forward(batch).cpu()
        yield


def run_loader(extraction: Extraction) -> Iterator[None]:
    """Read all samples as the stage reads them."""
    job, samples = extraction.job, extraction.samples
    size = extraction.stage.batch_size
    stream = LiveStream("pictures", "", samples, lambda _: np.arange(len(samples)), size)
    while True:
        loader = StreamLoader(
            SequentialPlan(stream),
            {},
            workers=loader_workers(job),
            pin_memory=pins_memory(job),
            keep_workers=False,
        )
        assert sum(len(batch) for batch in loader.epoch(0)) == len(samples)
        loader.close()
        yield


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def time_in_turns(contenders: dict[str, Iterator[None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each block by contender."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        order = list(contenders.items())
        for name, contender in order[:: 1 if number % 2 else -1]:  # none is always first
            started = time.perf_counter()
            next(contender)
            if number:  # the first block warms up
                seconds[name].append(time.perf_counter() - started)
    return seconds


def report(seconds: dict[str, list[float]], samples: int) -> None:
    """Print rates, and the stage's share of the network's rate."""
    for name, values in seconds.items():
        median, fastest = samples / statistics.median(values), samples / min(values)
        print(f"{name:9} {median:9,.1f} pictures/s (fastest {fastest:,.1f})")
    ratios = [bare / stage for stage, bare in zip(seconds["stage"], seconds["network"], strict=True)]
    spread = f"from {min(ratios):.3f} to {max(ratios):.3f}"
    print(f"stage / network: median {statistics.median(ratios):.3f} ({spread})")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="resnet50", help="a model of timm")
    parser.add_argument("--size", type=int, default=112, help="side of what the network sees, in pixels")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=192, help="pictures a block")
    parser.add_argument("--rounds", type=int, default=7, help="blocks of each")
    parser.add_argument("--parts", action="store_true", help="time two parts of the stage too")
    parser.add_argument("--workers", type=int, help="loader processes; default: as a run chooses")
    parser.add_argument("--threads", type=int, help="CPU threads of torch; default: torch's choice")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    return parser.parse_args()


def main() -> None:
    """Time all in turns and report."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        model = save_network(folder / "network", options.backbone, options.size)
        write_pictures(folder / "pictures.h5", options.samples, model.read_size)
        job = make_job(folder, configure(folder, options))
        network = load_network(folder / "network", job)
        samples = job.source.dataset("pictures", validation=True)
        pictures = samples.read(np.arange(len(samples)))
        assert isinstance(job.stage, ExtractStage)
        extraction = Extraction(job, job.stage, network, "pictures", samples, "key")
        contenders = {"stage": run_stage(extraction), "network": run_network(extraction, pictures)}
        if options.parts:
            contenders |= {"features": run_features(extraction, pictures), "loader": run_loader(extraction)}
        report(time_in_turns(contenders, options.rounds), len(samples))


if __name__ == "__main__":
    main()
