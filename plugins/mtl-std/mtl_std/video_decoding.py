"""Decoding a video file frame by frame, forwards as a stream and backwards by seeking."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from .video_index import FrameIndex, load_av, open_video, packets

NEAR = 32  # frames that are decoded on to sooner than the file is searched for a keyframe


class OpenVideo:
    """A video file, open for decoding; it holds one frame, beside those that the decoder needs.

    A frame that the decoder does not give out is looked for again: from the start of the file, then from
    the start with care. After that it is lost, as is one that the decoder marks as damaged though it has
    seen all before it. What is lost is not looked for again.

    Args:
        path: the file.
        index: its frames.
        lost: by frame, whether it is known to be lost: bool [announced]; written to.
        threads: how many threads decode.

    Raises:
        UnreadableSampleError: if it can no longer be opened.
    """

    def __init__(self, path: str, index: FrameIndex, lost: np.ndarray, threads: int) -> None:
        self.process = os.getpid()
        self._path = path
        self._index = index
        self._lost = lost
        self._threads = threads
        self._container: Any = None
        self._stream: Any = None
        self._frames: Iterator[tuple[int, Any]] = iter(())
        self._picture: Any = None
        self._number = 0
        self._start(careful=False)

    def frame(self, number: int) -> np.ndarray | None:
        """The frame of a number from 1, upright: uint8 RGB [height, width, 3]; None if it is lost.

        Raises:
            UnreadableSampleError: if the file can no longer be opened.
        """
        if self._lost[number - 1]:
            return None
        place = self._index.last_key(number)
        if number < self._number or (place > 0 and self._index.keys[place] > self._number + NEAR):
            self._seek(place)
        while not self._advance(number):
            if self._lost[number - 1]:
                return None
            self._start(careful=self._careful or self._from_start)
        return to_rgb(self._picture)

    def close(self) -> None:
        """Close the file."""
        if self._container is None:
            return
        if self.process == os.getpid():
            self._container.close()
        else:
            # The decoder's threads are not in this forked process; to free it would wait for them for ever.
            held = (self._container, self._stream, self._frames, self._picture)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
        self._container = self._stream = self._picture = None
        self._frames = iter(())

    def __del__(self) -> None:
        self.close()

    def _start(self, *, careful: bool) -> None:
        """Open the file anew.

        With frames decoded side by side, those round a damaged one may be dropped; with care they are not.
        """
        self.close()
        self._container, self._stream = open_video(self._path)
        self._careful = careful
        self._stream.thread_type = "SLICE" if careful else "AUTO"
        self._stream.codec_context.thread_count = self._threads
        self._set_off(from_start=True)

    def _seek(self, place: int) -> None:
        """Go to a keyframe; to the start of the file for the first."""
        if place > 0:
            with suppress(load_av().FFmpegError):
                self._container.seek(int(self._index.seeks[place]), stream=self._stream)
                self._set_off(from_start=False)
                return
        self._start(careful=self._careful)

    def _set_off(self, *, from_start: bool) -> None:
        self._from_start = from_start
        self._number = 0
        self._picture = None
        self._frames = self._decode(from_start)

    def _advance(self, number: int) -> bool:
        """Decode on until a frame of this number or a later one; whether it is this one, undamaged."""
        while self._number < number:
            before = self._number
            self._number, self._picture = next(self._frames, (self._index.announced + 1, None))
            if self._from_start and self._careful:
                self._lost[before : self._number - 1] = True
            if self._from_start and self._picture is None:
                self._lost[self._number - 1 : self._number] = True
        return self._number == number and self._picture is not None

    def _decode(self, from_start: bool) -> Iterator[tuple[int, Any]]:
        """Yield frames with ascending numbers, None in place of a damaged one."""
        last = counted = 0
        ready = from_start
        for packet in packets(self._container, self._stream):
            if not ready:
                # A seek may end between keyframes, where a decoder would make frames up.
                if packet is None or not packet.is_keyframe:
                    continue
                if not self._is_known(packet):
                    return
                ready = True
            for frame in self._frames_of(packet):
                counted += 1
                number = counted if self._index.times is None else self._index.number(frame and frame.pts)
                if frame is not None and number is not None and last < number <= self._index.announced:
                    last = number
                    yield number, None if frame.is_corrupt else frame

    def _is_known(self, packet: Any) -> bool:
        """Whether the first keyframe after a seek is one that was found when the file was read in order.

        Some formats give wrong times after a seek: in MPEG program streams it ends amid a frame.
        """
        number = self._index.number(packet.pts)
        if number is None:
            return False
        place = self._index.last_key(number)
        return bool(self._index.keys[place] == number and self._index.sizes[place] == packet.size)

    def _frames_of(self, packet: Any) -> list[Any]:
        """The frames that come out after a packet, or at the end; None in place of one that does not."""
        if packet is not None and not packet.size:
            return []  # it repeats a frame; to the decoder it would mean the end
        try:
            frames: list[Any] = self._stream.codec_context.decode(packet)
        except load_av().FFmpegError:
            return [None] if packet is not None else []
        return frames


def to_rgb(frame: Any) -> np.ndarray:
    """A decoded frame as it is to be shown: uint8 RGB [height, width, 3]."""
    # Threads, which the conversion would start anew for every frame, take longer than it does.
    pixels: np.ndarray = frame.to_ndarray(format="rgb24", threads=1)
    turns = round(frame.rotation / 90) % 4  # counter-clockwise; how the camera was held
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
