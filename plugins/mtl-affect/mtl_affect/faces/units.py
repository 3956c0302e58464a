"""Action units shaped for drawing."""

import attrs
import numpy as np
import numpy.typing as npt
import torch


@attrs.frozen(eq=False)
class Units:
    """Intensities 0..1 of the action units, in the order of ACTION_UNITS; [n, 1, 1] each."""

    au1: torch.Tensor
    au2: torch.Tensor
    au4: torch.Tensor
    au6: torch.Tensor
    au7: torch.Tensor
    au10: torch.Tensor
    au12: torch.Tensor
    au15: torch.Tensor
    au23: torch.Tensor
    au24: torch.Tensor
    au25: torch.Tensor
    au26: torch.Tensor


def split_units(aus: npt.NDArray[np.float32]) -> Units:
    """Units from intensities [n, 12]."""
    return Units(*(column[:, None, None] for column in torch.from_numpy(aus).unbind(1)))
