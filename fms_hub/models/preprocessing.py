"""transformers' preprocessor_config.json read as an InputSpec, and written from one."""

from __future__ import annotations

from typing import Any

from fms_hub.errors import CandidateError
from fms_hub.models.model import InputSpec

# The numbers of PIL.Image.Resampling, which preprocessor_config.json stores.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_HALF = (0.5, 0.5, 0.5)
_FALLBACK_SIZE = 224


def read(preprocessor: dict[str, Any], model: dict[str, Any], image_size: int | None) -> InputSpec:
    """How a transformers checkpoint wants its images.

    Where the checkpoint has no preprocessor, transformers' own defaults stand in: mean and standard deviation
    0.5, bilinear, the model's image size or 224.

    Args:
        preprocessor: preprocessor_config.json; empty where there is none.
        model: config.json.
        image_size: pixels that replace the checkpoint's own, or None.

    Raises:
        CandidateError: a size that is not square, or statistics that are not of three channels.
    """
    target = preprocessor.get("size", model.get("image_size", _FALLBACK_SIZE))
    shorter_side = _pixels(target)
    own_size = _pixels(preprocessor["crop_size"]) if preprocessor.get("do_center_crop") else shorter_side
    crop = own_size / shorter_side if own_size < shorter_side else 1.0
    return InputSpec(
        size=image_size or own_size,
        mean=_channels(preprocessor.get("image_mean", _HALF)),
        std=_channels(preprocessor.get("image_std", _HALF)),
        interpolation=_FILTERS.get(preprocessor.get("resample", 2), "bilinear"),
        crop=float(preprocessor.get("crop_pct") or crop),
    )


def write(spec: InputSpec) -> dict[str, Any]:
    """The preprocessor_config.json for an InputSpec; `read` gives the same back but for rounding the crop."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": round(spec.size / spec.crop)},
        "resample": next(number for number, name in _FILTERS.items() if name == spec.interpolation),
        "do_center_crop": True,
        "crop_size": {"height": spec.size, "width": spec.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }


def _pixels(size: int | list[int] | dict[str, int]) -> int:
    values = set(size.values() if isinstance(size, dict) else size if isinstance(size, list) else [size])
    if len(values) != 1 or not all(isinstance(value, int) and value > 0 for value in values):
        raise CandidateError(
            f"expected one square image size in pixels in the checkpoint's config, found {size}."
        )
    return values.pop()


def _channels(values: Any) -> tuple[float, ...]:
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        raise CandidateError(f"expected image statistics for 3 colour channels, found {values}.")
    return tuple(float(value) for value in values)
