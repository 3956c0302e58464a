"""The videos dataset: which frames come, in which order, and what becomes of those that cannot be decoded."""

from __future__ import annotations

import pickle
import struct
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from mtl_std import video_decoding
from mtl_std.pictures import square
from mtl_std.video_decoding import OpenVideo
from mtl_std.video_index import read_index
from mtl_std.videos import Videos, VideoSamples, video_names

from mtl_toolkit import (
    ConfigError,
    DataError,
    DataFacts,
    Detector,
    LiveStream,
    SequentialPlan,
    StreamLoader,
    UnreadableSampleError,
)
from mtl_toolkit.testing import check_dataset

av: Any = pytest.importorskip("av")

FRAMES = 60
SIZE = (64, 48)  # width, height
KINDS = {  # how a file is written: its codec, the frames between two keyframes that refer to later ones
    "a.mp4": ("libx264", 3),
    "a.mkv": ("libx264", 3),
    "a.ts": ("libx264", 3),
    "a.mpg": ("mpeg2video", 2),
    "a.wmv": ("wmv2", 0),
    "mpeg4.avi": ("mpeg4", 2),
    "h264.avi": ("libx264", 3),  # of these frames the file does not say when they are shown
    "mjpeg.avi": ("mjpeg", 0),
    "a.webm": ("libvpx-vp9", 0),
}
FAST = {"libx264": {"preset": "veryfast"}, "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}}


def pixels(number: int) -> np.ndarray:
    """A picture that differs from frame to frame: moving bars and noise."""
    width, height = SIZE
    picture = np.random.default_rng(number).integers(0, 60, (height, width, 3), dtype=np.uint8)
    picture[:, number * 3 % width :, 0] += 150
    picture[number * 2 % height, :, 1] = 255
    return picture


def write_video(
    path: Path,
    codec: str = "libx264",
    later: int = 3,
    *,
    frames: int = FRAMES,
    options: dict[str, str] | None = None,
    brightness: Callable[[int], int] | None = None,
) -> Path:
    """Write a video; `brightness`, if given, is the grey level of each frame from 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as file:
        stream = file.add_stream(codec, rate=25, options=FAST.get(codec, {}))
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 12, later
        for number in range(frames):
            picture = pixels(number)
            if brightness is not None:
                picture[:] = brightness(number + 1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def rewrite(
    path: Path, source: Path, change: Callable[[int, bytearray], None], time: Callable[[int], int] = int
) -> Path:
    """Copy a video with its packets and their times changed."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        target = new.add_stream_from_template(stream)
        for place, packet in enumerate(old.demux(stream)):
            if packet.dts is None:
                continue
            data = bytearray(bytes(packet))
            change(place, data)
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts = time(packet.pts), time(packet.dts)
            copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, target
            new.mux(copy)
    return path


def all_frames(path: Path, size: int) -> torch.Tensor:
    """Everything decoded at once, in the order in which it comes: the reference."""
    with av.open(str(path)) as file:
        pictures = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
    return torch.stack([square(picture.permute(2, 0, 1), size) for picture in pictures])


def build(*files: Path, size: int = 16, **fields: Any) -> VideoSamples:
    return Videos(files=files, **fields).build(DataFacts({}, size))


def in_chunks(samples: VideoSamples, chunk: int) -> torch.Tensor:
    places = np.arange(len(samples))
    return torch.cat([samples.read(places[start : start + chunk]) for start in range(0, len(places), chunk)])


def readable(samples: VideoSamples, chunk: int = 7) -> dict[int, torch.Tensor]:
    """The frames that can be read, by number, of one video."""
    found = {}
    for start in range(0, len(samples), chunk):
        wanted = np.arange(start, min(start + chunk, len(samples)))
        pictures, kept = samples.read_or_skip(wanted)
        if pictures is not None:
            found.update(zip((wanted[kept] + 1).tolist(), pictures, strict=True))
    return found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often files were opened for decoding, and how often they were searched."""
    counts = {"_start": 0, "_seek": 0}

    def counted(name: str) -> None:
        method = getattr(OpenVideo, name)

        def call(self: OpenVideo, *arguments: Any, **named: Any) -> None:
            counts[name] += 1
            method(self, *arguments, **named)

        monkeypatch.setattr(OpenVideo, name, call)

    for name in counts:
        counted(name)
    return counts


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with frames that refer to later ones."""
    return write_video(tmp_path_factory.mktemp("videos") / "clip.mp4")


@pytest.fixture(scope="module")
def reference(video: Path) -> torch.Tensor:
    return all_frames(video, 16)


# Which frames come


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_comes_once_and_in_order(name: str, tmp_path: Path, opened: dict[str, int]) -> None:
    """Exactly as when everything is decoded at once, however many are read at a time, in any format."""
    codec, later = KINDS[name]
    path = write_video(tmp_path / name, codec, later)
    expected = all_frames(path, 16)
    assert len(expected) == FRAMES
    assert len(torch.unique(expected.flatten(1), dim=0)) == FRAMES
    for chunk in (1, 7, 64):
        samples = build(path)
        assert len(samples) == FRAMES
        assert torch.equal(in_chunks(samples, chunk), expected)
    assert opened == {"_start": 3, "_seek": 0}


@pytest.mark.parametrize("name", KINDS)
def test_frames_may_be_read_in_any_order(name: str, tmp_path: Path) -> None:
    """Backwards, at random, the same frame again and twice at once: by seeking, with equal pixels."""
    codec, later = KINDS[name]
    path = write_video(tmp_path / name, codec, later)
    expected = all_frames(path, 16)
    samples = build(path)
    for index in (59, 58, 30, 30, 24, 12, 11, 0, 47, 3):
        assert torch.equal(samples.read([index])[0], expected[index])
    wanted = np.random.default_rng(0).integers(0, FRAMES, 40)
    assert torch.equal(samples.read(wanted), expected[wanted])


def test_a_far_frame_is_found_by_its_keyframe(video: Path, reference: torch.Tensor, opened: Any) -> None:
    """What comes before it is not decoded."""
    samples = build(video)
    decoded: list[int] = []
    file = samples._opened(0)
    inner = file._frames_of
    file._frames_of = lambda packet: decoded.append(1) or inner(packet)  # type: ignore[method-assign]
    assert torch.equal(samples.read([50])[0], reference[50])
    assert opened == {"_start": 1, "_seek": 1}
    index = read_index(str(video))
    key = index.keys[index.last_key(51)]
    assert key > 33
    assert len(decoded) <= FRAMES - key + 2


def test_several_videos_follow_each_other(tmp_path: Path, opened: dict[str, int]) -> None:
    """With names, numbers from 1, and one open file at a time."""
    one = write_video(tmp_path / "one.mkv", frames=5)
    two = write_video(tmp_path / "two.mp4", frames=30)
    samples = build(one, two)
    assert [samples.id(index) for index in (0, 4, 5, 34)] == [
        "one/00001",
        "one/00005",
        "two/00001",
        "two/00030",
    ]
    columns = {name: samples.column(name) for name in ("file", "video", "frame", "group")}
    assert columns["file"].tolist() == [str(one).encode()] * 5 + [str(two).encode()] * 30
    assert columns["video"].tolist() == [b"one"] * 5 + [b"two"] * 30
    assert columns["frame"].tolist() == [*range(1, 6), *range(1, 31)]
    assert columns["frame"].dtype == np.int64
    assert columns["group"] is None
    assert samples.labels() == {}
    expected = torch.cat([all_frames(one, 16), all_frames(two, 16)])
    assert torch.equal(in_chunks(samples, 8), expected)
    assert opened == {"_start": 2, "_seek": 0}


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/one.mp4", "a/two.mp4"], ["one", "two"]),
        (["a/one.mp4", "a/one.avi"], ["one.mp4", "one.avi"]),
        (["a/one.mp4", "b/one.mp4", "two.mp4"], ["a/one.mp4", "b/one.mp4", "two"]),
        (["one.mp4.mkv", "one.mp4", "one.avi"], ["one.mp4.mkv", "/one.mp4", "one.avi"]),
        (["x/a/one.mp4", "y/a/one.mp4"], ["x/a/one.mp4", "y/a/one.mp4"]),
    ],
)
def test_videos_have_names_of_their_own(files: list[str], names: list[str]) -> None:
    """The stem, or as much of the path as tells them apart."""
    root = Path("/videos")
    found = video_names([root / file for file in files])
    assert len(set(found)) == len(files)
    assert found == [name if not name.startswith("/") else f"videos{name}" for name in names]


