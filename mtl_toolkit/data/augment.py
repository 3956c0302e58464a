"""Augmentation of whole batches on the device; each row is changed by its own random numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..config import Augmentation


def augment(pictures: Tensor, noise: Tensor, options: Augmentation, image_size: int) -> Tensor:
    """Crop, mirror and recolour a batch.

    Args:
        pictures: uint8 [rows, 3, side, side] with side at least `image_size`.
        noise: float32 [rows, 16] in [0, 1), each row's own random numbers; a column has one use, so that
            switching an option on changes nothing else.
        options: what to do.
        image_size: side after the crop.

    Returns:
        uint8 [rows, 3, image_size, image_size], in the memory format of `pictures`; the values do not depend
        on it.
    """
    pictures = crop_and_flip(pictures, noise[:, 0], noise[:, 1], noise[:, 2] < options.flip / 2, image_size)
    colour = options.brightness or options.contrast or options.saturation or options.grey
    if colour:
        pictures = _recolour(pictures, noise[:, 3:7], options)
    if options.erase:
        pictures = _erase(pictures, noise[:, 7:12], options.erase)
    return pictures


def crop_and_flip(pictures: Tensor, top: Tensor, left: Tensor, mirror: Tensor, size: int) -> Tensor:
    """Cut a square out of each picture, and mirror some; the memory format stays.

    Args:
        pictures: [rows, channels, height, width].
        top: [rows] in [0, 1), where the square starts between the first and the last possible row.
        left: [rows], likewise for columns.
        mirror: bool [rows].
        size: side of the square.
    """
    height, width = pictures.shape[2:]
    y, x = (top * (height - size + 1)).long(), (left * (width - size + 1)).long()
    # On the host, copying squares is several times as fast as looking up pixels; elsewhere a loop is slow.
    cut = copy_squares if pictures.device.type == "cpu" else gather_squares
    return cut(pictures, y, x, mirror, size)


def copy_squares(pictures: Tensor, y: Tensor, x: Tensor, mirror: Tensor, size: int) -> Tensor:
    """Cut and mirror picture by picture; `y` and `x` are int64 [rows], the rest as in `crop_and_flip`."""
    rows, channels = pictures.shape[:2]
    cut = torch.empty(
        (rows, channels, size, size), dtype=pictures.dtype, memory_format=_memory_format(pictures)
    )
    places = zip(y.tolist(), x.tolist(), mirror.tolist(), strict=True)
    for target, picture, (down, across, mirrored) in zip(cut, pictures, places, strict=True):
        target.copy_(picture[:, down : down + size, across : across + size])
        if mirrored:
            target.copy_(target.flip(2))  # torch turns dense memory about fast, a part of a picture slowly
    return cut


def gather_squares(pictures: Tensor, y: Tensor, x: Tensor, mirror: Tensor, size: int) -> Tensor:
    """The same for all pictures at once, by the place of each pixel."""
    rows, channels, height, width = pictures.shape
    steps = torch.arange(size, device=pictures.device)
    across = x[:, None] + torch.where(mirror[:, None], size - 1 - steps, steps)
    places = ((y[:, None] + steps)[:, :, None] * width + across[:, None, :]).reshape(rows, size * size)
    if _memory_format(pictures) == torch.channels_last:
        pixels = pictures.permute(0, 2, 3, 1).reshape(rows, height * width, channels)
        cut = pixels.gather(1, places[:, :, None].expand(-1, -1, channels))
        return cut.reshape(rows, size, size, channels).permute(0, 3, 1, 2)
    flat = pictures.reshape(rows, channels, height * width)
    return flat.gather(2, places[:, None].expand(-1, channels, -1)).reshape(rows, channels, size, size)


def _memory_format(pictures: Tensor) -> torch.memory_format:
    last = pictures.is_contiguous(memory_format=torch.channels_last) and not pictures.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _recolour(pictures: Tensor, noise: Tensor, options: Augmentation) -> Tensor:
    change = (2 * noise - 1)[:, :, None, None, None]
    image = pictures.float()
    brightness = 1 + options.brightness * change[:, 0]
    image = image * brightness
    # The sum of whole numbers is exact, so it does not depend on the memory format.
    levels = pictures.sum((1, 2, 3), keepdim=True, dtype=torch.int64)
    centre = brightness * (levels / math.prod(pictures.shape[1:]))
    image = centre + (image - centre) * (1 + options.contrast * change[:, 1])
    red, green, blue = image.split(1, dim=1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    image = luma + (image - luma) * (1 + options.saturation * change[:, 2])
    image = torch.where((noise[:, 3] < options.grey)[:, None, None, None], luma, image)
    return image.round().clamp(0, 255).to(torch.uint8)


def _erase(pictures: Tensor, noise: Tensor, share: float) -> Tensor:
    """Blank a rectangle with sides of 0.1 to 0.5 of the picture's (random erasing, Zhong et al., 2020)."""
    side = pictures.shape[-1]
    steps = torch.arange(side, device=pictures.device)
    low = noise[:, 1:3] * side
    high = low + (0.1 + 0.4 * noise[:, 3:5]) * side
    inside_y = (steps >= low[:, :1]) & (steps < high[:, :1])
    inside_x = (steps >= low[:, 1:]) & (steps < high[:, 1:])
    inside = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return torch.where(inside & (noise[:, 0] < share)[:, None, None, None], 127, pictures)
