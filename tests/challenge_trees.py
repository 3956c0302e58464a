"""Small trees in the layouts of s-Aff-Wild2 and of LSD, filled with rendered faces."""

from __future__ import annotations

from pathlib import Path

from mtl_affect.faces import EXPRESSIONS, STYLES, Labels, sample

from tests.affect_trees import rendered, save, video, write_lines

MTL_HEADER = "image,valence,arousal,expression,aus"
NO_UNITS = ",".join(["-1"] * 12)
OTHER = 7  # the eighth class; what it shows is drawn as another

LSD_FOLDERS = ("ANGRER", "DISGUST", "FEAR", "HAPPINESS", "SADNESS", "SURPRISE")
SYNTHETIC, REAL = "training_set_synthetic_images", "validation_set_real_images"


def write_s_aff_wild2(
    root: Path, *, videos: int = 12, frames: int = 8, size: int = 48, seed: int = 0
) -> None:
    """Write annotations of so many training videos, and a third as many for validation, and aligned faces.

    Frames are sparse. Of every video the second frame has no valence and arousal, the third no expression,
    the fourth no action units and the fifth one unit less; the last is of the class `other`. Four videos more
    are for a test, and have no annotations.
    """
    parts = {"training": videos, "validation": max(2, videos // 3), "": 4}
    place = 0
    for part, count in parts.items():
        lines = [MTL_HEADER]
        for _ in range(count):
            name = f"{place + 1}-30-1280x720"
            faces = video(0, place, frames)
            for row, picture in enumerate(rendered(faces, size)):
                frame = f"{name}/{5 * row + 3:05d}.jpg"
                save(picture, root / "cropped_aligned" / frame)
                lines.append(f"{frame},{_labels(faces.labels, row, last=row == frames - 1)}")
            place += 1
        if part:
            write_lines(root / f"{part}_set_annotations.txt", lines)


def _labels(labels: Labels, row: int, last: bool) -> str:
    """The fields of a frame after its name."""
    valence, arousal = labels.valence_arousal[row].round(4)
    expression = OTHER if last else int(labels.expression[row])
    units = [str(unit) for unit in labels.au_labels[row]]
    if row == 1:
        valence, arousal = -5, -5
    elif row == 2:
        expression = -1
    elif row == 4:
        units[3] = "-1"
    return f"{valence},{arousal},{expression},{NO_UNITS if row == 3 else ','.join(units)}"


def write_lsd(root: Path, *, train: int = 48, validation: int = 24, size: int = 48) -> None:
    """Write the three folders of the release; the first class is spelt as there.

    Training faces are of one style and validation faces of another, as generated and real ones are.
    """
    weights = [0.0 if name == "neutral" else 1.0 for name in EXPRESSIONS]
    parts = {SYNTHETIC: ("studio", train), REAL: ("wild", validation), "test_set": ("wild", 6)}
    for seed, (part, (style, count)) in enumerate(parts.items()):
        faces = sample(seed, range(count), style=STYLES[style], class_weights=weights)
        for row, picture in enumerate(rendered(faces, size)):
            folder = "" if part == "test_set" else LSD_FOLDERS[faces.labels.expression[row] - 1]
            save(picture, root / part / folder / f"{row:06d}.jpg")
    for part in (SYNTHETIC, REAL):  # every class has a folder, whatever was drawn
        for folder in LSD_FOLDERS:
            (root / part / folder).mkdir(parents=True, exist_ok=True)