def test_a_turned_video_is_upright(video: Path, tmp_path: Path) -> None:
    """As its header says the camera was held: here a quarter clockwise."""
    data = bytearray(video.read_bytes())
    place = data.find(b"tkhd") + 44  # the matrix of the track header, ISO 14496-12, 8.3.2
    assert struct.unpack_from(">i", data, place)[0] == 1 << 16
    struct.pack_into(">9i", data, place, 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    expected = build(video).picture(7)
    assert torch.equal(build(turned).picture(7), torch.rot90(expected, -1, (1, 2)))


def test_frames_that_are_not_shown_are_not_counted(video: Path, tmp_path: Path) -> None:
    """Those that an edit list leaves out, and in VP8 those that only others refer to."""
    with av.open(str(video)) as file:
        step = next(packet.duration for packet in file.demux(video=0))
    edited = rewrite(tmp_path / "edited.mp4", video, lambda *_: None, lambda time: time - 14 * step)
    samples = build(edited)
    assert torch.equal(in_chunks(samples, 7), all_frames(edited, 16))
    assert 40 < len(samples) < 50
    assert samples.problems() == []

    def hide(place: int, data: bytearray) -> None:
        data[0] &= 0xEF if place == 5 else 0xFF  # show_frame: RFC 6386, 9.1

    shown = write_video(tmp_path / "shown.webm", "libvpx", 0, frames=20)
    hidden = rewrite(tmp_path / "hidden.webm", shown, hide)
    samples = build(hidden)
    assert len(samples) == 19
    assert torch.equal(in_chunks(samples, 7), all_frames(hidden, 16))


def test_a_frame_that_is_shown_longer_is_one_frame(tmp_path: Path) -> None:
    """AVI has an empty entry for each time that it is repeated, which the header counts."""
    whole = write_video(tmp_path / "whole.avi", "mjpeg", 0, frames=20)
    slow = rewrite(tmp_path / "slow.avi", whole, lambda *_: None, lambda time: 3 * time)
    with av.open(str(slow)) as file:
        assert file.streams.video[0].frames > 20
    samples = build(slow)
    assert len(samples) == 20
    assert samples.problems() == []
    assert torch.equal(in_chunks(samples, 7), all_frames(whole, 16))


# Damage


def cut_mp4(tmp_path: Path) -> Path:
    """A file whose header speaks of 60 frames, and which ends before the last of them."""
    whole = write_video(tmp_path / "whole.mp4", options={"movflags": "faststart"})
    path = tmp_path / "cut.mp4"
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


def test_a_file_cut_short_has_frames_that_cannot_be_decoded(tmp_path: Path) -> None:
    """They are rows, which are named when they are read, and found before."""
    path = cut_mp4(tmp_path)
    samples = build(path)
    held = read_index(str(path)).held
    assert len(samples) == FRAMES
    assert 12 < held < FRAMES
    assert samples.problems() == [
        f"{path}: must hold the 60 frames that it announces (got {held}); it was cut short"
    ]
    with pytest.raises(UnreadableSampleError) as caught:
        samples.read(np.arange(FRAMES))
    assert str(caught.value).startswith(f"{path}: frame ")
    with pytest.raises(UnreadableSampleError) as caught:
        samples.read([FRAMES - 1])
    assert str(caught.value) == f"{path}: frame 60 of 60 cannot be decoded: only {held} are in the file"


def test_what_is_there_of_a_file_cut_short_can_be_read(tmp_path: Path, opened: dict[str, int]) -> None:
    """All that was shown before the cut; the rest is skipped without looking for each frame again."""
    path = cut_mp4(tmp_path)
    found = readable(build(path, on_error="skip"))
    assert set(found) >= set(
        range(1, read_index(str(path)).held - 4)
    )  # but for those that refer to lost ones
    assert max(found) < FRAMES
    assert opened == {"_start": 2, "_seek": 0}  # the second time with care
    whole = all_frames(tmp_path / "whole.mp4", 16)
    for number, picture in found.items():
        if number < 12:
            assert torch.equal(picture, whole[number - 1])
    samples = build(path, on_error="skip")
    for index in reversed(range(FRAMES)):
        pictures, kept = samples.read_or_skip([index])
        assert len(kept) == (index + 1 in found)
        assert pictures is None or torch.equal(pictures[0], found[index + 1])


@pytest.mark.parametrize(
    ("name", "share"), [("a.ts", 0.6), ("a.mkv", 0.6), ("mjpeg.avi", 0.6), ("a.mpg", 0.6)]
)
def test_a_file_of_another_format_cut_short_is_read_up_to_there(
    name: str, share: float, tmp_path: Path
) -> None:
    """AVI announces the rest; the others do not say that there was any."""
    codec, later = KINDS[name]
    data = write_video(tmp_path / name, codec, later).read_bytes()
    path = tmp_path / f"cut{Path(name).suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    samples = build(path, on_error="skip")
    found = readable(samples)
    assert len(samples) == FRAMES if name.endswith(".avi") else len(samples) < FRAMES
    assert 12 < len(found) < FRAMES
    assert set(range(1, len(found) - 3)) <= set(found)


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_damaged_frame_is_lost_and_the_others_keep_their_numbers(tmp_path: Path, suffix: str) -> None:
    """Here each frame stands for itself; the lost one's pixels are never made up."""
    whole = write_video(tmp_path / f"whole{suffix}", "mjpeg", 0, frames=20)

    def destroy(place: int, data: bytearray) -> None:
        if place == 8:
            data[:] = bytes(len(data))

    path = rewrite(tmp_path / f"bad{suffix}", whole, destroy)
    expected = all_frames(whole, 16)
    samples = build(path, on_error="skip")
    assert len(samples) == 20
    for chunk in (1, 7, 64):
        found = readable(samples, chunk)
        assert sorted(found) == [number for number in range(1, 21) if number != 9]
        assert all(torch.equal(picture, expected[number - 1]) for number, picture in found.items())
    with pytest.raises(
        UnreadableSampleError, match=f"^{path}: frame 9 of 20 cannot be decoded: is missing or"
    ):
        build(path).read_or_skip(np.arange(20))


def test_files_that_are_no_videos_are_refused_or_left_out(video: Path, tmp_path: Path) -> None:
    """With on_error = "skip" they are counted; nothing but such files is refused all the same."""
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for path, reason in ((text, "Invalid data found"), (tmp_path / "none.mp4", "No such file or directory")):
        with pytest.raises(DataError, match=rf"^{path}: cannot be opened as a video \({reason}.*\)$"):
            build(video, path)
    samples = build(text, video, on_error="skip")
    assert len(samples) == FRAMES
    assert samples.counts() == {"video files that cannot be opened": 1}
    assert samples.id(0) == "clip/00001"
    with pytest.raises(DataError, match=r"text\.mp4: cannot be opened"):
        build(text, on_error="skip")


def test_sound_without_pictures_is_no_video(tmp_path: Path) -> None:
    """A file of another kind of stream."""
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(DataError, match="there is no video in it"):
        build(path)


def test_a_video_that_is_gone_when_it_is_read_is_named(video: Path, tmp_path: Path) -> None:
    """As one that cannot be read."""
    path = tmp_path / "gone.mp4"
    path.write_bytes(video.read_bytes())
    samples = build(path)
    path.unlink()
    with pytest.raises(UnreadableSampleError, match=f"^{path}: cannot be opened as a video"):
        samples.read([0])


@pytest.mark.parametrize("version", [None, "16.1.0"])
def test_without_pyav_the_package_is_named(
    video: Path, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    """Not installed, or too old; the recipe itself can be made."""
    if version is None:
        monkeypatch.setitem(sys.modules, "av", None)
    else:
        monkeypatch.setattr(av, "__version__", version)
    with pytest.raises(ConfigError, match=r"dataset 'video-files' needs PyAV.*: pip install 'av>=17'$"):
        build(video)


# Faces


@attrs.frozen(kw_only=True)
class BrightFaces(Detector):
    """Finds a face in pictures that are bright."""

    name: ClassVar[str] = "bright-faces"

    def build(self) -> Callable[[np.ndarray], np.ndarray]:
        def find(picture: np.ndarray) -> np.ndarray:
            assert picture.shape == (SIZE[1], SIZE[0], 3)
            assert picture.flags.c_contiguous
            boxes = [(8, 4, 24, 20)] if picture.mean() > 100 else []
            return np.array(boxes, np.float32).reshape(-1, 4)

        return find


def test_frames_without_a_face_are_passed_over_while_streaming(
    tmp_path: Path, opened: dict[str, int]
) -> None:
    """Each frame is decoded once: nothing is read a second time to find out which were in the way."""
    path = write_video(tmp_path / "faces.mp4", brightness=lambda number: 200 if number % 3 else 20)
    samples = build(path, detector=BrightFaces())
    whole = build(path).picture(0)
    found = readable(samples)
    assert sorted(found) == [number for number in range(1, FRAMES + 1) if number % 3]
    assert opened["_seek"] == 0
    assert opened["_start"] == 2  # one of them for `whole`
    assert [samples.skips(index) for index in range(4)] == [False, False, True, False]
    assert torch.equal(found[1], square(whole[:, 4:20, 8:24], 16))
    with pytest.raises(UnreadableSampleError, match=f"^{path}: frame 3: no face was found$"):
        samples.read([2])


# Processes and memory


def test_samples_go_to_another_process_without_their_decoder(video: Path, reference: torch.Tensor) -> None:
    """Also while a file is open."""
    samples = build(video)
    samples.read([5])
    again = pickle.loads(pickle.dumps(samples))
    assert torch.equal(again.read([3, 40]), reference[[3, 40]])
    assert torch.equal(samples.read([6]), reference[[6]])


@pytest.mark.parametrize("workers", [1, 2])
def test_loader_processes_read_what_this_process_has_begun(
    video: Path, reference: torch.Tensor, workers: int
) -> None:
    """A decoder does not survive a fork, and here it has threads: each process opens the file again."""
    samples = build(video)
    samples.read([0])
    stream = LiveStream("clip", "t", samples, lambda _: np.arange(FRAMES), 8)
    loader = StreamLoader(SequentialPlan(stream), {}, workers=workers)
    inputs = torch.cat([batch.inputs for batch in loader.epoch(0)])
    loader.close()
    assert torch.equal(inputs, reference)
    assert torch.equal(samples.read([1]), reference[[1]])


def test_full_frames_are_let_go_one_by_one(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are asked for at once; only the small pictures stay."""
    frames: list[weakref.ref[np.ndarray]] = []
    most = 0

    def counted(frame: Any) -> np.ndarray:
        nonlocal most
        most = max(most, sum(other() is not None for other in frames))
        pixels = np.array(frame.to_ndarray(format="rgb24"))
        frames.append(weakref.ref(pixels))
        return pixels

    monkeypatch.setattr(video_decoding, "to_rgb", counted)
    samples = build(video)
    samples.read(np.arange(FRAMES))
    assert len(frames) == FRAMES
    assert most <= 1


def test_the_file_holds_one_decoded_frame(video: Path) -> None:
    """None is kept by the samples, and those skipped over are not converted."""
    samples = build(video)
    samples.read([3, 20])
    _, file = samples._open
    held = [value for value in vars(file).values() if isinstance(value, av.VideoFrame)]
    assert len(held) == 1
    assert not any(isinstance(value, list | dict | tuple) for value in vars(file).values())


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """Beside some numbers for each frame: where it is, and whether it is lost."""

    def peak(frames: int) -> int:
        path = write_video(tmp_path / f"{frames}.mkv", frames=frames)
        for _ in range(2):  # the first time imports what is needed
            samples = build(path)
            tracemalloc.start()
            for start in range(0, frames, 8):
                samples.read(np.arange(start, min(start + 8, frames)))
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found

    assert peak(160) < peak(40) + 120 * 512


# Paths


def test_a_video_is_known_by_its_suffix(video: Path, tmp_path: Path) -> None:
    """What it is told is handed on; other files, and folders, are not of this kind."""
    detector = BrightFaces()
    found = Videos.for_path(video, detector=detector, on_error="skip")
    assert found == Videos(files=(video,), detector=detector, on_error="skip")
    other = tmp_path / "CLIP.MOV"
    other.touch()
    assert Videos.for_path(other) == Videos(files=(other,))
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "notes.csv").touch()
    assert Videos.for_path(tmp_path / "folder.mp4") is None
    assert Videos.for_path(tmp_path / "notes.csv") is None


def test_a_list_of_videos_is_known_by_its_first_line(tmp_path: Path) -> None:
    """Paths are relative to its folder; a list of other things is not of this kind."""
    for name in ("a.mp4", "sub/b.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = tmp_path / "list.txt"
    listing.write_text(f"# videos\n\na.mp4\n  {tmp_path}/sub/b.avi \n")
    assert Videos.for_path(listing) == Videos(files=(tmp_path / "a.mp4", tmp_path / "sub/b.avi"))
    for text in ("", "# nothing\n", "a video\na.mp4\n", "valence,arousal\n0.1,0.2\n"):
        listing.write_text(text)
        assert Videos.for_path(listing) is None
    listing.write_bytes("vidéo\n".encode("latin-1"))
    assert Videos.for_path(listing) is None


def test_every_wrong_line_of_a_list_is_told(tmp_path: Path) -> None:
    """With its number."""
    (tmp_path / "a.mp4").touch()
    listing = tmp_path / "list.txt"
    listing.write_text("a.mp4\nb.mp4\n\na.mp4\n")
    with pytest.raises(DataError) as caught:
        Videos.for_path(listing)
    assert str(caught.value).splitlines() == [
        f"{listing} line 2: there is no video b.mp4 in {tmp_path}",
        f"{listing} line 4: a.mp4 is on line 1 too",
    ]


def test_a_file_may_be_listed_once(video: Path) -> None:
    """In a configuration too."""
    for files in ((), (video, video)):
        with pytest.raises(ValueError, match="must not"):
            Videos(files=files)


def test_it_conforms(tmp_path: Path) -> None:
    """To what `mtl_toolkit.testing` asks of every dataset."""
    files = (write_video(tmp_path / "a.mp4", frames=12), write_video(tmp_path / "b.mp4", frames=5))
    for check in check_dataset(Videos(files=files), {}, image_size=16):
        check()
