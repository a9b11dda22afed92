"""A picture changed within a mask, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from pack import error, module

from reflectionflow_core.regions.masks import mask_picture

masks = module("comfy.masks")
within_mask, feathered = masks.within_mask, masks.feathered


def pictures(channels: int, height: int = 40, width: int = 56) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture with values between those that a file can hold, and its replacement."""
    noise = torch.Generator().manual_seed(1)
    before = torch.rand(1, height, width, channels, generator=noise)
    return before, torch.rand(1, height, width, 3, generator=noise)


def disc(height: int = 40, width: int = 56, radius: int = 12) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((y - 20) ** 2 + (x - 20) ** 2 < radius**2).float()[None]


@pytest.mark.parametrize("feather", [0, 1, 5, 64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_outside_every_value_is_bit_for_bit_the_original_and_inside_some_change(
    channels: int, feather: int
) -> None:
    before, after = pictures(channels)
    mask = disc()
    result = within_mask(before, after, mask, feather)
    kept = before.expand(-1, -1, -1, 3) if channels == 1 else before
    outside = mask[..., None].expand_as(kept) == 0
    assert torch.equal(result[outside], kept[outside])
    middle = (0, 20, 20, slice(0, 3))
    assert torch.equal(result[middle], after[middle])


def test_without_a_feather_everything_inside_is_the_new_picture() -> None:
    before, after = pictures(3)
    inside = disc()[..., None].expand_as(before) == 1
    assert torch.equal(within_mask(before, after, disc(), 0)[inside], after[inside])


def test_a_feather_rises_pixel_by_pixel_from_the_edge() -> None:
    mask = torch.zeros(1, 9, 20)
    mask[:, :, 10:] = 1
    shares = feathered(mask, 3)[0, 4, 8:16]
    assert shares.tolist() == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1]


def test_the_edge_of_the_picture_is_no_edge_of_the_mask() -> None:
    assert torch.equal(feathered(torch.ones(1, 9, 9), 3), torch.ones(1, 9, 9))


def test_a_soft_mask_stays_as_soft_as_it_is() -> None:
    before, after = pictures(3)
    half = torch.full((1, 40, 56), 0.5)
    assert torch.allclose(within_mask(before, after, half, 0), (before + after) / 2)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (torch.zeros(1, 40, 56), "The mask is empty"),
        (torch.full((1, 40, 56), float("nan")), "The mask is empty"),
        (torch.ones(2, 40, 56), r"and this one has \(2, 40, 56\)"),
        (torch.ones(1, 0, 0), r"and this one has \(1, 0, 0\)"),
        (torch.ones(1, 40, 56, 3), r"and this one has \(1, 40, 56, 3\)"),
    ],
)
def test_a_mask_that_is_none_is_refused(mask: torch.Tensor, said: str) -> None:
    with pytest.raises(error(), match=said):
        within_mask(*pictures(3), mask, 4)


def test_a_mask_without_a_batch_is_taken() -> None:
    before, after = pictures(3)
    flat, batch = (within_mask(before, after, mask, 2) for mask in (disc()[0], disc()))
    assert torch.equal(flat, batch)


def test_boxes_of_a_detector_become_a_mask_whatever_they_are_packed_in() -> None:
    before, _ = pictures(3)
    box = {"x": 3.5, "y": -2, "width": 10, "height": 6.2, "label": "dog", "score": 0.9}
    wanted = torch.zeros(1, 40, 56)
    wanted[:, :5, 3:14] = 1
    for packed in (box, [box], [[box], []]):
        assert torch.equal(masks.mask_of_boxes(packed, before), wanted)


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[]],
        {"x": 99, "y": 0, "width": 5, "height": 5},
        {"x": float("nan"), "y": 0, "width": 5, "height": 5},
        {"x": 0, "y": 0, "width": float("inf"), "height": 5},
        "dog",
        [3],
    ],
)
def test_boxes_that_say_nothing_are_refused(boxes: object) -> None:
    with pytest.raises(error("InputError"), match="bounding box"):
        masks.mask_of_boxes(boxes, pictures(3)[0])


def test_a_mask_becomes_the_text_of_settings_and_back() -> None:
    text = masks.as_mask_text(disc())
    back = mask_picture(text)
    assert back.size == (56, 40) and set(back.tobytes()) == {0, 255}
