"""Images that a user hands over: every form gives the same pixels, others are refused by number."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fms_hub.errors import TaskError
from fms_hub.tasks.pictures import as_images


def test_files_arrays_and_images_show_the_same_pixels(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = as_images([tmp_path / "a.png", str(tmp_path / "a.png"), pixels, Image.fromarray(pixels)])
    assert len(images) == 4
    for i in range(4):
        assert images[i].mode == "RGB"
        np.testing.assert_array_equal(np.asarray(images[i]), pixels)


def test_gray_is_tripled_and_transparency_is_white() -> None:
    images = as_images([np.full((2, 2), 7, dtype=np.uint8), Image.new("RGBA", (2, 2), (0, 0, 0, 0))])
    assert np.unique(images[0]).tolist() == [7]
    assert np.unique(images[1]).tolist() == [255]


@pytest.mark.parametrize(
    ("pictures", "why"),
    [
        ([], "at least one"),
        (["a.png", 3], "image 1.*int"),
        ([np.zeros((2, 2))], r"image 0.*float64 and shape \(2, 2\)"),
        ([np.zeros((2, 2, 4), dtype=np.uint8)], "image 0"),
        ("a.png", "put it in a list"),
    ],
)
def test_other_things_are_refused(pictures: list[object], why: str) -> None:
    with pytest.raises(TaskError, match=why):
        as_images(pictures)  # type: ignore[arg-type]


def test_a_damaged_or_absent_file_is_named_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(TaskError, match=r"broken\.png"):
        as_images([tmp_path / "broken.png"])[0]
    with pytest.raises(TaskError, match=r"absent\.png"):
        as_images([tmp_path / "absent.png"])[0]
