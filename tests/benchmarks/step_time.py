"""Step time of the trainer against a hand-written loop of the same network, side by side.

Both train ResNet-18 (timm, from scratch) on 64x64 pictures held in memory, 64 rows labelled with a class and
32 with valence-arousal, with the same augmentation, optimizer, precision and memory format. The two are timed
in turns, a block of steps each, so that a change in the machine's speed meets both.

    python tests/benchmarks/step_time.py [--precision bf16] [--steps 3] [--rounds 41]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import numpy as np
import timm
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.balancers import Sum
from mtl_std.shared import SharedTrunk
from torch import nn

from mtl_toolkit import (
    LiveStream,
    MultiTaskModel,
    Objective,
    StreamLoader,
    StreamTask,
    TensorSamples,
    Trainer,
    TrainPlan,
)
from mtl_toolkit.config import Augmentation
from mtl_toolkit.data import augment
from mtl_toolkit.preprocessing import Normalise

ROWS = {"expr": 64, "va": 32}
STORED, SIZE = 77, 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Data = dict[str, tuple[torch.Tensor, torch.Tensor]]  # pictures and labels by task


def make_data(samples: int) -> Data:
    """Random pictures with random labels, by task."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (samples, 3, STORED, STORED), dtype=torch.uint8, generator=generator)
    classes = torch.randint(0, 7, (samples,), generator=generator)
    values = torch.rand(samples, 2, generator=generator) * 2 - 1
    return {"expr": (pictures, classes), "va": (pictures, values)}


def ours(data: Data, device: torch.device, precision: str, steps: int) -> Iterator[float]:
    """Yield the seconds of a block of `steps` steps of the trainer, again and again."""
    heads = {"expr": Expression(), "va": ValenceArousal()}
    torch.manual_seed(0)
    backbone = timm.create_model("resnet18", num_classes=0)
    modules = {task: head.build(backbone.num_features) for task, head in heads.items()}
    model = MultiTaskModel(SharedTrunk(backbone, list(heads)), modules, Normalise(MEAN, STD))
    model.to(device, memory_format=torch.channels_last)
    streams = [
        LiveStream(
            task, task, TensorSamples(pictures, {task: labels}), lambda g: g.permutation(2000), ROWS[task]
        )
        for task, (pictures, labels) in data.items()
    ]
    accelerator = Accelerator(
        cpu=device.type == "cpu", mixed_precision={"fp32": "no"}.get(precision, precision)
    )
    options = Augmentation()

    def prepare(batch):
        inputs = augment(batch.inputs, batch.noise, options, SIZE)
        return inputs.contiguous(memory_format=torch.channels_last)

    trainer = Trainer(
        model=model,
        objective=Objective(heads, [StreamTask(task, task) for task in data]).to(device),
        balancer=Sum().build(list(heads)),
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3),
        loader=StreamLoader(
            TrainPlan(streams, seed=0, length=steps), heads, pin_memory=device.type == "cuda"
        ),
        epochs=10**9,
        prepare=prepare,
        accelerator=accelerator,
    )
    while True:
        started = time.perf_counter()
        trainer._train_epoch()
        trainer.progress.next_epoch()
        synchronise(device)
        yield time.perf_counter() - started


def by_hand(data: Data, device: torch.device, precision: str, steps: int) -> Iterator[float]:
    """The same as one would write it for this very job."""
    torch.manual_seed(0)
    backbone = timm.create_model("resnet18", num_classes=0).to(device, memory_format=torch.channels_last)

    def head(outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.BatchNorm1d(512),
            nn.Linear(512, 128),
            nn.ReLU(),
            nn.BatchNorm1d(128),
            nn.Dropout(0.5),
            nn.Linear(128, outputs),
        ).to(device)

    expr_head, va_head = head(7), head(40)
    parameters = [p for module in (backbone, expr_head, va_head) for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    mean = torch.tensor(MEAN, device=device).view(-1, 1, 1)
    std = torch.tensor(STD, device=device).view(-1, 1, 1)
    edges = torch.as_tensor(np.linspace(-1, 1, 21), device=device)
    centres = torch.linspace(-1, 1, 20, device=device)
    generator = torch.Generator().manual_seed(1)
    rows = sum(ROWS.values())
    grid = torch.arange(SIZE, device=device)

    def crop(pictures: torch.Tensor) -> torch.Tensor:
        top, left = (torch.randint(0, STORED - SIZE + 1, (2, rows, 1), generator=generator)).to(device)
        flip = (torch.rand(rows, 1, generator=generator) < 0.5).to(device)
        y, x = top + grid, left + torch.where(flip, SIZE - 1 - grid, grid)
        places = (y[:, :, None] * STORED + x[:, None, :]).reshape(rows, 1, -1).expand(-1, 3, -1)
        return pictures.flatten(2).gather(2, places).view(rows, 3, SIZE, SIZE)

    def ccc_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        covariance = ((x - x.mean(0)) * (y - y.mean(0))).sum(0) / (len(x) - 1)
        spread = x.var(0) + y.var(0) + (x.mean(0) - y.mean(0)) ** 2
        return (1 - 2 * covariance / spread).sum()

    for module in (backbone, expr_head, va_head):
        module.train()
    while True:
        started = time.perf_counter()
        for _ in range(steps):
            index = {
                task: torch.randint(0, 2000, (count,), generator=generator) for task, count in ROWS.items()
            }
            pictures = torch.cat([data[task][0][index[task]] for task in ROWS]).to(device)
            classes = data["expr"][1][index["expr"]].to(device)
            values = data["va"][1][index["va"]].to(device)
            inputs = crop(pictures).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                features = backbone((inputs.float() / 255 - mean) / std)
                logits = expr_head(features[: ROWS["expr"]])
                bins = va_head(features[ROWS["expr"] :])
            bins = bins.float().view(-1, 2, 20)
            target = (torch.bucketize(values.double(), edges, right=True) - 1).clamp(0, 19)
            loss = F.cross_entropy(logits.float(), classes)
            loss = loss + 2 * F.cross_entropy(bins.transpose(1, 2), target)
            loss = loss + ccc_loss((bins.softmax(-1) * centres).sum(-1), values)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        synchronise(device)
        yield time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Time both in turns and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--steps", type=int, default=3, help="steps a block")
    parser.add_argument("--rounds", type=int, default=41, help="blocks of each")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    data = make_data(2000)
    contenders = {
        name: make(data, device, arguments.precision, arguments.steps)
        for name, make in (("trainer", ours), ("by hand", by_hand))
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(arguments.rounds + 1):
        order = list(contenders.items())
        for name, contender in order[:: 1 if round_number % 2 else -1]:  # neither is always first
            taken = next(contender)
            if round_number:  # the first block warms up
                seconds[name].append(taken / arguments.steps)
    for name, values in seconds.items():
        print(f"{name}: {1000 * statistics.median(values):.1f} ms a step (fastest {1000 * min(values):.1f})")
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    spread = f"from {min(ratios):.3f} to {max(ratios):.3f}"
    print(f"trainer / by hand: median {statistics.median(ratios):.3f} ({spread})")


if __name__ == "__main__":
    main()
