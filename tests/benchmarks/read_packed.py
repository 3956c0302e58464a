"""Pictures a second that one worker makes ready for a 112 pixel network, from a packed file and from files.

- packed: read and decode a batch from a packed file of 134 pixel pictures, crop and mirror the batch.
- same files: the same encoded pictures as files, opened one by one through PIL and transformed one by one
  (resize to 134, random crop to 112, random mirror, to a tensor).
- original files: likewise, the pictures that the packed file was made from, 256 pixels.

All end in float32 [rows, 3, 112, 112] on one thread, with all files in the system's cache: what many small
files cost on a disk that is not cached comes on top. They are timed in turns, a block of batches each.

    python tests/benchmarks/read_packed.py [--samples 2048] [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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

ORIGINAL, STORED, SIZE, BATCH = 256, 134, 112, 64
Reader = Callable[[np.ndarray], Tensor]  # from sample numbers to float32 [rows, 3, SIZE, SIZE]


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


def from_packed(path: Path) -> Reader:
    """A batch at a time."""
    samples = Hdf5(path=path).build(DataFacts({}, STORED))
    options = Augmentation()

    def read(indices: np.ndarray) -> Tensor:
        pictures = augment(samples.read(indices), torch.rand(len(indices), 16), options, SIZE)
        return pictures.float() / 255

    return read


def from_files(paths: list[Path]) -> Reader:
    """A picture at a time."""
    transform = transforms.Compose(
        [
            transforms.Resize((STORED, STORED)),
            transforms.RandomCrop(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )

    def read_one(path: Path) -> Tensor:
        with Image.open(path) as image:
            return transform(image.convert("RGB"))

    return lambda indices: torch.stack([read_one(paths[index]) for index in indices])


def block(read: Reader, order: np.ndarray) -> float:
    """Pictures a second over some batches."""
    started = time.perf_counter()
    for start in range(0, len(order), BATCH):
        assert read(order[start : start + BATCH]).shape[1:] == (3, SIZE, SIZE)
    return len(order) / (time.perf_counter() - started)


def main() -> None:
    """Time them in turns; print medians, and the ratios to the first."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals = write_originals(folder / "originals", options.samples)
        packed = pack(folder, originals)
        readers = {
            "packed": from_packed(packed),
            "same files": from_files(unpack(folder / "same", packed)),
            "original files": from_files(originals),
        }
        rates: dict[str, list[float]] = {title: [] for title in readers}
        random = np.random.default_rng(1)
        for number in range(options.rounds + 1):
            order = random.permutation(options.samples)
            for title, read in readers.items():
                rate = block(read, order)
                if number:  # the first round warms up
                    rates[title].append(rate)
    first = rates.pop("packed")
    print(f"packed          {statistics.median(first):6,.0f} pictures/s")
    for title, values in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(first, values, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"{title:15} {statistics.median(values):6,.0f} pictures/s, "
            f"packed {statistics.median(ratios):.2f} times as fast ({spread})"
        )


if __name__ == "__main__":
    main()
