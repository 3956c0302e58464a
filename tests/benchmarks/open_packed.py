"""Time and memory that opening a large packed file takes, in a fresh process; on Linux.

Writes a file of frames with tiny pictures: what is measured is all but the pictures. Opening reads the
labels, the ids, and where the pictures lie; the columns that tie samples together are read when they are
asked for, as `mtl check` does, and are timed after that. Memory is what is used beyond that of the process
with its imports.

    python tests/benchmarks/open_packed.py [--samples 3000000] [--action-units] [--where] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.hdf5 import Hdf5
from mtl_std.packing import write_packed
from mtl_std.stored_labels import StoredLabels

from mtl_toolkit import DataFacts, Head

FRAMES = 5000  # of a video
COLUMNS = ("file", "group", "video", "frame")


def heads(*, action_units: bool) -> dict[str, Head]:
    """The tasks to open the file for."""
    found: dict[str, Head] = {"expr": Expression(), "va": ValenceArousal()}
    return found | ({"au": ActionUnits()} if action_units else {})


def write(path: Path, samples: int) -> None:
    """Write a file of random labels; each picture is 20 bytes."""
    random = np.random.default_rng(0)
    expression, axes, units = Expression(), ValenceArousal(), ActionUnits()

    def known(width: int) -> np.ndarray:
        return np.repeat((random.random(samples) < 0.8)[:, None], width, axis=1)

    videos = [f"{number:03d}-30-1920x1080" for number in range(-(-samples // FRAMES))]
    names = [f"{videos[index // FRAMES]}/{index % FRAMES + 1:05d}.jpg" for index in range(samples)]
    write_packed(
        path,
        (index.to_bytes(20, "little") for index in range(samples)),
        labels={
            "expression": StoredLabels(
                random.integers(0, 7, samples), known(1)[:, 0], classes=expression.classes
            ),
            "valence-arousal": StoredLabels(
                random.uniform(-1, 1, (samples, 2)).astype(np.float32),
                known(2),
                units=axes.units,
                range=axes.range,
            ),
            "action-units": StoredLabels(
                random.integers(0, 2, (samples, 12)).astype(np.float32), known(12), units=units.units
            ),
        },
        columns={
            "id": names,
            "file": [f"/data/aff-wild2/cropped_aligned/{name}" for name in names],
            "group": [f"aff-wild2: {videos[index // FRAMES]}" for index in range(samples)],
            "video": [videos[index // FRAMES] for index in range(samples)],
            "frame": np.arange(samples) % FRAMES + 1,
            "split": ["train" if index % 5 else "validation" for index in range(samples)],
        },
        whole_names=True,
    )


def memory(key: str) -> float:
    """A figure of this process in MB: VmRSS, or its peak VmHWM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(f"{key}:"))


@contextmanager
def measured(title: str) -> Iterator[None]:
    """Print how long a block takes, the most memory it uses, and what it keeps."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = memory("VmRSS"), time.perf_counter()
    yield
    seconds, peak, kept = time.perf_counter() - started, memory("VmHWM"), memory("VmRSS")
    print(f"{title:24} {seconds:5.2f} s, peak {peak - before:4.0f} MB, kept {kept - before:4.0f} MB")


def measure(path: Path, *, action_units: bool, where: bool) -> None:
    """Open the file in this process."""
    recipe = Hdf5(path=path, where={"split": "train"} if where else {})
    facts = DataFacts(heads(action_units=action_units), 112)
    with measured("open"):
        samples = recipe.build(facts)
    print(f"{len(samples):,} samples, labels of {', '.join(samples.labels())}")
    for name in COLUMNS:
        with measured(f"column {name}"):
            samples.column(name)


def main() -> None:
    """Write the file, then measure it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=3_000_000)
    parser.add_argument("--action-units", action="store_true", help="open it for a third task of 12 units")
    parser.add_argument("--where", action="store_true", help="open one split of it")
    parser.add_argument("--folder", type=Path, help="where to write it; default: a temporary folder")
    parser.add_argument("--open", type=Path, help="only measure this file, in this process")
    options = parser.parse_args()
    if options.open:
        measure(options.open, action_units=options.action_units, where=options.where)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "frames.h5"
        write(path, options.samples)
        print(f"{path.stat().st_size / 1e6:,.0f} MB in the file")
        flags = ["--action-units"] * options.action_units + ["--where"] * options.where
        subprocess.run([sys.executable, __file__, "--open", path, *flags], check=True)


if __name__ == "__main__":
    main()
