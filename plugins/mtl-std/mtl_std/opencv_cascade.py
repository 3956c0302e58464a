"""Finding faces with the frontal-face cascade that comes with OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np

from mtl_toolkit import ConfigError, Detector, hookimpl
from mtl_toolkit.validators import at_least, between

CASCADE = "haarcascade_frontalface_default.xml"
# OpenCV 5 moved the cascades to opencv-contrib, and its packages have no cascade files.
PACKAGE = "opencv-python-headless~=4.10"


@attrs.frozen(kw_only=True)
class OpenCVCascade(Detector):
    """OpenCV's Haar cascade for frontal faces (Viola and Jones, CVPR 2001).

    It is fast without a GPU, and misses faces turned far to the side. It gives no confidence: the best
    face is the one with the largest box. Needs OpenCV 4.
    """

    name: ClassVar[str] = "opencv-cascade"
    scale: float = attrs.field(
        default=1.1, validator=between(1.01, 2), metadata={"doc": "factor from one size of face to the next"}
    )
    neighbours: int = attrs.field(
        default=5, validator=at_least(0), metadata={"doc": "hits beside each other that make a face"}
    )
    smallest: float = attrs.field(
        default=0.1,
        validator=between(0, 1),
        metadata={"doc": "side of the smallest face, as a share of the picture's shorter side"},
    )

    def build(self) -> CascadeFaces:
        """Load the cascade; ConfigError if there is no OpenCV, or one without it."""
        return CascadeFaces(self)


class CascadeFaces:
    """The loaded cascade; only for the process that built it."""

    def __init__(self, recipe: OpenCVCascade) -> None:
        self.recipe = recipe
        self.opencv = load_opencv()
        path = cascade_file(self.opencv)
        self.cascade = self.opencv.CascadeClassifier(str(path))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Boxes of faces, the largest first.

        Args:
            picture: uint8 RGB [height, width, 3].

        Returns:
            float32 [faces, 4]: left, top, right, bottom in pixels; [0, 4] where there is no face.
        """
        grey = self.opencv.cvtColor(np.ascontiguousarray(picture), self.opencv.COLOR_RGB2GRAY)
        side = round(self.recipe.smallest * min(grey.shape))
        found = self.cascade.detectMultiScale(
            grey, scaleFactor=self.recipe.scale, minNeighbors=self.recipe.neighbours, minSize=(side, side)
        )
        return largest_first(np.array(found, np.float32).reshape(-1, 4))


def largest_first(found: np.ndarray) -> np.ndarray:
    """Turn left, top, width, height [faces, 4] into left, top, right, bottom, by falling area.

    Boxes of one size come from the top, then from the left: the threads of OpenCV have no order.
    """
    left, top, width, height = found.T
    order = np.lexsort((left, top, -width * height))
    return np.stack([left, top, left + width, top + height], axis=1)[order]


def load_opencv() -> Any:
    """Import OpenCV, which is not a dependency; ConfigError if that fails."""
    try:
        import cv2  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"detector 'opencv-cascade' needs OpenCV: pip install {PACKAGE} (got {reason})"
        ) from error
    return cv2


def cascade_file(opencv: Any) -> Path:
    """The file of the cascade; ConfigError if this OpenCV has no cascades."""
    folder = getattr(getattr(opencv, "data", None), "haarcascades", "")
    path = Path(folder) / CASCADE
    if not (hasattr(opencv, "CascadeClassifier") and path.is_file()):
        raise ConfigError(
            "detector 'opencv-cascade' needs OpenCV 4 with its cascade files: "
            f"pip install {PACKAGE} (got OpenCV {opencv.__version__})"
        )
    return path


@hookimpl
def mtl_detectors() -> list[type[Detector]]:
    """The cascade detector."""
    return [OpenCVCascade]
