"""ComfyUI's IMAGE and Pillow pictures, there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pack import error, module
from PIL import Image

tensors = module("comfy.tensors")
to_batch, to_batches, to_pictures = tensors.to_batch, tensors.to_batches, tensors.to_pictures


def every_value() -> Image.Image:
    """A picture in which every value of every channel occurs."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    return Image.fromarray(np.stack([levels, levels[::-1], levels.T], axis=-1))


def grey(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))


def test_every_value_of_a_picture_survives_the_way_there_and_back() -> None:
    picture = every_value()
    there = to_batch([picture])
    assert there.dtype == torch.float32
    assert there.shape == (1, 16, 16, 3)
    assert (there.min(), there.max()) == (0.0, 1.0)
    (back,) = to_pictures([there])
    assert back.tobytes() == picture.tobytes()


def test_the_way_there_and_back_is_exact_in_half_precision_for_what_that_can_hold() -> None:
    halves = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).to(torch.bfloat16)
    (picture,) = to_pictures([halves])
    assert picture.getpixel((0, 0)) == (0, 128, 255)


def test_values_are_rounded_to_the_nearest_and_not_cut_off() -> None:
    pixels = torch.tensor([99.4, 99.6, 254.7]).view(1, 1, 1, 3) / 255
    (picture,) = to_pictures([pixels])
    assert picture.getpixel((0, 0)) == (99, 100, 255)


def test_values_beyond_black_and_white_are_black_and_white() -> None:
    (picture,) = to_pictures([torch.tensor([-0.5, 0.0, 1.5]).view(1, 1, 1, 3)])
    assert picture.getpixel((0, 0)) == (0, 0, 255)


def test_height_comes_before_width() -> None:
    assert to_batch([grey(30, 20)]).shape == (1, 20, 30, 3)
    assert to_pictures([torch.zeros(1, 20, 30, 3)])[0].size == (30, 20)


def test_pictures_of_every_mode_become_rgb() -> None:
    for mode in ("RGB", "RGBA", "L", "P", "1", "CMYK"):
        assert to_batch([grey(4, 4).convert(mode)]).shape == (1, 4, 4, 3)


def test_one_channel_is_grey_and_a_fourth_is_alpha_over_white() -> None:
    (one,) = to_pictures([torch.full((1, 2, 2, 1), 0.2)])
    assert one.getpixel((0, 0)) == (51, 51, 51)
    four = torch.full((1, 2, 2, 4), 0.2)
    four[..., 3] = torch.tensor([[0.0, 0.5], [1.0, 2.0]])
    (seen,) = to_pictures([four])
    shades = [seen.getpixel(place) for place in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert shades == [(255, 255, 255), (153, 153, 153), (51, 51, 51), (51, 51, 51)]


def test_batches_and_lists_come_out_in_their_order() -> None:
    shades = [torch.full((1, 2, 2, 3), n / 255) for n in range(5)]
    given = [torch.cat(shades[:3]), *shades[3:]]
    assert [p.getpixel((0, 0))[0] for p in to_pictures(given)] == [0, 1, 2, 3, 4]


def test_neighbours_of_one_size_share_a_batch_and_nobody_changes_places() -> None:
    pictures = [grey(2, 2), grey(2, 2), grey(4, 2), grey(2, 2)]
    batches = to_batches(pictures)
    assert [tuple(b.shape) for b in batches] == [(2, 2, 2, 3), (1, 2, 4, 3), (1, 2, 2, 3)]
    assert [p.size for p in to_pictures(batches)] == [p.size for p in pictures]


def test_what_a_picture_came_from_is_not_written_to() -> None:
    pixels = torch.full((1, 2, 2, 3), 2.0)
    to_pictures([pixels])
    assert bool((pixels == 2.0).all())


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_values_that_are_no_numbers_are_refused(value: str) -> None:
    pixels = torch.zeros(2, 2, 2, 3)
    pixels[1, 0, 0, 0] = float(value)
    with pytest.raises(error(), match="not numbers"):
        to_pictures([pixels])


@pytest.mark.parametrize(
    "shape", [(2, 2, 3), (1, 2, 2, 2), (1, 3, 2, 2, 3), (0, 2, 2, 3), (1, 0, 2, 3)]
)
def test_what_is_no_picture_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(error(), match=r"has shape \(batch, height, width, 3\)") as refused:
        to_pictures([torch.zeros(shape)])
    assert str(shape) in str(refused.value)
