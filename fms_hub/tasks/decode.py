"""Image bytes to RGB: every colour mode, orientation and size that can be shown as 8-bit RGB."""

from __future__ import annotations

import io
import math
import struct
import zlib

import numpy as np
from PIL import Image, ImageFile

from fms_hub.errors import TaskError

# Formats without a signature (TGA) and those that start other programs (EPS) are left out.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")

# What Pillow's decoders raise on damaged files; warnings are among it where the user turned them into errors.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,
    Warning,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, *, side: int | None = None) -> Image.Image:
    """Decode one image into an upright one of mode RGB.

    Transparent pixels show white; 16-bit gray keeps its upper 8 bits; of an animation or a document the first
    frame counts; the EXIF orientation is applied.

    Args:
        data: the content of an image file.
        side: the shorter side is reduced to this many pixels (antialiased, never enlarged); None keeps
            the size.

    Raises:
        TaskError: the data is damaged, of no supported format, deeper than 16 bits, or has more pixels than
            Pillow's limit (twice ``PIL.Image.MAX_IMAGE_PIXELS``). The message does not name the image.
    """
    try:
        image = _open(data)
        _check_pixels(image)
        if side is not None:
            _draft(image, side)
        image.load()
        rgb = _upright(to_rgb(image), _orientation(image))
    except _DAMAGE as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"cannot be decoded ({error})") from error
    return rgb if side is None else shrink(rgb, side)


def to_rgb(image: Image.Image) -> Image.Image:
    """Show any mode as RGB: transparency on white, of 16 bits the upper 8.

    Raises:
        TaskError: 32 bits a pixel; the message does not name the image.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        upper = (np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(upper).convert("RGB")
    if image.mode in ("I", "F"):
        raise TaskError(
            f"has 32 bits a pixel (mode {image.mode}), whose range is unknown; convert it to 8 or 16 bits"
        )
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Reduce the shorter side to `side` pixels, antialiased; smaller images come back unchanged."""
    short = min(image.size)
    if short <= side:
        return image
    width, height = (max(1, round(length * side / short)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _open(data: bytes) -> ImageFile.ImageFile:
    # Image.open warns above MAX_IMAGE_PIXELS, and a warning cannot be silenced for one thread alone;
    # therefore the format's own opener is asked here, and the size is checked by `_check_pixels`.
    Image.init()
    for name in _FORMATS:
        if name not in Image.OPEN:
            continue
        factory, accepts = Image.OPEN[name]
        answer = accepts is None or accepts(data[:16])  # a string says why this build cannot read the format
        if answer and not isinstance(answer, str):
            return factory(io.BytesIO(data), "")
    raise TaskError(f"is no image of a supported format ({', '.join(_FORMATS)}); {len(data)} bytes found")


def _check_pixels(image: Image.Image) -> None:
    if Image.MAX_IMAGE_PIXELS is None:
        return
    limit = 2 * Image.MAX_IMAGE_PIXELS
    if image.width * image.height > limit:
        raise TaskError(
            f"has {image.width} x {image.height} pixels, more than Pillow's limit of {limit}; "
            "make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        )


def _draft(image: ImageFile.ImageFile, side: int) -> None:
    # JPEG can be decoded at 1/2, 1/4 or 1/8; twice the wanted size is kept for the antialiased step after it.
    scale = 2 * side / min(image.size)
    if scale < 1:
        image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DAMAGE:
        return 1  # damaged EXIF says nothing about the pixels


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    operation = _UPRIGHT.get(orientation)
    return image if operation is None else image.transpose(operation)


def _on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas
