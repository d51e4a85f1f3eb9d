"""A surrogate as one safetensors file, read back strictly: every tensor named, shaped, finite, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fms_hub.errors import CheckpointError
from fms_hub.surrogate.forest import Forest
from fms_hub.surrogate.kernel import Group
from fms_hub.surrogate.learned import ByStage, Learned, Range, residual_groups
from fms_hub.surrogate.process import Form, Process
from fms_hub.surrogate.scaling import Scaling

FORMAT_VERSION = 7
Tensors = dict[str, Tensor]
_FOREST = {
    "roots": torch.int32,
    "feature": torch.int16,
    "number": torch.float32,
    "right": torch.int32,
}
"""Arrays of a forest."""
_FORESTS = ("forest", "doubt")
_BY_STAGE = ("lean", "widening")
_DTYPES = {f"learned.{name}.{array}": dtype for name in _FORESTS for array, dtype in _FOREST.items()}
Shape = tuple[int | None, ...]
"""None where any length will do."""


@dataclass(frozen=True)
class Observed:
    """The observations of a surrogate: see `fms_hub.surrogate.surrogate`."""

    x: Tensor
    y: Tensor
    centre: float
    spread: float


@dataclass(frozen=True)
class Content:
    """All that a file holds; None is what the surrogate does not have."""

    name: str
    learned: Learned | None
    parameters: Mapping[str, Tensor] | None
    scaling: Scaling | None
    form: Form | None
    data: Observed | None


def save(path: Path, content: Content) -> None:
    """Write the file, atomically."""
    tensors: Tensors = {}
    config: dict[str, Any] = {"format_version": FORMAT_VERSION, "name": content.name}
    if content.learned is not None:
        config["learned"] = {
            "hyperparameters": list(content.learned.hyperparameters),
            "widths": dict(content.learned.widths),
            "columns": {name: getattr(content.learned, name).columns for name in _FORESTS},
            "range": list(content.learned.range.columns),
        }
        for name in _BY_STAGE:
            by_stage: ByStage = getattr(content.learned, name)
            tensors[f"learned.{name}"] = torch.tensor(by_stage.numbers, dtype=torch.float64)
        tensors |= {
            "learned.range.low": torch.from_numpy(content.learned.range.low),
            "learned.range.high": torch.from_numpy(content.learned.range.high),
        }
        tensors |= _under("learned.parameters", content.learned.parameters)
        for name in _FORESTS:
            tensors |= _forest_tensors(f"learned.{name}", getattr(content.learned, name))
        tensors |= _scaling_tensors("learned.scaling", content.learned.scaling)
    if content.form is not None and content.scaling is not None:
        config["form"] = {"groups": _plain(content.form.groups), "residual": content.form.residual}
        if content.parameters is not None:
            config["fitted"] = True
            tensors |= _under("parameters", content.parameters)
        if content.learned is None:
            tensors |= _scaling_tensors("scaling", content.scaling)
    if content.data is not None:
        config["observed"] = True
        units = torch.tensor([content.data.centre, content.data.spread], dtype=torch.float64)
        tensors |= {"data.x": content.data.x, "data.y": content.data.y, "data.units": units}
    partial = path.with_name(path.name + ".partial")
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"config": json.dumps(config)})
    partial.replace(path)


def load(path: Path) -> Content:
    """Read the file.

    Raises:
        CheckpointError: absent, damaged, of another format version, or with a missing, extra, misshaped or
            non-finite tensor.
    """
    config, tensors = _read(path)
    try:
        expected = _expected(config)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has a damaged header: {error!r}. Get the file again.") from error
    _check(path, tensors, expected)
    try:
        learned = _learned(config["learned"], tensors) if "learned" in config else None
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}. Get the file again.") from error
    form, scaling = None, None
    if "form" in config:
        parameters = None if learned is None else learned.parameters
        form = Form(_groups(config["form"]["groups"]), config["form"]["residual"], parameters)
        scaling = _scaling("scaling", tensors) if learned is None else learned.scaling
    data = None
    if config.get("observed"):
        data = Observed(tensors["data.x"], tensors["data.y"], *tensors["data.units"].tolist())
    fitted = _of("parameters", tensors) if config.get("fitted") else None
    return Content(config["name"], learned, fitted, scaling, form, data)


def header(path: Path) -> dict[str, Any]:
    """What a file says of itself, without its tensors.

    Raises:
        CheckpointError: absent, damaged or of another format version.
    """
    return _read(path, tensors=False)[0]


def _learned(config: Mapping[str, Any], tensors: Tensors) -> Learned:
    forests = {name: _forest(f"learned.{name}", tensors, config["columns"][name]) for name in _FORESTS}
    return Learned(
        tuple(config["hyperparameters"]),
        dict(config["widths"]),
        _scaling("learned.scaling", tensors),
        forests["forest"],
        forests["doubt"],
        _of("learned.parameters", tensors),
        Range(
            tuple(config["range"]),
            tensors["learned.range.low"].numpy(),
            tensors["learned.range.high"].numpy(),
        ),
        **{name: ByStage(*tensors[f"learned.{name}"].tolist()) for name in _BY_STAGE},
    )


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], Tensors]:
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("config", "{}"))
            found = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is not a surrogate: {error}. Give a file written by Surrogate.save."
        ) from error
    version = config.get("format_version") if isinstance(config, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has surrogate format version {version}, this release reads {FORMAT_VERSION}; "
            "get a surrogate made for it, or another release of fms_hub."
        )
    return config, found


def _expected(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Shape by tensor name."""
    shapes: dict[str, Shape] = {}
    if "learned" in config:
        widths = config["learned"]["widths"]
        form = Form(residual_groups(widths), residual=True)
        shapes |= _parameter_shapes("learned.parameters", form)
        shapes |= _scaling_shapes("learned.scaling", widths)
        shapes |= {f"learned.{name}.{array}": (None,) for name in _FORESTS for array in _FOREST}
        ends = (len(config["learned"]["range"]),)
        shapes |= {"learned.range.low": ends, "learned.range.high": ends}
        shapes |= {f"learned.{name}": (len(fields(ByStage)),) for name in _BY_STAGE}
    if "form" in config:
        form = Form(_groups(config["form"]["groups"]), config["form"]["residual"])
        if config.get("fitted"):
            shapes |= _parameter_shapes("parameters", form)
        if "learned" not in config:
            shapes |= _scaling_shapes("scaling", {group.name: group.width for group in form.groups})
        if config.get("observed"):
            shapes |= {"data.x": (None, form.width), "data.y": (None,), "data.units": (2,)}
    return shapes


