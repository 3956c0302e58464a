"""Samples that are pictures of any size: read, cut to the face and scaled one by one."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import Labels, Samples, UnreadableSampleError

from .face_cut import Faces, cut_face
from .pictures import square


class PictureSamples(Samples):
    """Pictures that are decoded when they are read, each once and in ascending order.

    A picture without a face is no error: it is passed over, as `skips` says of it from then on, whatever
    `on_error` is.

    Args:
        length: number of samples.
        size: side of the square pictures to deliver, in pixels.
        on_error: what to do about a picture that cannot be read.
        faces: where the faces are; None: the picture is the face.
        margin: round the face's box on each side, as a share of its longer side.
        faceless: the samples known to show no face: bool [samples].
    """

    def __init__(
        self,
        length: int,
        *,
        size: int,
        on_error: Literal["stop", "skip"],
        faces: Faces | None = None,
        margin: float = 0.0,
        faceless: np.ndarray | None = None,
    ) -> None:
        self.on_error = on_error
        self._length = length
        self._size = size
        self._faces = faces
        self._margin = margin
        self._faceless = np.zeros(length if faces else 0, np.bool_) if faceless is None else faceless

    def __len__(self) -> int:
        return self._length

    def labels(self) -> Mapping[str, Labels]:
        """None."""
        return {}

    @abc.abstractmethod
    def picture(self, index: int) -> Tensor:
        """Decode a picture: uint8 [3, height, width].

        Raises:
            UnreadableSampleError: if it cannot be read; the message names it.
        """

    @abc.abstractmethod
    def place(self, index: int) -> str:
        """Where a picture is, for the start of a message."""

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Read pictures: uint8 [len(indices), 3, size, size].

        Raises:
            UnreadableSampleError: if one cannot be read or shows no face; the message names it.
        """
        return self._read(indices, skip=False)[0]

    def read_or_skip(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor | None, np.ndarray]:
        """Read pictures, without those that cannot be read and may be skipped, or show no face.

        Returns:
            The pictures, None where there are none, and the places in `indices` that they are of: int64.

        Raises:
            UnreadableSampleError: if one cannot be read that may not be skipped.
        """
        pictures, kept = self._read(indices, skip=True)
        places = np.flatnonzero(kept)
        if not len(places):
            return None, places
        return (pictures if kept.all() else pictures[torch.from_numpy(kept)]), places

    def skips(self, index: int) -> bool:
        """Whether a sample that cannot be read is passed over: where that is wanted, or no face was found."""
        return self.on_error == "skip" or self._is_faceless(index)

    def _read(self, indices: Sequence[int] | np.ndarray, *, skip: bool) -> tuple[Tensor, np.ndarray]:
        """The pictures, and which of them were read: bool [len(indices)]."""
        wanted = np.asarray(indices, np.int64)
        pictures = torch.empty((len(wanted), 3, self._size, self._size), dtype=torch.uint8)
        kept = np.ones(len(wanted), np.bool_)
        for place in np.argsort(wanted, kind="stable").tolist():
            index = int(wanted[place])
            try:
                pictures[place].copy_(square(self._face(index), self._size))
            except UnreadableSampleError:
                if not (skip and self.skips(index)):
                    raise
                kept[place] = False
        return pictures, kept

    def _face(self, index: int) -> Tensor:
        if self._is_faceless(index):
            raise self._no_face(index)
        picture = self.picture(index)
        if self._faces is None:
            return picture
        box = self._faces.box(picture, index)
        if box is None:
            self._faceless[index] = True
            raise self._no_face(index)
        try:
            return cut_face(picture, box, self._margin)
        except ValueError as error:
            raise UnreadableSampleError(f"{self.place(index)}: {error}") from None

    def _no_face(self, index: int) -> UnreadableSampleError:
        return UnreadableSampleError(f"{self.place(index)}: no face was found")

    def _is_faceless(self, index: int) -> bool:
        return bool(len(self._faceless)) and bool(self._faceless[index])
