"""Rendered videos of faces as a dataset: smooth labels, and single frames that are hard to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
import numpy as np
from torch import Tensor

from mtl_toolkit import DataFacts, Dataset, Labels, Samples, hookimpl
from mtl_toolkit.validators import at_least, between, unique

from .faces import EXPRESSIONS, STYLES, render
from .faces.hashing import Draws
from .faces.identity import TRAITS, trait
from .faces.trajectory import video_labels
from .faces.videos import face_found, sample_video_frames, video_lengths
from .synthetic_faces import check_look, one_thread, people
from .synthetic_labels import AFFECT, Kind, head_labels, shown_kinds

MOST_FRAMES = 1_000_000


@attrs.frozen(kw_only=True)
class SyntheticVideos(Dataset):
    """Rendered videos with expression, valence-arousal and action units; a function of seed, video and frame.

    Each video shows a person whose expression changes smoothly, which is what the labels follow. Single
    frames stray from it: half-shown expressions, speech, blinks, noise, blur, things in front of the face.

    A task gets its labels by the kind of its head, and classes, axes and units are matched by name. A frame
    of a class that the head lacks has no label. `appearance` and `identity` are shown where `labels` asks
    for them; a person's number is that of the video under each seed.
    """

    name: ClassVar[str] = "synthetic-videos"
    videos: int = attrs.field(default=20, validator=at_least(1), metadata={"doc": "number of videos"})
    frames: int = attrs.field(
        default=200, validator=between(1, MOST_FRAMES), metadata={"doc": "frames of a video, on average"}
    )
    frames_spread: float = attrs.field(
        default=0.5,
        validator=between(0, 1),
        metadata={"doc": "videos are shorter or longer by up to this share"},
    )
    seed: int = attrs.field(default=0, metadata={"doc": "another seed draws other people and videos"})
    first: int = attrs.field(
        default=0, validator=at_least(0), metadata={"doc": "index of the first video, to cut disjoint parts"}
    )
    style: str = attrs.field(default="wild", metadata={"doc": f"how the pictures look: {', '.join(STYLES)}"})
    frame_noise: float = attrs.field(
        default=0.6,
        validator=between(0, 1),
        metadata={"doc": "how far single frames stray from their video; 0 is not at all"},
    )
    missing: float = attrs.field(
        default=0.05,
        validator=between(0, 0.9),
        metadata={"doc": "share of the frames that are not there, in short runs, as where no face is found"},
    )
    thin: int = attrs.field(
        default=1, validator=at_least(1), metadata={"doc": "keep one frame in so many, by number"}
    )
    labels: tuple[Kind, ...] = attrs.field(
        default=AFFECT, validator=unique(), metadata={"doc": "kinds of label that every video shows"}
    )
    extra_labels: tuple[Kind, ...] = attrs.field(
        default=(),
        validator=unique(),
        metadata={"doc": "kinds of label that only a share of the videos shows"},
    )
    extra_share: float = attrs.field(
        default=0.0, validator=between(0, 1), metadata={"doc": "the share that shows them, from 0 to 1"}
    )
    class_weights: Mapping[str, float] = attrs.field(
        factory=dict,
        metadata={
            "doc": "relative frequency by expression; one not named has 1, an empty table makes all equal"
        },
    )

    def __attrs_post_init__(self) -> None:
        check_look(self.style, self.class_weights)

    def build(self, facts: DataFacts) -> VideoSamples:
        """Draw the labels; frames are rendered when they are read."""
        return VideoSamples(self, facts)


class VideoSamples(Samples):
    """The frames of a recipe's videos that are there, rendered on demand at the size asked for.

    Frames are in the order of their videos and numbers. Numbers count from 1; those of frames that are not
    there are skipped.
    """

    def __init__(self, recipe: SyntheticVideos, facts: DataFacts) -> None:
        self._recipe = recipe
        self._size = facts.image_size
        self._weights = [recipe.class_weights.get(name, 1.0) for name in EXPRESSIONS]
        every = recipe.first + np.arange(recipe.videos)
        lengths = video_lengths(recipe.seed, every, recipe.frames, recipe.frames_spread)
        videos, places = np.repeat(every, lengths), _counted(lengths)
        found = face_found(recipe.seed, videos, places, recipe.missing)
        self._missing = len(found) - int(found.sum())
        found &= places % recipe.thin == 0
        self._videos, self._places = videos[found], places[found]
        drawn = video_labels(
            recipe.seed,
            self._videos,
            self._places,
            style=STYLES[recipe.style],
            class_weights=self._weights,
        )
        extra = Draws(recipe.seed, "video labels", self._videos).chance("extra", recipe.extra_share)
        shown = shown_kinds(recipe.labels, recipe.extra_labels, extra)
        self._labels = head_labels(recipe.name, recipe.seed, facts.tasks, drawn, shown)

    def __len__(self) -> int:
        return len(self._videos)

    def labels(self) -> Mapping[str, Labels]:
        """The labels shown, by task."""
        return self._labels

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Render some frames: uint8 [n, 3, size, size]."""
        recipe, chosen = self._recipe, np.asarray(indices, dtype=np.int64)
        with one_thread():
            frames = sample_video_frames(
                recipe.seed,
                self._videos[chosen],
                self._places[chosen],
                style=STYLES[recipe.style],
                class_weights=self._weights,
                frame_noise=recipe.frame_noise,
            )
            return render(frames, self._size)

    def id(self, index: int) -> str:
        """Video and number of the frame: `0007/00012`."""
        return f"{self._videos[index]:04d}/{self._places[index] + 1:05d}"

    def column(self, name: str) -> np.ndarray | None:
        """`group`: the person, `video`: both under the seed that draws them; `frame`: its number from 1.

        Also the person's `skin_tone` and `glasses`.
        """
        if name == "group":
            return people(self._recipe.seed, self._videos)
        if name == "video":
            numbers = np.char.zfill(self._videos.astype(np.str_), 4)
            return np.char.add(f"seed {self._recipe.seed} video ", numbers).astype(np.bytes_)
        return self._places + 1 if name == "frame" else trait(name, self._recipe.seed, self._videos)

    def column_names(self) -> tuple[str, ...]:
        """The person, the video, the frame, and the person's traits."""
        return ("group", "video", "frame", *TRAITS)

    def counts(self) -> Mapping[str, int]:
        """The frames that are not there."""
        return {"frames without a face": self._missing} if self._missing else {}


def _counted(lengths: np.ndarray) -> np.ndarray:
    """0, 1, .. within each of some runs of given lengths: int64 [sum of lengths]."""
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    counted: np.ndarray = np.arange(len(starts), dtype=np.int64) - starts
    return counted


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The synthetic videos."""
    return [SyntheticVideos]
