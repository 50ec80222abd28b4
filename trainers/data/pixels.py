"""Decodes an image file to pixels, and defines how images are converted and resized.

An image is rotated by its EXIF orientation (JPEG and WebP). Grey stays grey; palettes, CMYK and
YCbCr become RGB. Transparent pixels get a white background. Of an animation the first image counts.
More than 8 bits a channel are rejected, because the conversion to 8 bits is the user's choice.

To a size S: a triangle filter with antialiasing (Pillow's BILINEAR) resizes the shorter side to S
pixels, and the square in the middle is kept. A JPEG with a shorter side of 4 S pixels or more is
decoded at a half, a quarter or an eighth, where it still has 2 S or more. RULE is the version of
these rules.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, features
from PIL import __version__ as pillow

from trainers.data.files import Refuse

RULE = 1
DECODERS = [pillow, *(features.version(name) or "" for name in ("libjpeg_turbo", "jpg", "webp"))]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
GREY = ("1", "L", "LA")
COLOUR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
TURNED = ("JPEG", "MPO", "WEBP")  # elsewhere Pillow decodes the whole image to find it
ORIENTATION = 0x0112
MAX_SIDE = 1024  # without a size
MAX_PIXELS = 100_000_000  # with a size; a decoded image of three channels then has 300 MB


@dataclass(frozen=True)
class ImageShape:
    """An image's properties from the file's first bytes, after rotation."""

    height: int
    width: int
    colour: bool

    def __str__(self) -> str:
        return f"{self.height} x {self.width} pixels, {'colour' if self.colour else 'grey'}"


def form(encoded: bytes, refuse: Refuse) -> ImageShape:
    """Returns the form of an image file, without decoding it.

    Raises:
        ConfigError: the file is not an image of a supported format and mode.
    """
    try:
        with _opened(encoded) as image:
            width, height = image.size
            if _turn(image) > 4:
                width, height = height, width
            mode = image.mode
    except Exception as error:  # Pillow's decoders raise exceptions of any type
        raise _undecodable(error, refuse) from error
    if mode not in GREY + COLOUR:
        reason = f"has Pillow's mode {mode}, more than 8 bits a channel or an unusual colour space"
        raise refuse(f"{reason}: convert it to 8 bits, grey or RGB")
    return ImageShape(height, width, mode in COLOUR)


def check_pixels(form: ImageShape, size: int | None, refuse: Refuse) -> None:
    """Checks that an image is small enough to decode.

    Raises:
        ConfigError: it is too large.
    """
    shown = f"has {form.width} x {form.height} pixels"
    if size is None and max(form.height, form.width) > MAX_SIDE:
        raise refuse(f"{shown}, at most {MAX_SIDE} a side: set data.size, and all are reduced")
    if form.height * form.width > MAX_PIXELS:
        raise refuse(f"{shown}, at most {MAX_PIXELS:,} are decoded: reduce it or leave it out")


def decode(encoded: bytes, size: int | None, refuse: Refuse, *, colour: bool) -> np.ndarray:
    """Decodes an image file: uint8, (H, W), or (H, W, 3) in colour.

    Args:
        encoded: the file's content; `form` and `check_pixels` have accepted it.
        size: pixels a side, or None to keep its size.
        refuse: makes the error.
        colour: whether to return three channels.

    Raises:
        ConfigError: it is truncated or damaged.
    """
    try:
        with _opened(encoded) as image:
            if size is not None and image.format in ("JPEG", "MPO"):
                image.draft(image.mode, (2 * size, 2 * size))
            upright = ImageOps.exif_transpose(image) if _turn(image) > 1 else image
            flat = plain(upright, "RGB" if colour else "L")
            return np.array(flat if size is None else _square(flat, size))
    except Exception as error:  # Pillow's decoders raise exceptions of any type
        raise _undecodable(error, refuse) from error


def _opened(encoded: bytes) -> Image.Image:
    return Image.open(io.BytesIO(encoded), formats=FORMATS)


def _turn(image: Image.Image) -> int:
    """The orientation, 1 to 8; above 4 height and width are exchanged."""
    found = image.getexif().get(ORIENTATION) if image.format in TURNED else None
    return found if isinstance(found, int) and found in range(1, 9) else 1


def plain(image: Image.Image, mode: str) -> Image.Image:
    """An image in mode L or RGB, with a white background where it is transparent."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(opaque, image.convert("RGBA"))
    return image.convert(mode)


def _square(image: Image.Image, size: int) -> Image.Image:
    """Resizes the largest centred square to size x size pixels; computes no other pixels."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=middle)


def _undecodable(error: Exception, refuse: Refuse) -> Exception:
    reason = str(error) if "BytesIO" not in str(error) else "not a JPEG, PNG, WebP or BMP"
    return refuse(f"cannot be decoded ({reason}): replace or leave it out")
