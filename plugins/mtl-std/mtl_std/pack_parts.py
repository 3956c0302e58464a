"""Encoded pictures on their way into a packed file: parts in a folder, each whole or not there.

A part holds the pictures of some consecutive samples, one after another, and then a record for each sample:
the length of its picture, -1 for one that was left out, and the picture's CRC-32.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from mtl_toolkit import DataError, RunError, Samples, replacing_file

from .packing import SIZES
from .pictures import encode

PART = 2048  # samples in a part: seconds of work
READ = 64  # pictures held decoded at a time
LEFT_OUT = -1
PLAN = "plan.json"


@attrs.frozen
class Parts:
    """The parts of a packed file that is being made.

    Attributes:
        folder: where they are.
        samples: how many there are in all.
        size: side of the pictures, in pixels.
        quality: of JPEG.
        part: samples in a part.
    """

    folder: Path
    samples: int
    size: int
    quality: int
    part: int = PART

    def __len__(self) -> int:
        return len(range(0, self.samples, self.part))

    def prepare(self, plan: Mapping[str, Any]) -> None:
        """Keep the parts that were made by an equal plan, and no others.

        Raises:
            RunError: if the folder cannot be written.
        """
        if _read_plan(self.folder / PLAN) != json.loads(json.dumps(plan)):
            self.remove()
            with replacing_file(self.folder / PLAN) as unfinished:
                unfinished.write_text(json.dumps(plan), encoding="utf-8")

    def unfinished(self) -> list[int]:
        """The numbers of the parts that are still to be made."""
        there = {path.name for path in self.folder.iterdir()}
        return [number for number in range(len(self)) if self._path(number).name not in there]

    def indices(self, number: int) -> np.ndarray:
        """The samples of a part: int64."""
        return np.arange(number * self.part, min((number + 1) * self.part, self.samples))

    def make(self, number: int, samples: Samples) -> None:
        """Read and encode the samples of a part.

        Raises:
            UnreadableSampleError: if one cannot be read and may not be skipped; the message names it.
            DataError: if the samples are no pictures of the right size.
            RunError: if the part cannot be written.
        """
        indices = self.indices(number)
        sizes = np.zeros(len(indices), SIZES)
        sizes["length"] = LEFT_OUT
        with replacing_file(self._path(number)) as unfinished, unfinished.open("wb") as file:
            for start in range(0, len(indices), READ):
                kept, pictures = self._encoded(samples, indices[start : start + READ])
                for place, picture in zip(kept, pictures, strict=True):
                    file.write(picture)
                    sizes[start + place] = len(picture), zlib.crc32(picture)
            file.write(sizes.tobytes())

    def sizes(self) -> np.ndarray:
        """The records of all samples: `length` and `crc32` [samples].

        Raises:
            RunError: if a part is not as it was written.
        """
        return np.concatenate([np.zeros(0, SIZES), *map(self._sizes, range(len(self)))])

    def pictures(self) -> Iterator[bytes]:
        """All pictures, in order.

        Raises:
            RunError: if one is not as it was written.
        """
        for number in range(len(self)):
            with self._path(number).open("rb") as file:
                for length, crc32 in self._sizes(number).tolist():
                    if length == LEFT_OUT:
                        continue
                    picture = file.read(length)
                    if zlib.crc32(picture) != crc32:
                        raise self._damaged(number)
                    yield picture

    def remove(self) -> None:
        """Remove the folder, if it is there.

        Raises:
            RunError: if it cannot be removed; a part that stays could be taken for one of another plan.
        """
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be removed: {error.strerror}") from error

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.part"

    def _sizes(self, number: int) -> np.ndarray:
        records = len(self.indices(number)) * SIZES.itemsize
        with self._path(number).open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - records, 0))
            content = file.read()
        sizes = np.frombuffer(content, SIZES, len(content) // SIZES.itemsize)
        if len(content) != records or sizes["length"].clip(min=0).sum() + records != end:
            raise self._damaged(number)
        return sizes

    def _damaged(self, number: int) -> RunError:
        return RunError(f"{self._path(number)}: is damaged; remove it and run again")

    def _encoded(self, samples: Samples, indices: np.ndarray) -> tuple[np.ndarray, list[bytes]]:
        """The places of the samples that can be read, and their pictures."""
        pictures, kept = samples.read_or_skip(indices)
        if pictures is None:
            return kept, []
        if pictures.dtype != torch.uint8 or pictures.shape[1:] != (3, self.size, self.size):
            raise DataError(
                f"samples must be pictures, uint8 of shape {(3, self.size, self.size)} "
                f"(got {str(pictures.dtype).removeprefix('torch.')} {tuple(pictures.shape[1:])})"
            )
        return kept, encode(pictures, self.quality)


def _read_plan(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
