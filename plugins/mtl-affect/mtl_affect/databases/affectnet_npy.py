"""AffectNet's release with a folder for each split: a cut picture and four small files per face."""

from __future__ import annotations

import functools
import io
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mtl_std.cells import ProblemList
from mtl_std.picture_files import as_bytes

from mtl_toolkit import DataError

from .affectnet_labels import NO_CORNERS, Annotations, check, corners_of
from .reading import source_of

CHUNK = 256  # pictures whose files a thread reads at a time
READERS = 16  # threads; most of their time goes into waiting for a disk or a network
KINDS = ("exp", "val", "aro")


def read_folder(folder: Path, with_landmarks: bool) -> tuple[Annotations, dict[str, int]]:
    """Read `annotations/<id>_exp.npy` and its like for every `images/<id>.jpg`, in the order of the ids.

    What lacks its picture or a file is left out, and counted.

    Raises:
        DataError: if a folder is missing, nothing is whole, or a file is not in the format.
    """
    pictures = _stems(folder / "images", ".jpg")
    kinds = (*KINDS, "lnd") if with_landmarks else KINDS
    annotated = [_stems(folder / "annotations", f"_{kind}.npy") for kind in kinds]
    complete = frozenset.intersection(*annotated)
    counts = {
        "pictures without all their annotations": len(pictures - complete),
        "annotations without a picture": len(frozenset.union(*annotated) - pictures),
    }
    ids = sorted(pictures & complete, key=lambda text: (len(text), text))
    if not ids:
        raise DataError(
            f"{folder}: none of {len(pictures)} pictures has its annotations ({', '.join(kinds)})"
        )
    problems = ProblemList(source_of(folder))
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    read = functools.partial(_read_chunk, folder / "annotations", with_landmarks)
    with ThreadPoolExecutor(READERS) as pool:
        parts = [
            _from_texts(chunk, *found, problems)
            for chunk, found in zip(chunks, pool.map(read, chunks), strict=True)
        ]
    problems.check()
    return Annotations.joined(parts), counts


def _stems(folder: Path, ending: str) -> frozenset[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - pathlib would make an object of every name
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None
    return frozenset(
        name.removesuffix(ending) for name in names if name.endswith(ending) and not name.startswith(".")
    )


def _read_chunk(
    folder: Path, with_landmarks: bool, ids: Sequence[str]
) -> tuple[dict[str, list[str]], np.ndarray]:
    """The labels of some pictures as text, by kind, and their landmarks' corners."""
    texts = {kind: [read_label(f"{folder}/{name}_{kind}.npy") for name in ids] for kind in KINDS}
    corners = [_read_corners(f"{folder}/{name}_lnd.npy") if with_landmarks else NO_CORNERS for name in ids]
    return texts, np.array(corners).reshape(-1, 2, 2)


def _from_texts(
    ids: Sequence[str], texts: Mapping[str, list[str]], corners: np.ndarray, problems: ProblemList
) -> Annotations:
    labels = {}
    for kind, found in texts.items():
        labels[kind], wrong, rule = check(found, kind == "exp")
        for place in wrong:
            problems.add(
                f"annotations/{ids[place]}_{kind}.npy: {rule} (got {found[place] or 'an empty text'})"
            )
    return Annotations(
        files=as_bytes([f"{name}.jpg" for name in ids]),
        expression=labels["exp"].astype(np.int64),
        affect=np.stack([labels["val"], labels["aro"]], axis=1),
        boxes=np.full((len(ids), 4), np.nan),
        corners=corners,
    )


def read_label(path: str) -> str:
    """The one value of a file, stored as text or as a number, or what the file holds instead."""
    data = _bytes(path)
    try:
        dtype, shape, start = _layout(data[: 10 + int.from_bytes(data[8:10], "little")])
        if math.prod(shape) != 1:
            return f"an array of shape {shape}"
        value = np.frombuffer(data, dtype, 1, start)[0]
    except ValueError as error:
        return f"no npy file that can be used: {error}"
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@functools.lru_cache(maxsize=256)
def _layout(header: bytes) -> tuple[np.dtype, tuple[int, ...], int]:
    """Type, shape and start of the values; few headers differ, and parsing one takes longer than reading."""
    file = io.BytesIO(header)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("must be of npy version 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("must not hold Python objects")
    return dtype, shape, file.tell()


def _read_corners(path: str) -> tuple[float, ...]:
    try:
        found = np.load(io.BytesIO(_bytes(path)), allow_pickle=False).astype(np.float64)
    except (ValueError, EOFError):
        return NO_CORNERS
    return corners_of(found.ravel().tolist())


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - there are a million of them
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
