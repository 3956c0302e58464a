"""Which frames a video file holds, found without decoding any."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import attrs
import numpy as np

from mtl_toolkit import ConfigError, UnreadableSampleError

OLDEST = 17  # of PyAV's versions: the first that tells how many frames an MP4 file should hold


@attrs.frozen(eq=False)
class FrameIndex:
    """The frames of a video file, in the order in which they are shown; numbers are from 1.

    Attributes:
        held: how many frames the file holds.
        announced: how many it says it holds: more than `held`, if it was cut short.
        times: when each is shown, in the stream's time base, ascending: int64 [held]; None where the file
            does not say, so that frames can only be counted.
        keys: numbers of the keyframes, ascending: int64 [keyframes].
        seeks: the time by which each keyframe is found: int64 [keyframes].
        sizes: of each keyframe as it is stored, in bytes: int64 [keyframes].
    """

    held: int
    announced: int
    times: np.ndarray | None
    keys: np.ndarray
    seeks: np.ndarray
    sizes: np.ndarray

    def last_key(self, number: int) -> int:
        """Which keyframe is the last up to a frame; -1 if none is known."""
        return int(np.searchsorted(self.keys, number, side="right")) - 1

    def number(self, time: int | None) -> int | None:
        """The number of the frame that is shown at a time, None where there is none."""
        if time is None or self.times is None:
            return None
        place = int(np.searchsorted(self.times, time))
        return place + 1 if place < self.held and self.times[place] == time else None


def load_av() -> Any:
    """PyAV, which reads videos.

    Raises:
        ConfigError: if it is not installed, or too old.
    """
    try:
        import av
    except ImportError:
        raise ConfigError("dataset 'video-files' needs PyAV: pip install 'av>=17'") from None
    if int(av.__version__.partition(".")[0]) < OLDEST:
        raise ConfigError(
            f"dataset 'video-files' needs PyAV {OLDEST} or newer (got {av.__version__}): pip install 'av>=17'"
        )
    return av


def open_video(path: str) -> tuple[Any, Any]:
    """Open a video file: PyAV's container and video stream.

    Raises:
        UnreadableSampleError: if it is no video, or a damaged one; the message names it and says why.
        ConfigError: if PyAV is not installed.
    """
    av = load_av()
    try:
        container = av.open(path)
    except av.FFmpegError as error:
        raise UnreadableSampleError(f"{path}: cannot be opened as a video ({error.strerror})") from None
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        reason = "there is no video in it" if stream is None else "its codec is unknown"
        container.close()
        raise UnreadableSampleError(f"{path}: cannot be opened as a video ({reason})")
    return container, stream


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream, then None; a file that cannot be read further ends there."""
    with suppress(load_av().FFmpegError):
        # PyAV's own sign of the end is a packet without anything in it.
        yield from (packet for packet in container.demux(stream) if packet.size or packet.dts is not None)
    yield None


def read_index(path: str) -> FrameIndex:
    """Read a file's packets, which takes the time of reading the file, and 8 bytes a frame.

    The number of frames that a file announces is not enough: many formats do not say, and some count frames
    that are never shown. But it tells that a file was cut short.

    Raises:
        UnreadableSampleError: as `open_video`.
    """
    container, stream = open_video(path)
    with closing(container):
        times, keys, seeks, sizes = array("q"), array("q"), array("q"), array("q")
        timed, seen, held, last = True, 0, 0, -1
        entries = len(stream.index_entries)
        by_shown = not _names(container).isdisjoint(("mp4", "matroska"))  # others search by time of decoding
        for packet in packets(container, stream):
            if packet is None:
                break
            seen += 1
            last = last if packet.dts is None else packet.dts
            if not _is_shown(packet, stream):
                continue
            held += 1
            timed &= packet.pts is not None
            if timed:
                times.append(packet.pts)
            if timed and packet.is_keyframe:
                keys.append(held - 1)
                seeks.append(packet.pts if packet.dts is None or by_shown else packet.dts)
                sizes.append(packet.size)
        announced = held + max(0, _lacking(container, stream, entries=entries, seen=seen, last=last))
        shown = np.array(times, np.int64)
        if not timed or not _are_plausible(shown, container, stream):
            none = np.zeros(0, np.int64)
            return FrameIndex(held, announced, None, none, none, none)
    order = np.argsort(shown, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(held)
    numbers, found, stored = (np.array(values, np.int64) for values in (keys, seeks, sizes))
    numbers = rank[numbers] + 1
    ascending = np.argsort(numbers, kind="stable")
    return FrameIndex(held, announced, shown[order], numbers[ascending], found[ascending], stored[ascending])


def _names(container: Any) -> set[str]:
    """What FFmpeg calls the file's format."""
    return set(container.format.name.split(","))


def _lacking(container: Any, stream: Any, *, entries: int, seen: int, last: int) -> int:
    """How many frames the header speaks of beyond those that were found.

    Args:
        container: the file.
        stream: its video.
        entries: of the stream's index, when the file was opened.
        seen: packets found.
        last: when the last is decoded, in the stream's time base.
    """
    if "mp4" in _names(container):
        return entries - seen  # `stream.frames` counts those too that an edit list leaves out
    # In AVI, time counts frames, and there may be times without one: the frame before is repeated.
    return int(stream.frames) - (last + 1) if "avi" in _names(container) else 0


def _is_shown(packet: Any, stream: Any) -> bool:
    """Whether a packet becomes a frame that is shown."""
    if not packet.size or packet.is_discard:  # a repeated frame; what an edit list leaves out
        return False
    # VP8 puts frames that only others refer to into packets of their own: RFC 6386, 9.1, show_frame.
    return stream.codec_context.name not in ("vp8", "libvpx") or bool(bytes(packet)[0] & 0x10)


def _are_plausible(times: np.ndarray, container: Any, stream: Any) -> bool:
    """Whether times that all packets have tell the frames apart and their order."""
    # AVI has no such times. Where frames are not stored in the order in which they are shown, FFmpeg's guess
    # may be the order in which they are stored.
    guessed = "avi" in _names(container) and stream.codec_context.has_b_frames
    ascending = bool((np.diff(times) > 0).all())
    return len(np.unique(times)) == len(times) and not (guessed and ascending)
