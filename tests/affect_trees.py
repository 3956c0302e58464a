"""Small trees in the layouts of Aff-Wild2 (ABAW2), ExpW, AFEW-VA and AffectNet, filled with rendered faces.

A picture shows what its label says, so a network can learn from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
import torch
from mtl_affect.faces import EXPRESSIONS, STYLES, Faces, Identity, render, sample, take
from PIL import Image

EXPR_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"
VA_HEADER = "valence,arousal"
AFFECTNET_HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)
EXPW_CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
AFFECTNET_CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")

# What is missing in a video lies among its first frames, so that later ones fill windows without a gap.
NO_FACE = (5, 6)
NO_EXPRESSION, NO_AFFECT = 8, 9
FEWEST = 10

DEPTH = 0.38  # of eyes and mouth before the axis that the head turns about, in face units


@attrs.frozen(eq=False)
class Clip:
    """What is true of the frames of a folder of faces, annotated or not.

    Attributes:
        expression: places in `EXPRESSIONS`, int64 [frames].
        affect: valence and arousal, float32 [frames, 2].
        present: where there is a picture, bool [frames]; frame i + 1 is `<name>/<i + 1>.jpg`.
    """

    expression: np.ndarray
    affect: np.ndarray
    present: np.ndarray


@attrs.frozen(eq=False)
class Trees:
    """The folders written.

    Attributes:
        root: holds Aff-Wild2, ExpW, AFEW-VA and AffectNet.
        clips: Aff-Wild2's folders of faces, by name.
        test_lists: the lists of test videos, one name per line, by the set's folder.
    """

    root: Path
    clips: Mapping[str, Clip]
    test_lists: Mapping[str, Path]

    @property
    def test_clips(self) -> dict[str, Clip]:
        """The videos of the lists."""
        names = self.test_lists["EXPR_Set"].read_text(encoding="utf-8").split()
        return {name: self.clips[name] for name in names}


def write_trees(
    root: Path, *, videos: int = 1, frames: int = 24, faces: int = 28, size: int = 96, seed: int = 0
) -> Trees:
    """Write all four databases.

    Args:
        root: the folder that `MTL_DATA` is to name.
        videos: how many of each role in Aff-Wild2 (see `cast`) and of each part of AFEW-VA.
        frames: of every video; 32 and more beyond the first ten fill a window.
        faces: of ExpW, and of AffectNet's training table.
        size: of a face's picture, in pixels; uncut pictures are larger.
        seed: other people and faces.
    """
    if frames < FEWEST:
        raise ValueError(f"frames must be at least {FEWEST} (got {frames})")
    clips = write_aff_wild2(root / "Aff-Wild2", videos=videos, frames=frames, size=size, seed=4 * seed)
    write_expw(root / "ExpW", faces=faces, size=size, seed=4 * seed + 1)
    write_afew_va(root / "AFEW-VA", videos=videos, frames=frames, size=size, seed=4 * seed + 2)
    write_affectnet(root / "AffectNet", faces=faces, size=size, seed=4 * seed + 3)
    lists = {name: root / "Aff-Wild2" / "Test_Set" / f"{name}.txt" for name in ("EXPR_Set", "VA_Set")}
    return Trees(root, clips, lists)


# Aff-Wild2


def cast(videos: int) -> dict[str, tuple[str, ...]]:
    """Aff-Wild2's folders of faces, and the folders that annotate each: none for a test video.

    One video shows two people. One is for training in one set and for validation in the other.
    """
    train, validation = ("EXPR_Set/Train_Set", "VA_Set/Train_Set"), ("EXPR_Set", "VA_Set")
    found: dict[str, tuple[str, ...]] = {}
    for number in range(videos):
        found[f"{number + 1}-30-1280x720"] = train
        found[f"video{number + 1}"] = train[:1]
        found[f"{number + 101}-24-640x360"] = train[1:]
        found[f"{number + 201}-30-720x480"] = tuple(f"{name}/Validation_Set" for name in validation)
        found[f"{number + 401}-24-1920x1080"] = ()
    found |= {"video90_left": train, "video90_right": train[1:], "video91_right": ()}
    return found | {"301-25-1280x720": ("EXPR_Set/Train_Set", "VA_Set/Validation_Set")}


def write_aff_wild2(
    root: Path, *, videos: int = 1, frames: int = 24, size: int = 96, seed: int = 0
) -> dict[str, Clip]:
    """Write annotations per video, aligned faces, and lists of test videos.

    In every video two frames have no face, one no expression and one no valence and arousal; a test video
    lacks its first and last face too. "1-30-1280x720" has a row more than frames, "video1" one less.
    """
    clips = {}
    for place, (name, folders) in enumerate(cast(videos).items()):
        faces = video(seed, place, frames)
        present = ~np.isin(np.arange(1, frames + 1), NO_FACE if folders else (1, *NO_FACE, frames))
        clip = Clip(faces.labels.expression, faces.labels.valence_arousal, present)
        for picture, number in zip(rendered(faces, size), range(1, frames + 1), strict=True):
            if present[number - 1]:
                save(picture, root / "cropped_aligned" / name / f"{number:05d}.jpg")
        more = {"1-30-1280x720": 1, "video1": -1}.get(name, 0)
        for folder in folders:
            write_lines(root / folder / f"{name}.txt", annotations(folder, clip, more))
        clips[name] = clip
    tests = [name for name, folders in cast(videos).items() if not folders]
    for folder in ("EXPR_Set", "VA_Set"):
        write_lines(root / "Test_Set" / f"{folder}.txt", tests)
    return clips


def annotations(folder: str, clip: Clip, more: int) -> list[str]:
    """The lines of a set's file about a video, with so many rows more than frames."""
    if folder.startswith("EXPR_Set"):
        header, rows = EXPR_HEADER, [str(number) for number in clip.expression]
        rows[NO_EXPRESSION - 1] = "-1"
    else:
        header, rows = VA_HEADER, [f"{valence:.3f},{arousal:.3f}" for valence, arousal in clip.affect]
        rows[NO_AFFECT - 1] = "-5,-5"
    rows = rows + rows[-1:] * more if more > 0 else rows[: len(rows) + more]
    return [header, *rows]


