"""Reconstruction: its blurred targets, decoder, loss and PSNR, each against an independent computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mtl_std.classification import Classification
from mtl_std.reconstruction import SIZES, PeakSignalToNoise, PixelError, Reconstruction, low_pass
from PIL import Image
from torch.distributions import kl_divergence
from torchmetrics.functional.image import peak_signal_noise_ratio

from mtl_toolkit import ConfigError, HeadOutput

HEAD = Reconstruction(size=16)


def pictures(rows: int, side: int = 40, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, 3, side, side), dtype=torch.uint8, generator=generator)


def output(values: torch.Tensor) -> HeadOutput:
    return HeadOutput(values, torch.zeros(len(values), 2))


def gaussian(plane: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur with loops, mirrored at the edges without repeating them."""
    radius = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    for _ in range(2):
        padded = np.pad(plane, ((radius, radius), (0, 0)), mode="reflect")
        plane = np.stack([weights @ padded[row : row + len(weights)] for row in range(len(plane))]).T
    return plane


def test_targets_are_pictures_in_0_to_1_reduced_as_pillow_does():
    inputs = pictures(2)
    found = Reconstruction(size=16, blur=0).target_of(inputs)
    assert found.shape == (2, 3, 16, 16)
    assert found.dtype == torch.float32
    whole = Image.fromarray(inputs[1].permute(1, 2, 0).numpy())
    wanted = np.asarray(whole.resize((16, 16), Image.Resampling.BILINEAR)) / 255
    np.testing.assert_allclose(found[1].permute(1, 2, 0).numpy(), wanted, atol=3 / 255)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
def test_the_blur_is_a_gaussian(sigma):
    drawn = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    wanted = gaussian(drawn[0, 1].double().numpy(), sigma)
    np.testing.assert_allclose(low_pass(drawn, sigma)[0, 1].numpy(), wanted, atol=1e-5)


def test_bytes_and_floats_give_the_same_targets():
    inputs = pictures(3)
    torch.testing.assert_close(HEAD.target_of(inputs.float() / 255), HEAD.target_of(inputs))
    assert HEAD.target_of(inputs.half() / 255).dtype == torch.float32


def test_fine_detail_is_gone_and_colours_stay():
    checks = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    checks[..., ::2, ::2] = checks[..., 1::2, 1::2] = 255
    found = HEAD.target_of(checks)
    assert (found - 0.5).abs().max() < 0.03
    flat = torch.tensor([10, 100, 250], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    torch.testing.assert_close(HEAD.target_of(flat), (flat[..., :16, :16] / 255), atol=1e-5, rtol=0)


def test_the_target_of_a_mirrored_picture_is_the_mirrored_target():
    inputs = pictures(2)
    torch.testing.assert_close(HEAD.target_of(inputs.flip(3)), HEAD.target_of(inputs).flip(3))


def test_a_blur_wider_than_the_picture_is_possible():
    found = Reconstruction(size=8, blur=20).target_of(pictures(1))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("inputs", [torch.zeros(2, 9), torch.zeros(2, 1, 8, 8)])
def test_inputs_that_are_no_pictures_are_refused(inputs):
    with pytest.raises(ConfigError, match="needs pictures of three channels"):
        HEAD.target_of(inputs)


@pytest.mark.parametrize("size", SIZES)
def test_the_decoder_is_light_and_gives_the_size_asked_for(size):
    decoder = Reconstruction(size=size).build(512)
    assert sum(one.numel() for one in decoder.parameters()) < 0.56e6
    features = torch.randn(3, 512)
    found = decoder(features)
    assert found.values.shape == (3, 3, size, size)
    assert torch.equal(found.features, features)


def test_the_loss_is_the_mean_squared_error_of_the_rows_with_a_target():
    values, target = torch.rand(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([True, False, True, True, False]).view(5, 1, 1, 1).expand(target.shape)
    poisoned = torch.where(mask, values, torch.nan).requires_grad_()
    found = PixelError().build(HEAD)(output(poisoned), torch.where(mask, target, torch.nan), mask)
    rows = mask[:, 0, 0, 0]
    torch.testing.assert_close(found, F.mse_loss(values[rows], target[rows]).reshape(1))
    found.sum().backward()
    assert torch.isfinite(poisoned.grad).all()
    assert not poisoned.grad[~rows].any()


def test_psnr_is_that_of_all_pictures_together():
    values, target = torch.rand(2, 6, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    live, mask = PeakSignalToNoise().build(HEAD), torch.ones(target.shape, dtype=torch.bool)
    for rows in (slice(0, 4), slice(4, 6)):
        live.update(output(values[rows]), target[rows], mask[rows])
    wanted = peak_signal_noise_ratio(values, target, data_range=1.0)
    assert live.compute().item() == pytest.approx(wanted.item(), rel=1e-5)
    live.reset()
    live.update(output(values), target, ~mask)
    assert live.compute() == 0
    live.update(output(target), target, mask)
    assert live.compute() == pytest.approx(100)


def test_the_divergence_of_two_reconstructions_is_their_mean_squared_error():
    one, other = torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    errors = ((one - other) ** 2).flatten(1).mean(1, keepdim=True)
    for temperature in (1.0, 2.0):
        apart = kl_divergence(HEAD.distribution(one, temperature), HEAD.distribution(other, temperature))
        torch.testing.assert_close(apart, errors / temperature)


def test_it_has_nothing_to_write():
    values = torch.rand(4, 3, 16, 16)
    assert HEAD.columns == ()
    assert HEAD.predictions(values).shape == (4, 0)


@pytest.mark.parametrize("size", [0, 12, 128])
def test_sizes_are_few(size):
    with pytest.raises(ValueError, match="must be one of 8, 16, 32, 64"):
        Reconstruction(size=size)


@pytest.mark.parametrize("recipe", [PixelError(), PeakSignalToNoise()])
def test_other_heads_have_no_pixels(recipe):
    with pytest.raises(ConfigError, match="needs a head whose outputs are pictures"):
        recipe.build(Classification(classes=("a", "b")))


def error_after_steps(input_norm: bool) -> tuple[float, float]:
    """The loss at first and after some steps of the optimizer of DAN, on features as large as DAN's."""
    torch.manual_seed(0)
    head = Reconstruction(size=16, input_norm=input_norm)
    target = head.target_of(pictures(8, side=16, seed=5))
    features, mask = 20 * torch.randn(8, 64) - 50, torch.ones(target.shape, dtype=torch.bool)
    decoder, loss = head.build(64), PixelError().build(head)
    optimizer = torch.optim.SGD(decoder.parameters(), lr=0.1, momentum=0.9)
    errors = []
    for _ in range(12):
        optimizer.zero_grad()
        found = loss(decoder(features), target, mask).sum()
        (10 * found).backward()
        optimizer.step()
        errors.append(found.item())
    return errors[0], errors[-1]


def test_features_of_any_size_can_be_drawn_from_as_they_are_normalised_first():
    first, last = error_after_steps(input_norm=True)
    assert last < first
    first, last = error_after_steps(input_norm=False)
    assert not last < first


def test_features_that_tell_pictures_apart_are_enough_to_draw_them():
    torch.manual_seed(0)
    head = Reconstruction(size=8, channels=16)
    target = head.target_of(pictures(4, side=4, seed=5))
    features, mask = torch.eye(4, 16), torch.ones(target.shape, dtype=torch.bool)
    decoder, loss = head.build(16), PixelError().build(head)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        found = loss(decoder(features), target, mask).sum()
        found.backward()
        optimizer.step()
    blank = ((target - target.mean()) ** 2).mean()
    assert found < 0.2 * blank