def _parameter_shapes(prefix: str, form: Form) -> dict[str, Shape]:
    blank = Process(
        torch.zeros(1, form.width, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), form
    )
    return _shapes(prefix, dict(blank.named_parameters()))


def _shapes(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {f"{prefix}.{name}": tuple(value.shape) for name, value in tensors.items()}


def _scaling_shapes(prefix: str, widths: Mapping[str, int]) -> dict[str, Shape]:
    return {f"{prefix}.{field.name}": (widths[field.name.split("_")[0]],) for field in fields(Scaling)}


def _check(path: Path, tensors: Tensors, expected: Mapping[str, Shape]) -> None:
    for name in sorted(set(expected) ^ set(tensors)):
        raise CheckpointError(
            f"{path}: tensor {name} is {'missing' if name in expected else 'not expected'}."
        )
    for name, shape in expected.items():
        found = tuple(tensors[name].shape)
        if len(found) != len(shape) or any(e not in (None, f) for e, f in zip(shape, found, strict=True)):
            raise CheckpointError(f"{path}: tensor {name} has shape {found}, expected {shape}.")
        dtype = _DTYPES.get(name, torch.float64)
        if tensors[name].dtype != dtype:
            raise CheckpointError(f"{path}: tensor {name} is {tensors[name].dtype}, expected {dtype}.")
        if not bool(tensors[name].isfinite().all()):
            raise CheckpointError(f"{path}: tensor {name} holds NaN or infinite values.")


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _of(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _forest_tensors(prefix: str, forest: Forest) -> Tensors:
    return {f"{prefix}.{array}": torch.from_numpy(getattr(forest, array)) for array in _FOREST}


def _forest(prefix: str, tensors: Tensors, columns: int) -> Forest:
    arrays = {array: tensors[f"{prefix}.{array}"].numpy() for array in _FOREST}
    return Forest(**arrays, columns=columns)


def _scaling_tensors(prefix: str, scaling: Scaling) -> Tensors:
    return {f"{prefix}.{name}": torch.from_numpy(value) for name, value in asdict(scaling).items()}


def _scaling(prefix: str, tensors: Tensors) -> Scaling:
    return Scaling(**{f.name: tensors[f"{prefix}.{f.name}"].numpy() for f in fields(Scaling)})


def _plain(groups: tuple[Group, ...]) -> list[dict[str, Any]]:
    return [asdict(group) for group in groups]


def _groups(plain: list[dict[str, Any]]) -> tuple[Group, ...]:
    return tuple(Group(**group) for group in plain)