# Databases of pictures


def write_expw(root: Path, *, faces: int = 28, size: int = 96, seed: int = 1) -> None:
    """Write `image` and `label.lst`; every third picture has two faces."""
    drawn = sample(seed, range(faces), style=STYLES["wild"])
    pictures, corners = rendered(drawn, size), boxes(drawn, size)
    shown = np.flatnonzero(np.arange(faces) % 4 != 3)  # the first or only face of each picture
    lines = []
    for number, first in enumerate(shown.tolist()):
        rows = [row for row in (first, first + 1) if row == first or (row % 4 == 3 and row < faces)]
        canvas, places = laid_out([pictures[row] for row in rows], seed + first)
        name = f"{EXPRESSIONS[drawn.labels.expression[first]]}_face_{number}.jpg"
        save(canvas, root / "image" / name)
        for face_id, (row, (x, y)) in enumerate(zip(rows, places, strict=True)):
            left, top, right, bottom = corners[row] + (x, y, x, y)
            label = EXPW_CLASSES.index(EXPRESSIONS[drawn.labels.expression[row]])
            lines.append(f"{name} {face_id} {top} {left} {right} {bottom} {20 + row % 50}.5 {label}")
    write_lines(root / "label.lst", lines)


def write_afew_va(root: Path, *, videos: int = 1, frames: int = 24, size: int = 96, seed: int = 2) -> None:
    """Write two parts with so many videos each, valence and arousal from -10 to 10."""
    for place in range(2 * videos):
        name = f"{place + 1:03d}"
        folder = root / f"{place // videos + 1:02d}" / name
        faces = video(seed, place, frames, "film")
        points, table = landmarks(faces, size), {}
        for row, picture in enumerate(rendered(faces, size)):
            canvas, [(x, y)] = laid_out([picture], seed + place)
            save(canvas, folder / f"{row:05d}.png")
            valence, arousal = (round(float(value) * 10, 1) for value in faces.labels.valence_arousal[row])
            shown = (points[row] + (x, y)).round(2).tolist()
            table[f"{row:05d}"] = {"landmarks": shown, "valence": valence, "arousal": arousal}
        content = {"actor": "nobody", "frames": table, "video_id": name}
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def write_affectnet(root: Path, *, faces: int = 28, size: int = 96, seed: int = 3) -> None:
    """Write the CSV release; validation.csv, a quarter as long, has no line of column names.

    Of 14 faces one is contempt (7), one has no expression (8), one is uncertain (9, no valence or arousal).
    """
    rest = max(1, faces // 4)
    drawn = sample(seed, range(faces + rest), style=STYLES["wild"])
    pictures, points = rendered(drawn, size), landmarks(drawn, size)
    lines = []
    for row, picture in enumerate(pictures):
        canvas, [(x, y)] = laid_out([picture], seed + row)
        name = f"{row % 3 + 1}/{seed * 1000 + row:08x}.jpg"
        save(canvas, root / "Manually_Annotated_Images" / name)
        left, top, right, bottom = boxes(drawn, size)[row] + (x, y, x, y)
        written = ";".join(f"{value:.2f}" for value in (points[row] + (x, y)).ravel())
        number = AFFECTNET_CLASSES.index(EXPRESSIONS[drawn.labels.expression[row]])
        number = {6: 7, 10: 8, 13: 9}.get(row % 14, number)
        valence, arousal = (-2, -2) if number == 9 else drawn.labels.valence_arousal[row].round(4)
        box = f"{left},{top},{right - left},{bottom - top}"
        lines.append(f"{name},{box},{written},{number},{valence},{arousal}")
    write_lines(root / "training.csv", [AFFECTNET_HEADER, *lines[:faces]])
    write_lines(root / "validation.csv", lines[faces:])


# Faces and files


def video(seed: int, place: int, frames: int, style: str = "studio") -> Faces:
    """The frames of one person, each expression in a run of its own."""
    indices = place * frames + np.arange(frames)
    faces = sample(seed, indices, style=STYLES[style], faces_per_identity=frames)
    turns = (faces.labels.expression + place) % len(EXPRESSIONS)  # videos begin with different ones
    return take(faces, np.argsort(turns, kind="stable"))


def rendered(faces: Faces, size: int) -> np.ndarray:
    """Pictures of the faces: uint8 [faces, size, size, 3]."""
    return render(faces, size).permute(0, 2, 3, 1).numpy()


def laid_out(pictures: Sequence[np.ndarray], seed: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Put pictures side by side into a larger one; also where each has its upper left corner, x and y."""
    size, rng = len(pictures[0]), np.random.default_rng(seed)
    places = [(size // 4 + place * (size + size // 4), size // 5) for place in range(len(pictures))]
    width, height = places[-1][0] + size + size // 4, size + 2 * (size // 5)
    blobs = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8)).resize((width, height))
    canvas = np.array(blobs)
    for picture, (x, y) in zip(pictures, places, strict=True):
        canvas[y : y + size, x : x + size] = picture
    return canvas, places


def landmarks(faces: Faces, size: int) -> np.ndarray:
    """68 points of each face in its picture, in the order of iBUG 300-W: float [faces, 68, 2], in pixels."""
    pose, points = faces.frame.pose, frontal_landmarks(faces.identity)
    roll, yaw, pitch, scale, *shift = (
        part.numpy()[:, None].astype(np.float64)
        for part in (pose.roll, pose.yaw, pose.pitch, pose.scale, pose.shift_x, pose.shift_y)
    )
    cosine = np.sqrt(1 - roll**2)
    x, y = points[..., 0] + DEPTH * yaw, points[..., 1] + DEPTH * pitch
    column = shift[0] + scale * (x * cosine - y * roll)
    row = shift[1] + scale * (x * roll + y * cosine)
    return (np.stack([column, row], axis=-1) + 1) * size / 2


def frontal_landmarks(identity: Identity) -> np.ndarray:
    """68 points on heads seen from the front: [faces, 68, 2] in face units, from the middle of the head."""

    def ring(points: int, x: torch.Tensor, y: torch.Tensor, width: torch.Tensor, height: torch.Tensor):
        """From the left corner over the top and round."""
        angles = torch.pi + 2 * torch.pi * torch.arange(points) / points
        across = x[:, None] + width[:, None] * angles.cos()
        return torch.stack([across, y[:, None] + height[:, None] * angles.sin()], dim=-1)

    def line(points: int, start: tuple[torch.Tensor, ...], end: tuple[torch.Tensor, ...]):
        first, last = torch.stack(start, dim=-1)[:, None], torch.stack(end, dim=-1)[:, None]
        return first + (last - first) * torch.linspace(0, 1, points)[:, None]

    none, eye, brow = torch.zeros_like(identity.width), identity.eye_size, -identity.brow_height
    inner, outer = identity.eye_spacing - eye, identity.eye_spacing + eye
    lid, nose, wing = eye * identity.eye_open, identity.nose_length, identity.nose_width
    mouth, lips = identity.mouth_height, identity.lip_lower
    parts = [
        ring(32, none, none, identity.width, -identity.chin)[:, :17],
        line(5, (-outer, brow), (-inner, brow)),
        line(5, (inner, brow), (outer, brow)),
        line(4, (none, none), (none, nose)),
        line(5, (-wing, nose + 0.03), (wing, nose + 0.03)),
        ring(6, -identity.eye_spacing, none, eye, lid),
        ring(6, identity.eye_spacing, none, eye, lid),
        ring(12, none, mouth, identity.mouth_width, lips),
        ring(8, none, mouth, identity.mouth_width * 0.85, lips * 0.5),
    ]
    return torch.cat(parts, dim=1).double().numpy()


def boxes(faces: Faces, size: int) -> np.ndarray:
    """Left, top, right and bottom of each face, with the forehead: int64 [faces, 4], in pixels."""
    points = landmarks(faces, size)
    low, high = points.min(axis=1), points.max(axis=1)
    low[:, 1] -= 0.3 * (high - low)[:, 1]
    return np.concatenate([low, high], axis=1).round().astype(np.int64)


def save(picture: np.ndarray, path: Path) -> None:
    """Write a picture, uint8 [height, width, 3], in the format of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=92)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
