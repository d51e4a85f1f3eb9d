"""Images by index, from files, arrays and reduced copies."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fms_hub.errors import TaskError
from fms_hub.tasks.images import (
    ArrayImages,
    EncodedImages,
    Files,
    Images,
    KeptImages,
    ShrunkImages,
    shrunk,
    taken,
)


@pytest.fixture
def files(tmp_path: Path, scans: NDArray[np.uint8]) -> EncodedImages:
    """Forty scans enlarged to various sizes, the even ones coloured."""
    names = []
    for i in range(40):
        image = Image.fromarray(scans[i]).resize((30 + i, 20 + i // 2))
        image = image if i % 2 else Image.merge("RGB", (image, image, Image.new("L", image.size)))
        names.append(f"{i}.png")
        image.save(tmp_path / names[-1])
    return EncodedImages(Files(tmp_path, tuple(names)), np.arange(40))


def pixels(images: Images) -> list[NDArray[np.uint8]]:
    return [np.asarray(images[i]) for i in range(len(images))]


def test_files_are_decoded_by_index(files: EncodedImages) -> None:
    assert len(files) == 40
    assert [image.mode for image in files] == ["RGB"] * 40
    assert files[3].size == (33, 21)


def test_take_selects_by_position(files: EncodedImages, scans: NDArray[np.uint8]) -> None:
    twice = files.take(np.array([5, 3, 1])).take(np.array([2, 0]))
    assert [image.size for image in twice] == [files[1].size, files[5].size]
    arrays = ArrayImages(scans).take(np.array([7, 2]))
    assert np.array_equal(np.asarray(arrays[1])[..., 0], scans[2])


def test_images_of_any_kind_are_taken_by_position(files: EncodedImages, scans: NDArray[np.uint8]) -> None:
    rows = np.array([9, 4])
    for images in (files, ArrayImages(scans), KeptImages(tuple(scans[:10])), ShrunkImages(files, 8)):
        some = taken(images, rows)
        assert len(some) == 2
        assert all(np.array_equal(one, images[int(row)]) for one, row in zip(pixels(some), rows, strict=True))
        with pytest.raises(IndexError):
            some[2]


def test_the_end_is_an_index_error(files: EncodedImages, scans: NDArray[np.uint8]) -> None:
    for images in (files, ArrayImages(scans[:40]), ShrunkImages(files, 8), shrunk(files, 8)):
        with pytest.raises(IndexError):
            images[40]


def test_a_file_that_vanished_is_named(files: EncodedImages, tmp_path: Path) -> None:
    (tmp_path / "4.png").unlink()
    with pytest.raises(TaskError, match=r"the image 4\.png cannot be read \(No such file") as caught:
        files[4]
    assert str(tmp_path) not in str(caught.value)


def test_images_travel_to_other_processes(files: EncodedImages) -> None:
    copy = pickle.loads(pickle.dumps(files))  # noqa: S301 - what data loaders do with our own object
    assert np.array_equal(np.asarray(copy[2]), np.asarray(files[2]))


def test_arrays_of_gray_and_colour(scans: NDArray[np.uint8]) -> None:
    gray, colour = ArrayImages(scans[:2]), ArrayImages(np.stack([scans[:2]] * 3, axis=3))
    assert [image.mode for image in gray] == ["RGB", "RGB"]
    assert np.array_equal(np.asarray(gray[1]), np.asarray(colour[1]))


def test_kept_and_repeated_decoding_show_the_same(files: EncodedImages) -> None:
    kept, repeated = shrunk(files, 12), shrunk(files, 12, limit_bytes=0)
    assert isinstance(kept, KeptImages)
    assert isinstance(repeated, ShrunkImages)
    for a, b in zip(pixels(kept), pixels(repeated), strict=True):
        assert min(a.shape[:2]) == 12
        assert np.array_equal(a, b)


def test_small_images_are_not_enlarged(files: EncodedImages) -> None:
    assert [image.size for image in shrunk(files, 1000)] == [image.size for image in files]


def test_gray_is_kept_in_a_third_of_the_memory(scans: NDArray[np.uint8]) -> None:
    kept = shrunk(ArrayImages(scans[:10]), 8)
    assert isinstance(kept, KeptImages)
    assert sum(array.nbytes for array in kept.arrays) == scans[:10].nbytes


def test_the_limit_is_exact(files: EncodedImages) -> None:
    kept = shrunk(files, 12)
    assert isinstance(kept, KeptImages)
    size = sum(array.nbytes for array in kept.arrays)
    # The extrapolation errs by a few percent, the pass itself does not.
    assert isinstance(shrunk(files.take(np.arange(30)), 12, limit_bytes=size), KeptImages)
    assert isinstance(shrunk(files, 12, limit_bytes=size - 1), ShrunkImages)


def test_what_will_not_fit_is_not_decoded_for_nothing(scans: NDArray[np.uint8]) -> None:
    class Counted:
        """Images that remember which of them were asked for."""

        def __init__(self) -> None:
            self.seen: list[int] = []

        def __len__(self) -> int:
            return 500

        def __getitem__(self, i: int) -> Image.Image:
            self.seen.append(i)
            return Image.fromarray(scans[i]).convert("RGB")

    images = Counted()
    assert isinstance(shrunk(images, 8, limit_bytes=400 * 64), ShrunkImages)
    assert len(images.seen) == 32
    assert (min(images.seen), max(images.seen)) == (0, 499)
    assert isinstance(shrunk(images, 8, limit_bytes=500 * 64), KeptImages)


def test_arrays_can_be_reduced(scans: NDArray[np.uint8]) -> None:
    assert [image.size for image in shrunk(ArrayImages(scans[:3]), 4)] == [(4, 4)] * 3


def test_a_side_of_nothing_is_refused(files: EncodedImages) -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        shrunk(files, 0)
