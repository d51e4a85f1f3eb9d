"""Every kind of image file becomes upright RGB, or an error that says what is wrong."""

from __future__ import annotations

import io
import random
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fms_hub.errors import TaskError
from fms_hub.tasks.decode import decode, shrink


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def photo() -> Image.Image:
    """A smooth image without symmetry, 48 x 32 pixels."""
    y, x = np.mgrid[:32, :48]
    return Image.fromarray(np.stack([5 * x, 7 * y, 2 * (x + y)], axis=2).astype(np.uint8))


def difference(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.mark.parametrize(
    ("kind", "tolerance"), [("PNG", 0), ("BMP", 0), ("PPM", 0), ("TIFF", 0), ("JPEG", 2), ("WEBP", 4)]
)
def test_formats_keep_their_pixels(photo: Image.Image, kind: str, tolerance: float) -> None:
    image = decode(encoded(photo, kind))
    assert image.mode == "RGB"
    assert difference(image, photo) <= tolerance


def test_gray_palette_and_bilevel_become_rgb(photo: Image.Image) -> None:
    gray = photo.convert("L")
    assert difference(decode(encoded(gray, "PNG")), gray.convert("RGB")) == 0
    palette = photo.quantize(64)
    assert difference(decode(encoded(palette, "PNG")), palette.convert("RGB")) == 0
    bilevel = photo.convert("1")
    assert difference(decode(encoded(bilevel, "PNG")), bilevel.convert("RGB")) == 0


def test_alpha_is_composited_on_white() -> None:
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 0] = 200
    pixels[0, :, 3] = [0, 51, 255]  # invisible, one fifth, opaque
    image = decode(encoded(Image.fromarray(pixels), "PNG"))
    assert np.asarray(image)[0].tolist() == [[255, 255, 255], [244, 204, 204], [200, 0, 0]]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_transparent_palette_entries_show_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((1, 0), 1)
    shown = decode(encoded(image, "PNG", transparency=transparency))
    assert np.asarray(shown)[0].tolist() == [[255, 255, 255], [10, 20, 30]]


def test_gray_with_alpha(photo: Image.Image) -> None:
    image = Image.merge("LA", (photo.convert("L"), Image.new("L", photo.size, 0)))
    assert np.asarray(decode(encoded(image, "PNG"))).min() == 255


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_keep_the_upper_eight(kind: str) -> None:
    deep = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    image = decode(encoded(Image.fromarray(deep), kind))
    assert np.asarray(image)[0, :, 1].tolist() == [0, 0, 1, 128, 255]


def test_cmyk(photo: Image.Image) -> None:
    image = decode(encoded(photo.convert("CMYK"), "JPEG", quality=95))
    assert image.mode == "RGB"
    assert difference(image, photo) < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(photo: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo, "JPEG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert np.array_equal(np.asarray(decode(data)), np.asarray(expected))


def test_damaged_exif_does_not_condemn_the_pixels(photo: Image.Image) -> None:
    data = encoded(photo, "PNG", exif=b"Exif\x00\x00nonsense")
    assert difference(decode(data), photo) == 0


def test_first_frame_of_an_animation(photo: Image.Image) -> None:
    data = encoded(photo.convert("L"), "GIF", save_all=True, append_images=[Image.new("L", photo.size)])
    assert difference(decode(data), photo.convert("L").convert("RGB")) == 0


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_truncated_files_are_errors(photo: Image.Image, kind: str) -> None:
    data = encoded(photo.convert("L") if kind == "GIF" else photo, kind)
    with pytest.raises(TaskError, match="cannot be decoded"):
        decode(data[: len(data) * 2 // 3])


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0"])
def test_other_data_is_no_image(data: bytes) -> None:
    with pytest.raises(TaskError, match="is no image of a supported format"):
        decode(data)


def test_unknown_depth_is_refused() -> None:
    with pytest.raises(TaskError, match="32 bits a pixel"):
        decode(encoded(Image.new("F", (4, 4)), "TIFF"))


def test_random_damage_gives_an_image_or_a_task_error(photo: Image.Image) -> None:
    rng = random.Random(0)
    outcomes = set()
    for data in (encoded(photo, kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")):
        for _ in range(60):
            damaged = bytearray(data)
            for _ in range(8):
                damaged[rng.randrange(min(len(data), 200))] = rng.randrange(256)
            try:
                outcomes.add(decode(bytes(damaged)).mode)
            except TaskError:
                outcomes.add("error")
    assert outcomes == {"RGB", "error"}


def test_above_pillows_limit_is_an_error(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32 // 2 - 1)
    with pytest.raises(TaskError, match=r"has 48 x 32 pixels, more than Pillow's limit of 1534"):
        decode(encoded(photo, "PNG"))


def test_huge_but_legal_gives_no_warning(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32 // 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(encoded(photo, "PNG"))
    assert caught == []


def test_no_limit_where_the_user_lifted_it(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode(encoded(photo, "PNG")).size == (48, 32)


def test_side_reduces_the_shorter_side_and_never_enlarges(photo: Image.Image) -> None:
    data = encoded(photo, "PNG")
    assert decode(data, side=16).size == (24, 16)
    assert decode(data, side=32).size == decode(data, side=33).size == (48, 32)
    assert decode(encoded(photo.rotate(90, expand=True), "PNG"), side=16).size == (16, 24)
    assert decode(encoded(Image.new("L", (500, 1)), "PNG"), side=16).size == (500, 1)


def test_reducing_is_antialiased() -> None:
    stripes = Image.fromarray(np.tile(np.array([[0, 255]], dtype=np.uint8), (64, 32)))
    reduced = np.asarray(shrink(stripes.convert("RGB"), 8), dtype=float)
    assert np.abs(reduced - 127.5).max() < 8


@pytest.mark.parametrize(("size", "side"), [((1203, 801), 32), ((180, 120), 40), ((180, 120), 59)])
def test_draft_of_a_large_jpeg_shows_the_same(photo: Image.Image, size: tuple[int, int], side: int) -> None:
    data = encoded(photo.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=95)
    reduced = decode(data, side=side)
    assert min(reduced.size) == side
    assert difference(reduced, shrink(decode(data), side)) < 1.5


def test_draft_of_a_turned_jpeg(scans: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scan = Image.fromarray(scans[0]).resize((400, 600), Image.Resampling.BICUBIC)
    data = encoded(scan, "JPEG", exif=exif, quality=95)
    assert decode(data, side=20).size == (30, 20)
    assert difference(decode(data, side=20), shrink(decode(data), 20)) < 1.5
