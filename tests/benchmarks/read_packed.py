"""Pictures a second that one worker makes ready for a 112 pixel network, from a packed file and from files.

- packed: read and decode a batch from a packed file of 134 pixel pictures, crop and mirror the batch.
- same files: the same encoded pictures as files, opened one by one through PIL, converted to RGB and
  transformed one by one by torchvision (RandomCrop(112), RandomHorizontalFlip).
- original files: likewise, the pictures of 256 pixels that the packed file was made from (Resize(134) first).

Each ends in one of two ways:

- uint8: uint8 [rows, 3, 112, 112], as the loaders of this package deliver batches; PILToTensor for files.
- float32: scaled and normalised, as a network reads them: by the model's `Normalise` on the batch, and by
  ToTensor and Normalize for files, which is how torchvision's own examples do it.

All on one thread, with all files in the system's cache: what many small files cost on a disk that is not
cached comes on top. They are timed in turns, a batch each: what else the machine does meets all alike.

    python tests/benchmarks/read_packed.py [--samples 1024] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mtl_std.hdf5 import Hdf5
from mtl_std.image_csv import ImageCsv
from mtl_std.packed import open_packed
from PIL import Image
from torch import Tensor
from torchvision import transforms

from mtl_toolkit import DataFacts
from mtl_toolkit.config import Augmentation
from mtl_toolkit.data import augment
from mtl_toolkit.preprocessing import Normalise

ORIGINAL, STORED, SIZE, BATCH = 256, 134, 112, 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SOURCES = ("packed", "same files", "original files")
ENDS = {"uint8": torch.uint8, "float32": torch.float32}
Reader = Callable[[np.ndarray], Tensor]  # from sample numbers to [rows, 3, SIZE, SIZE]


def write_originals(folder: Path, samples: int) -> list[Path]:
    """Smooth random pictures with some grain, about as large as photographs of faces, as JPEG files."""
    folder.mkdir()
    random = np.random.default_rng(0)
    paths = []
    for number in range(samples):
        rough = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        pixels = np.asarray(rough.resize((ORIGINAL, ORIGINAL), Image.Resampling.BICUBIC)).astype(np.float32)
        pixels += random.normal(0, 4, pixels.shape)
        paths.append(folder / f"{number:06d}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=95)
    return paths


def pack(folder: Path, originals: list[Path]) -> Path:
    """Pack them as `mtl data pack` does."""
    table = folder / "table.csv"
    table.write_text("\n".join(["file", *map(str, originals)]))
    samples = ImageCsv(csv=table).build(DataFacts({}, STORED))
    Hdf5.write(folder / "packed.h5", samples, {}, size=STORED)
    return folder / "packed.h5"


def unpack(folder: Path, packed: Path) -> list[Path]:
    """The encoded pictures of a packed file as files."""
    folder.mkdir()
    paths = []
    with open_packed(packed) as file:
        for number, encoded in enumerate(file.pictures().read(range(len(file)))):
            paths.append(folder / f"{number:06d}.jpg")
            paths[-1].write_bytes(encoded)
    return paths


def from_packed(path: Path, end: str) -> Reader:
    """A batch at a time."""
    samples = Hdf5(path=path).build(DataFacts({}, STORED))
    options = Augmentation()
    normalise = Normalise(MEAN, STD)

    def read(indices: np.ndarray) -> Tensor:
        pictures = augment(samples.read(indices), torch.rand(len(indices), 16), options, SIZE)
        return normalise(pictures) if end == "float32" else pictures

    return read


def from_files(paths: list[Path], end: str, *, resize: bool) -> Reader:
    """A picture at a time."""
    steps: list[Any] = [transforms.Resize((STORED, STORED))] if resize else []
    steps += [transforms.RandomCrop(SIZE), transforms.RandomHorizontalFlip()]
    if end == "float32":
        steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    else:
        steps.append(transforms.PILToTensor())
    transform = transforms.Compose(steps)

    def read_one(path: Path) -> Tensor:
        with Image.open(path) as image:
            return transform(image.convert("RGB"))

    return lambda indices: torch.stack([read_one(paths[index]) for index in indices])


def time_in_turns(
    readers: dict[tuple[str, str], Reader], samples: int, rounds: int
) -> dict[tuple[str, str], list[float]]:
    """Seconds of each batch by reader; the batches of a reader are those of all others, in the same order."""
    seconds: dict[tuple[str, str], list[float]] = {title: [] for title in readers}
    random = np.random.default_rng(1)
    for number in range(rounds + 1):
        order = random.permutation(samples)
        for start in range(0, samples - BATCH + 1, BATCH):
            for (source, end), read in readers.items():
                started = time.perf_counter()
                batch = read(order[start : start + BATCH])
                seconds[source, end].append(time.perf_counter() - started)
                assert batch.shape == (BATCH, 3, SIZE, SIZE)
                assert batch.dtype == ENDS[end]
        if not number:  # the first round warms up
            seconds = {title: [] for title in readers}
    return seconds


def report(seconds: dict[tuple[str, str], list[float]]) -> None:
    """Print rates, and how many times as fast the packed file is: medians, with their quartiles."""
    for end in ENDS:
        ours = seconds["packed", end]
        for source in SOURCES:
            theirs = seconds[source, end]
            line = f"{end:8} {source:15} {BATCH / statistics.median(theirs):6,.0f} pictures/s"
            if source != "packed":
                ratios = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4)
                line += f", packed {middle:.2f} times as fast ({low:.2f} to {high:.2f})"
            print(line)


def main() -> None:
    """Time them in turns and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals = write_originals(folder / "originals", options.samples)
        packed = pack(folder, originals)
        same = unpack(folder / "same", packed)
        readers: dict[tuple[str, str], Reader] = {}
        for end in ENDS:
            readers["packed", end] = from_packed(packed, end)
            readers["same files", end] = from_files(same, end, resize=False)
            readers["original files", end] = from_files(originals, end, resize=True)
        report(time_in_turns(readers, options.samples, options.rounds))


if __name__ == "__main__":
    main()
