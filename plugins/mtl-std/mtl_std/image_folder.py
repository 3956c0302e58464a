"""A folder of pictures, or one picture, without a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import attrs
import numpy as np
from torch import Tensor

from mtl_toolkit import DataError, DataFacts, Dataset, Detector, Head, Labels, hookimpl, suggestion
from mtl_toolkit.validators import at_least

from .face_cut import DETECTOR, MARGIN, DetectedFaces, Faces
from .label_columns import label_kind, to_labels
from .picture_files import PictureFiles
from .picture_folders import SUFFIXES, PictureTree, list_pictures
from .picture_samples import PictureSamples


@attrs.frozen(kw_only=True)
class ImageFolder(Dataset):
    """The pictures in a folder and below; a folder's numbered pictures are the frames of a video."""

    name: ClassVar[str] = "image-folder"
    root: Path = attrs.field(metadata={"doc": "the folder, or one picture"})
    class_folders: bool = attrs.field(
        default=False,
        metadata={"doc": "take a picture's class from the folder in the root that it is in"},
    )
    detector: Detector | None = attrs.field(default=None, metadata={"doc": DETECTOR})
    margin: float = attrs.field(default=0.0, validator=at_least(0), metadata={"doc": MARGIN})
    on_error: Literal["stop", "skip"] = attrs.field(
        default="stop", metadata={"doc": "what to do about a picture that cannot be read"}
    )

    def build(self, facts: DataFacts) -> FolderSamples:
        """List the pictures.

        Raises:
            DataError: if there are none, or a folder is no class of the tasks.
        """
        tree = PictureTree.of_file(self.root) if self.root.is_file() else list_pictures(self.root)
        labels = folder_labels(tree, facts.tasks, str(self.root)) if self.class_folders else {}
        return FolderSamples(
            tree,
            labels,
            size=facts.image_size,
            on_error=self.on_error,
            faces=DetectedFaces(self.detector) if self.detector else None,
            margin=self.margin,
        )

    @classmethod
    def for_path(
        cls,
        path: Path,
        *,
        detector: Detector | None = None,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> ImageFolder | None:
        """The dataset of a folder, or of a file with the suffix of a picture."""
        if path.is_dir() or path.suffix.lower().encode() in SUFFIXES:
            return cls(root=path, detector=detector, on_error=on_error)
        return None


class FolderSamples(PictureSamples):
    """The pictures of a folder; they are decoded when they are read."""

    def __init__(
        self,
        tree: PictureTree,
        labels: Mapping[str, Labels],
        *,
        size: int,
        on_error: Literal["stop", "skip"],
        faces: Faces | None = None,
        margin: float = 0.0,
    ) -> None:
        super().__init__(len(tree.files), size=size, on_error=on_error, faces=faces, margin=margin)
        self._pictures = PictureFiles(tree.root, tree.files)
        self._tree = tree
        self._labels = labels

    def labels(self) -> Mapping[str, Labels]:
        """The labels by task, from the folders' names."""
        return self._labels

    def picture(self, index: int) -> Tensor:
        """Decode a picture: uint8 [3, height, width]."""
        return self._pictures.load(index)

    def place(self, index: int) -> str:
        """The picture's path."""
        return f"{self._pictures.root}/{self.id(index)}"

    def id(self, index: int) -> str:
        """The picture's path in the folder."""
        return self._pictures.name(index)

    def column(self, name: str) -> np.ndarray | None:
        """`file`: absolute paths; `video`: the picture's folder; `frame`: its number there, 0 for none."""
        if name == "file":
            return self._pictures.paths()
        if name == "video":
            folders: np.ndarray = self._tree.folders[self._tree.owners]
            return folders
        return self._tree.frames if name == "frame" else None

    def counts(self) -> Mapping[str, int]:
        """The files that were passed over."""
        others = self._tree.others
        return {"files that are no pictures": others} if others else {}


def folder_labels(tree: PictureTree, heads: Mapping[str, Head], source: str) -> dict[str, Labels]:
    """Labels for the tasks whose classes have the names of the folders in the root, in any case.

    Pictures in the root itself have no label.

    Raises:
        DataError: if there is a task with classes, but none that has all the folders' names.
    """
    tops = [folder.partition(b"/")[0].decode() for folder in tree.folders.tolist()]
    labels: dict[str, Labels] = {}
    strange = []
    for task, head in heads.items():
        if head.members or label_kind(head) != "class":
            continue
        classes = head.meaning()["classes"]
        ids = {name.casefold(): float(number) for number, name in enumerate(classes)}
        unknown = sorted({top for top in tops if top and top.casefold() not in ids})
        if unknown:
            hint = suggestion(unknown[0], classes)
            strange.append(
                f"{source}: class_folders: folder {unknown[0]!r} must be a class of task {task!r}{hint}"
            )
            continue
        values = np.array([ids.get(top.casefold(), np.nan) for top in tops])
        labels[task] = to_labels(values[tree.owners], head, task, source)
    if strange and not labels:
        raise DataError(*strange)
    return labels


@hookimpl
def mtl_datasets() -> list[type[Dataset]]:
    """The dataset of a folder."""
    return [ImageFolder]
