"""What lies behind the head."""

import torch

from mtl_affect.faces.canvas import pixel_centres
from mtl_affect.faces.records import Background


def draw_background(background: Background, size: int) -> torch.Tensor:
    """Pictures [n, 3, size, size] of the backgrounds.

    The blend of the two colours is a sum of products of profiles along the axes, so that its detail costs no
    more than its profiles.
    """
    centres = pixel_centres(size)
    across, along = centres[None, None, :], centres[None, :, None]
    amount = (background.level + background.slope_x * across) + background.slope_y * along
    columns, rows = profiles(background.knots_x, centres), profiles(background.knots_y, centres)
    for field in range(columns.shape[1]):
        amount.add_(columns[:, field, None, :] * rows[:, field, :, None])
    amount.add_(_stripes(background, across, background.stripes_x))
    amount.add_(_stripes(background, along, background.stripes_y))
    amount.clamp_(0.0, 1.0)
    return (background.second - background.first).mul(amount[:, None]).add_(background.first)


def profiles(knots: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Smooth interpolation [n, k, size] of knots [n, k, m] spread evenly over -1..1."""
    last = knots.shape[2] - 1
    place = (centres + 1.0) * (0.5 * last)
    below = place.long().clamp(max=last - 1)
    part = place - below
    weight = part * part * (3.0 - 2.0 * part)
    return knots[:, :, below] * (1.0 - weight) + knots[:, :, below + 1] * weight


def _stripes(background: Background, position: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Soft-edged stripes between -amount / 2 and amount / 2 along one axis."""
    phase = position * background.frequency + background.phase
    triangle = (phase - torch.floor(phase) - 0.5).abs() - 0.25
    return (triangle * (12.0 / background.frequency)).clamp(-0.5, 0.5) * amount
