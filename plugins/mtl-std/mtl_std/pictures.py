"""Encoded pictures to square tensors, and back."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mtl_toolkit import UnreadableSampleError

if TYPE_CHECKING:
    from PIL import Image

JPEG = b"\xff\xd8\xff"


def load_picture(path: str) -> Tensor:
    """Read a picture file: uint8 [3, height, width].

    Raises:
        UnreadableSampleError: if it cannot be read; the message names it and says why.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib would take a tenth of the time
            encoded = file.read()
    except OSError as error:
        raise UnreadableSampleError(f"{path}: {error.strerror}") from None
    return decode_sample(encoded, path)


def decode_sample(encoded: bytes | bytearray, name: str) -> Tensor:
    """Decode a sample's picture: uint8 [3, height, width].

    Raises:
        UnreadableSampleError: if it cannot be decoded; the message names it and says why.
    """
    try:
        return decode(encoded)
    except ValueError as error:
        raise UnreadableSampleError(f"{name}: {error}") from None


def square(picture: Tensor, size: int) -> Tensor:
    """Scale a picture, without keeping its aspect, to uint8 [3, size, size]."""
    from torchvision.transforms.v2 import functional

    scaled: Tensor = functional.resize(picture, [size, size], antialias=True)
    return scaled


def encode(pictures: Tensor, quality: int) -> list[bytes]:
    """Encode pictures (uint8 [n, 3, height, width]) as JPEG, at a quality from 1 to 100."""
    try:
        from torchvision.io import encode_jpeg
    except ImportError:  # see `_decode_jpeg`
        return [_encode_with_pil(picture, quality) for picture in pictures]
    return [encoded.numpy().tobytes() for encoded in encode_jpeg(list(pictures), quality)]


def decode(encoded: bytes | bytearray) -> Tensor:
    """Decode a picture to RGB, upright as its EXIF entry says: uint8 [3, height, width].

    Grey becomes RGB, transparency is dropped, 16-bit grey keeps its upper 8 bits; of an animation it is the
    first frame.

    Raises:
        ValueError: if it is no picture, or a damaged one; the message says why.
    """
    if not encoded:
        raise ValueError("the picture is empty (0 bytes)")
    if encoded.startswith(JPEG):
        return _decode_jpeg(encoded)
    # torchvision's PNG decoder ends the process on some damaged files; PIL raises, and is a fifth slower.
    return _decode_with_pil(encoded)


def _decode_jpeg(encoded: bytes | bytearray) -> Tensor:
    # About twice as fast as PIL, which takes its place once torchvision gives up decoding, as 0.29 announces.
    try:
        from torchvision.io import ImageReadMode, decode_image
    except ImportError:
        return _decode_with_pil(encoded)
    # Of bytes, which are read-only, torch makes no tensor.
    writable = encoded if isinstance(encoded, bytearray) else bytearray(encoded)
    data = torch.frombuffer(writable, dtype=torch.uint8)
    try:
        picture: Tensor = decode_image(data, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    except RuntimeError:
        return _decode_with_pil(encoded)  # it knows more variants, and says better what is wrong
    return picture


def _encode_with_pil(picture: Tensor, quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _decode_with_pil(encoded: bytes | bytearray) -> Tensor:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            pixels = _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise ValueError("is not a picture, or of an unknown format") from None
    except Exception as error:  # PIL lets through whatever the parser of a format stumbles over
        raise ValueError(f"the picture cannot be decoded ({' '.join(str(error).split())})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _rgb(image: Image.Image) -> np.ndarray:
    """The pixels as uint8 [height, width, 3]."""
    if image.mode == "F" or image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 0xFFFF:
            raise ValueError("grey values must have at most 16 bits")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # else PIL warns about every such palette
    return np.array(image.convert("RGB"))
