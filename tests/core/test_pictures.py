"""One reader for picture files: right values or one sentence, whatever stands in a file."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from reflectionflow_core.flux.condition import ConditionSettings, resized
from reflectionflow_core.geneval.folder import decoded
from reflectionflow_core.pictures import (
    MAX_PIXELS,
    PictureError,
    picture_size,
    read_mask,
    read_picture,
    to_rgb,
)
from reflectionflow_core.record import InputError
from train.triplets import SampleError, opened

WHITE, RED = (255, 255, 255), (255, 0, 0)
READERS = {
    "core": (read_picture, PictureError),
    "geneval": (lambda data: decoded(data, "it"), InputError),
    "train": (opened, SampleError),
}


def disc(mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", (64, 48), "white")
    ImageDraw.Draw(image).ellipse((12, 6, 44, 38), fill="red")
    return image.convert(mode)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, hidden: bytes = b"") -> bytes:
    """A PNG by the letter; `rows` are the bytes of its only row."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", hidden), (b"IDAT", zlib.compress(b"\0" + rows))]
    chunks = (chunk(*part) for part in (*parts, (b"IEND", b"")) if part[0] != b"tRNS" or hidden)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    return [tuple(pixel) for row in np.asarray(image).tolist() for pixel in row]


@pytest.mark.parametrize("reader", READERS)
def test_grey_of_16_bits_keeps_its_shades(reader: str) -> None:
    shades = np.asarray(disc("L")).astype(np.uint16) * 257
    image = READERS[reader][0](file_of(Image.fromarray(shades)))
    assert image.mode == "RGB"
    assert image.getpixel((28, 22)) == (76, 76, 76)
    assert image.getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_a_condition_of_16_bits_keeps_its_shades(mode: str) -> None:
    image = Image.fromarray(np.full((64, 64), 76 * 257, np.uint16))
    if mode == "I":  # as older versions of Pillow open such a PNG
        image = image.convert("I")
        image.format = "PNG"
    elif mode != image.mode:
        image = Image.frombytes(mode, (64, 64), np.full((64, 64), 76 * 257, ">u2").tobytes())
    seen = resized(image, ConditionSettings(size=64))
    assert set(pixels(seen)) == {(76, 76, 76)}


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_known_range_are_refused(mode: str) -> None:
    with pytest.raises(PictureError, match="without a known range"):
        to_rgb(Image.new(mode, (4, 4), 300))
    with pytest.raises(PictureError, match="without a known range"):
        read_picture(file_of(Image.new(mode, (4, 4), 300), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("reader", READERS)
def test_pictures_are_turned_upright(reader: str, kind: str, orientation: int) -> None:
    upright = Image.fromarray(
        np.kron(np.arange(6).reshape(2, 3) * 50, np.ones((16, 16))).astype("u1")
    )
    upright = upright.convert("RGB")
    stored = {1: (), 2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (2,), 7: (6,), 8: (4,)}[
        orientation
    ]  # the inverse of what a viewer does
    turned = upright.transpose(Image.Transpose(stored[0])) if stored else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(turned, kind, exif=exif, **({"quality": 100} if kind != "PNG" else {}))
    seen = READERS[reader][0](data)
    assert seen.size == upright.size == picture_size(io.BytesIO(data))
    assert np.abs(np.asarray(seen).astype(int) - np.asarray(upright)).max() < 12


def test_damaged_exif_counts_as_none() -> None:
    data = file_of(disc(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert read_picture(data).size == (64, 48) == picture_size(io.BytesIO(data))


@pytest.mark.parametrize("hidden", [WHITE, (0, 0, 0), (9, 200, 9)])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_whatever_is_hidden_below_transparent_pixels_the_ground_is_white(
    hidden: tuple[int, int, int], kind: str
) -> None:
    solid = np.asarray(disc())
    inside = (solid == RED).all(axis=-1)
    rgba = np.dstack([np.where(inside[..., None], solid, hidden), inside * 255]).astype("u1")
    options = {"lossless": True} if kind == "WEBP" else {}
    assert pixels(read_picture(file_of(Image.fromarray(rgba), kind, **options))) == pixels(disc())


def test_half_transparent_pixels_are_blended_with_white() -> None:
    assert pixels(to_rgb(Image.new("RGBA", (1, 1), (0, 100, 200, 51)))) == [(204, 224, 244)]
    assert pixels(to_rgb(Image.new("LA", (1, 1), (0, 51)))) == [(204, 204, 204)]


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (png((2, 1), 1, 0, b"\x40", b"\0\0"), [WHITE, WHITE]),
        (png((2, 1), 1, 0, b"\x40", b"\0\1"), [(0, 0, 0), WHITE]),
        (png((2, 1), 4, 0, b"\x56", b"\0\5"), [WHITE, (102, 102, 102)]),
        (png((2, 1), 8, 0, b"\5\6", b"\0\5"), [WHITE, (6, 6, 6)]),
        (png((2, 1), 16, 0, b"\0\5\6\0", b"\0\5"), [WHITE, (6, 6, 6)]),
        (png((2, 1), 8, 2, b"\5\6\7\5\6\x08", b"\0\5\0\6\0\7"), [WHITE, (5, 6, 8)]),
        (png((1, 1), 16, 2, b"\5\5\6\6\7\7", b"\5\5\6\6\7\7"), [WHITE]),
        (png((1, 1), 16, 2, b"\5\5\6\6\7\7", b"\0\5\0\6\0\7"), [(5, 6, 7)]),
        (png((1, 1), 16, 6, b"\5\5\6\6\7\7\xff\xff"), [(5, 6, 7)]),
        (png((1, 1), 16, 4, b"\5\5\xff\xff"), [(5, 5, 5)]),
    ],
)
def test_every_depth_of_png_has_its_values(data: bytes, seen: list[tuple[int, ...]]) -> None:
    assert pixels(read_picture(data)) == seen


def test_palettes_bilevel_cmyk_and_the_first_frame_of_an_animation_are_seen() -> None:
    palette = disc().quantize(8)
    assert pixels(read_picture(file_of(palette))) == pixels(disc())
    index = palette.getpixel((0, 0))
    black = Image.new("P", palette.size)
    black.putpalette([0, 0, 0] + [255, 0, 0] * 255)
    black.putdata([0 if pixel == index else 1 for pixel in np.asarray(palette).ravel()])
    assert pixels(read_picture(file_of(black, transparency=0))) == pixels(disc())
    assert read_picture(file_of(disc("1"))).getpixel((0, 0)) == WHITE
    cmyk = read_picture(file_of(disc("CMYK"), "JPEG", quality=100))
    assert np.abs(np.asarray(cmyk).astype(int)[20:24, 26:30] - RED).max() < 8
    frames = {"save_all": True, "append_images": [Image.new("RGB", (64, 48), "blue")]}
    for kind in ("GIF", "PNG"):
        assert pixels(read_picture(file_of(disc(), kind, **frames))) == pixels(disc())


def test_oversized_pictures_are_refused_by_their_header() -> None:
    side = int(MAX_PIXELS**0.5)
    for width in (side + 2, 100_000):
        data = png((width, width), 8, 0, b"")
        for read in (read_picture, lambda data: picture_size(io.BytesIO(data))):
            with pytest.raises(PictureError, match="more than 89,478,485 pixels"):
                read(data)


def test_other_formats_are_never_given_to_foreign_programs() -> None:
    with pytest.raises(PictureError, match="it is not PNG, JPEG"):
        read_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_pictures_are_refused(kind: str, reader: str) -> None:
    read, refusal = READERS[reader]
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    data = file_of(Image.fromarray(noise), kind)
    for share in (0.0, 0.1, 0.5, 0.9):
        with pytest.raises(refusal):
            read(data[: int(len(data) * share)])


def test_a_damaged_chunk_of_a_png_is_found_wherever_it_stands() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"rfLw", b"a disc", after_idat=True)
    info.add_itxt("zipped", "a disc " * 20, zip=True)
    data = file_of(disc(), pnginfo=info)
    whole, shown = pixels(read_picture(data)), 0
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        with suppress(PictureError):
            assert pixels(read_picture(damaged)) == whole, at
            shown += 1
    assert shown < 20  # a checksum covers nearly every byte


@pytest.mark.parametrize("reader", READERS)
def test_400_damaged_pngs_and_jpegs_are_pictures_or_one_sentence(reader: str) -> None:
    read, refusal = READERS[reader]
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = [file_of(disc(), "PNG", exif=exif), file_of(disc("P"), "PNG", transparency=0)]
    whole += [file_of(disc(), "JPEG", exif=exif), file_of(disc("CMYK"), "JPEG")]
    refused = 0
    for index in range(400):
        data, draw = bytearray(whole[index % 4]), Random(index)
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        try:
            assert read(bytes(data)).mode == "RGB"
        except refusal:
            refused += 1
    assert 100 < refused < 400


def test_a_mask_is_only_what_was_drawn() -> None:
    drawn = Image.new("L", (64, 64))
    drawn.paste(255, (9, 9, 30, 30))
    noise = read_mask(file_of(drawn, "JPEG", quality=75))
    assert abs(np.asarray(noise, int) - np.asarray(drawn)).max() < 40
    assert noise.getbbox() == drawn.getbbox()
    opaque = Image.merge("RGBA", (drawn, drawn, drawn, Image.new("L", drawn.size, 255)))
    assert read_mask(file_of(opaque)).tobytes() == drawn.tobytes()


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (Image.new("L", (8, 8), 3), "black all over"),
        (Image.new("RGBA", (8, 8), (255, 255, 255, 0)), "transparent pixels"),
        (Image.new("LA", (8, 8), (0, 254)), "transparent pixels"),
    ],
)
def test_a_mask_that_says_nothing_is_refused(mask: Image.Image, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_mask(file_of(mask))


def test_the_sentence_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"^The picture cannot be used: .* Save it again"):
        read_picture(b"")
