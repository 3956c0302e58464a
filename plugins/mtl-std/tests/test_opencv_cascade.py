"""The detector from OpenCV: what it finds, and what it says where there is no OpenCV."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mtl_std.opencv_cascade import OpenCVCascade, largest_first, mtl_detectors
from PIL import Image

from mtl_toolkit import ConfigError

# Real pictures are not in the repository.
TABLE = Path(os.environ.get("MTL_DATA", "data")) / "diffusionfer" / "labels.csv"


def opencv() -> object:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "CascadeClassifier"):
        pytest.skip("this OpenCV has no cascades")
    return cv2


def portrait(size: int) -> np.ndarray:
    """A generated portrait, uint8 RGB [size, size, 3]."""
    if not TABLE.is_file():
        pytest.skip("needs the picture sets in MTL_DATA")
    with TABLE.open(newline="", encoding="utf-8") as file:
        first = next(row for row in csv.DictReader(file) if row["expression"] == "happiness")
    with Image.open(TABLE.parent / first["file"]) as image:
        return np.asarray(image.convert("RGB").resize((size, size)))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes left, top, right, bottom."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(np.clip(sides, 0, None)))
    areas = sum(float(np.prod(box[2:] - box[:2])) for box in (one, other))
    return common / (areas - common)


def canvas() -> np.ndarray:
    return np.full((480, 640, 3), 127, np.uint8)


def test_a_face_is_found_where_it_is():
    opencv()
    picture = canvas()
    picture[100:300, 350:550] = portrait(200)
    boxes = OpenCVCascade().build()(picture)
    assert boxes.dtype == np.float32
    assert boxes.shape[1] == 4
    assert overlap(boxes[0], np.array([350, 100, 550, 300])) > 0.5


def test_the_largest_face_comes_first():
    opencv()
    picture = canvas()
    picture[20:132, 20:132] = portrait(112)
    picture[200:424, 300:524] = portrait(224)
    boxes = OpenCVCascade().build()(picture)
    assert len(boxes) >= 2
    assert overlap(boxes[0], np.array([300, 200, 524, 424])) > 0.5
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert (np.diff(areas) <= 0).all()


def test_faces_below_the_smallest_size_are_passed_over():
    opencv()
    picture = canvas()
    picture[20:132, 20:132] = portrait(112)
    assert len(OpenCVCascade(smallest=0.1).build()(picture)) == 1
    assert OpenCVCascade(smallest=0.5).build()(picture).shape == (0, 4)


def test_a_mirrored_view_of_a_picture_will_do():
    """Augmentation gives pictures whose rows are not contiguous."""
    opencv()
    picture = canvas()
    picture[100:300, 350:550] = portrait(200)
    boxes = OpenCVCascade().build()(picture[:, ::-1])
    assert overlap(boxes[0], np.array([90, 100, 290, 300])) > 0.5


@pytest.mark.parametrize("shape", [(200, 300, 3), (1, 1, 3)])
def test_a_picture_without_a_face_gives_no_box(shape):
    opencv()
    boxes = OpenCVCascade().build()(np.zeros(shape, np.uint8))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32


def test_boxes_are_corners_in_pixels_by_falling_area_then_from_the_top_left():
    found = np.float32([[5, 6, 10, 10], [0, 9, 20, 20], [5, 6, 10, 10], [2, 6, 10, 10], [7, 1, 10, 10]])
    expected = [[0, 9, 20, 29], [7, 1, 17, 11], [2, 6, 12, 16], [5, 6, 15, 16], [5, 6, 15, 16]]
    assert largest_first(found).tolist() == expected


def test_without_opencv_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError) as caught:
        OpenCVCascade().build()
    message = str(caught.value)
    assert message.startswith(
        "detector 'opencv-cascade' needs OpenCV: pip install opencv-python-headless~=4.10 (got "
    )
    assert "\n" not in message


@pytest.mark.parametrize("with_class", [True, False])
def test_an_opencv_without_cascades_is_named(monkeypatch, tmp_path, with_class):
    """OpenCV 5 has neither the class nor the files; with the contrib package, only the class."""
    fake = SimpleNamespace(__version__="5.0.0", data=SimpleNamespace(haarcascades=f"{tmp_path}/"))
    if with_class:
        fake.CascadeClassifier = object
    monkeypatch.setitem(sys.modules, "cv2", fake)
    with pytest.raises(ConfigError, match=r"needs OpenCV 4 with its cascade files.*\(got OpenCV 5\.0\.0\)"):
        OpenCVCascade().build()


@pytest.mark.parametrize("field", [{"scale": 1.0}, {"scale": 3.0}, {"neighbours": -1}, {"smallest": 1.5}])
def test_settings_outside_their_range_are_refused(field):
    with pytest.raises(ValueError, match="must be"):
        OpenCVCascade(**field)


def test_the_plugin_offers_the_detector_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert [recipe().name for recipe in mtl_detectors()] == ["opencv-cascade"]
