"""Picture files of every usual kind, read in one way by search, nodes, benchmarks and training.

A picture comes out upright, in 8-bit RGB, on a white background:

* EXIF orientation is applied; damaged EXIF data counts as none.
* 16-bit values keep their upper byte, in grey as in colour.
* Transparent pixels are blended with white, as most viewers show them. The colours that a file
  hides below them have no effect.
* CMYK is converted by the plain formula, without colour management.
* Of an animation the first frame is read.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import IO

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from .record import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
# File endings of these formats, and of others, which are named and not passed over.
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp"),
    *(".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm", ".mpo"),
)
UNREAD = (".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".tga")
MAX_PIXELS = 89_478_485  # from this size on, Pillow warns of a decompression bomb
FAINT = 32  # of 255: more than a JPEG of quality 75 adds around an edge in a mask
OVERSIZED = f"it has more than {MAX_PIXELS:,} pixels"
_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow's factors for grey values of few bits
_SCALED = ("PNG", "PPM")  # formats whose mode "I" has 16 bits; otherwise its range is unknown


class PictureError(InputError):
    """A file or picture that cannot be used; `reason` is a clause such as "it is damaged"."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The picture cannot be used: {reason}. Save it again, as an 8-bit PNG or JPEG."
        )
        self.reason = reason


def read_picture(data: bytes) -> Image.Image:
    """The complete picture in a file's bytes, upright and in RGB; raises PictureError."""
    image = stored_picture(data)
    with _explained():
        turned = _UPRIGHT.get(_orientation(image))
        picture = to_rgb(image)
        return picture if turned is None else picture.transpose(turned)


def stored_picture(data: bytes) -> Image.Image:
    """The complete picture in its own mode; raises PictureError."""
    with _explained():
        if data.startswith(_PNG):
            # The decoder ignores checksums and returns damaged pixels as if they were fine.
            _opened(BytesIO(data)).verify()
        image = _opened(BytesIO(data))
        _rescale_transparency(image)
        image.load()
        return image


def read_mask(data: bytes) -> Image.Image:
    """The mask in a file's bytes, grey and upright: white where a picture may change.

    Raises PictureError, also for one that is black all over, and for transparent pixels: in one
    program they are what was drawn, in another what was not.
    """
    stored = stored_picture(data)
    with _explained():
        opaque = np.asarray(stored.convert("RGBA"))[..., 3] if stored.has_transparency_data else 255
    if np.min(opaque) < 255:
        raise PictureError("it has transparent pixels, and a mask is only black and white")
    mask = read_picture(data).convert("L").point([0] * FAINT + [*range(FAINT, 256)])
    if mask.getbbox() is None:
        raise PictureError("it is black all over, so nothing may change")
    return mask


def picture_size(stream: IO[bytes]) -> tuple[int, int]:
    """Width and height of a picture file, upright, from its header; raises PictureError."""
    with _explained():
        image = _opened(stream)
        if image.format == "TIFF":
            image.load()  # turns it; whether its size is turned before depends on the version
        width, height = image.size
        return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


def to_rgb(image: Image.Image) -> Image.Image:
    """A Pillow picture of any mode in RGB, on white.

    RGB pictures are copied. PictureError for pixels without a known range.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SCALED):
        return _from_16_bits(image)
    if image.mode in ("I", "F"):
        raise PictureError(f"its pixels are numbers without a known range (mode {image.mode})")
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return image.convert("RGB")
    return _on_white(image.convert("RGBA"))


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int32)
    grey = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    hidden = image.info.get("transparency")
    if not isinstance(hidden, int):
        return grey
    grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return _on_white(grey)


def _rescale_transparency(image: ImageFile) -> None:
    """Scales a PNG's transparent colour like its pixels, which Pillow omits."""
    hidden = image.info.get("transparency")
    if not image.tile or image.format != "PNG":
        return
    stored = image.tile[0][3]
    if isinstance(hidden, int) and stored in _GREY_STEPS:
        image.info["transparency"] = hidden * _GREY_STEPS[stored]
    if isinstance(hidden, tuple) and stored == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in hidden)


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _opened(stream: IO[bytes]) -> ImageFile:
    """The picture from its header, of a usual format and size."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(stream, formats=_formats())
    if image.width * image.height > MAX_PIXELS:  # Pillow's own limit may be turned off
        raise PictureError(OVERSIZED)
    return image


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow reads itself; others run programs, such as EPS."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # any error about damaged EXIF data; the pixels are fine
        return 1


@contextmanager
def _explained() -> Iterator[None]:
    """A context that turns errors of Pillow about a file's bytes into PictureError.

    Its plugins raise SyntaxError, struct.error, zlib.error, IndexError, EOFError, MemoryError and
    others, depending on the version.
    """
    try:
        yield
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(OVERSIZED) from error
    except Image.UnidentifiedImageError as error:
        raise PictureError(f"it is not {', '.join(_formats())}, or it is damaged") from error
    except Exception as error:
        raise PictureError(f"it is damaged: {error or type(error).__name__}") from error


def fitted(picture: Image.Image, unit: int = 16) -> Image.Image:
    """The picture in RGB, with each side the nearest multiple of `unit` pixels."""
    sides = [max(unit, round(side / unit) * unit) for side in picture.size]
    return to_rgb(picture).resize((sides[0], sides[1]), Image.Resampling.BICUBIC)
