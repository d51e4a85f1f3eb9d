"""A checkpoint's tensors one by one: from files on this disk, or from the Hub by ranged requests.

Layout of a safetensors file: 8 bytes (little-endian) with the length N of the header, N bytes of JSON,
the tensors' bytes (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

import torch
from safetensors import safe_open
from torch import Tensor

from fms_hub.errors import CandidateError
from fms_hub.hub import client
from fms_hub.models import folder

_DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_PREFIX: Final = 8
_LONGEST_HEADER: Final = 100_000_000


class Tensors(Protocol):
    """Tensors that can be looked at before they are read."""

    @property
    def layout(self) -> Mapping[str, Tensor]:
        """By name, on the meta device: shapes and types."""

    def read(self, name: str) -> Tensor:
        """The values of one tensor."""


class LocalTensors:
    """The tensors of safetensors files on this disk; a context manager that holds the files open.

    Args:
        files: sound ones, see `fms_hub.models.folder.require_safetensors`.
        device: where tensors are read to.
    """

    def __init__(self, files: tuple[Path, ...], device: str) -> None:
        self._stack = ExitStack()
        self._files = [self._stack.enter_context(safe_open(f, "pt", device=device)) for f in files]
        self._home = {name: file for file in self._files for name in file.keys()}  # noqa: SIM118
        slices = {name: file.get_slice(name) for name, file in self._home.items()}
        self.layout: Mapping[str, Tensor] = {
            name: _meta(tuple(part.get_shape()), part.get_dtype(), name) for name, part in slices.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, name: str) -> Tensor:
        """The values of one tensor, on the device."""
        tensor: Tensor = self._home[name].get_tensor(name)
        return tensor


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: its file, and its bytes in it from `start` up to `stop`."""

    file: str
    start: int
    stop: int
    meta: Tensor


class RemoteTensors:
    """The tensors of a Hub repository; only headers and what is read travel, nothing is kept on disk.

    Args:
        repo: ``"organisation/name"``.
        commit: hash from `fms_hub.hub.client.resolve_revision`.
        device: where tensors are read to.

    Raises:
        CandidateError: the repository has no safetensors, lacks a shard, or a header is unsound.
        HubError: the Hub refused or cannot be reached.
    """

    def __init__(self, repo: str, commit: str, device: str) -> None:
        self._repo, self._commit, self._device = repo, commit, device
        self._places: dict[str, Place] = {}
        for name, size in _remote_files(repo, commit).items():
            self._places |= self._header(name, size)
        self.layout: Mapping[str, Tensor] = {name: place.meta for name, place in self._places.items()}

    def read(self, name: str) -> Tensor:
        """The values of one tensor, on the device: one request, as many bytes as it has."""
        place = self._places[name]
        if place.stop == place.start:
            return torch.empty_like(place.meta, device=self._device)
        content = client.read_range(self._repo, self._commit, place.file, place.start, place.stop)
        flat = torch.frombuffer(content, dtype=place.meta.dtype)
        return flat.view(place.meta.shape).to(self._device)

    def _header(self, file: str, size: int) -> dict[str, Place]:
        where = f"{file} of {self._repo}"
        if size < _PREFIX:
            raise _unsound(where, f"it has {size} bytes")
        prefix = client.read_range(self._repo, self._commit, file, 0, _PREFIX)
        length = int.from_bytes(prefix, "little")
        if not 2 <= length <= min(size - _PREFIX, _LONGEST_HEADER):
            raise _unsound(where, f"it announces a header of {length} bytes in a file of {size}")
        header = client.read_range(self._repo, self._commit, file, _PREFIX, _PREFIX + length)
        return parse_header(bytes(header), size, file, where)


def parse_header(header: bytes, size: int, file: str, where: str) -> dict[str, Place]:
    """Where the tensors of a safetensors file lie, as its header says, if that is possible.

    Args:
        header: the JSON.
        size: bytes of the whole file.
        file: its name, for the places.
        where: its name, for messages.

    Raises:
        CandidateError: no such JSON, or the tensors overlap, leave gaps, do not end where the file
            does, or have other sizes than their shapes.
    """
    try:
        entries = json.loads(header)
    except ValueError as error:
        raise _unsound(where, f"no JSON ({error})") from error
    if not isinstance(entries, dict):
        raise _unsound(where, "no JSON object")
    first = end = _PREFIX + len(header)
    entries.pop("__metadata__", None)
    raw = [(name, *_entry(entry, f"{name!r} in {where}")) for name, entry in entries.items()]
    places = {}
    for name, dtype, shape, start, stop in sorted(raw, key=lambda item: item[3:]):
        meta = _meta(shape, dtype, name)
        if start + first != end or stop - start != meta.numel() * meta.itemsize:
            raise _unsound(
                where, f"{name!r} ({dtype}, {list(shape)}) is said to lie at bytes {start} to {stop}"
            )
        end = first + stop
        places[name] = Place(file, first + start, end, meta)
    if end != size:
        raise _unsound(where, f"its tensors end at byte {end}, the file at byte {size}")
    return places


def _entry(entry: Any, where: str) -> tuple[str, tuple[int, ...], int, int]:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]} if (
            0 <= start <= stop and all(type(size) is int and size >= 0 for size in shape)
        ):
            if math.prod(shape) > _LONGEST_TENSOR:
                raise _unsound(where, f"shape {shape}")
            return dtype, tuple(shape), start, stop
    raise _unsound(where, f"entry {str(entry)[:80]}")


_LONGEST_TENSOR: Final = 2**48
"""Elements; what torch can still count in bytes."""


def _remote_files(repo: str, commit: str) -> dict[str, int]:
    """Names and sizes of the repository's safetensors files."""
    whole = client.remote_size(repo, commit, folder.WEIGHTS)
    if whole is not None:
        return {folder.WEIGHTS: whole}
    index = client.find(repo, commit, folder.SHARDS)
    if index is None:
        raise folder.refuse_pickles(repo)
    names = folder.shard_names(folder.read_json(index), repo)
    sizes = {name: client.remote_size(repo, commit, name) for name in names}
    absent = [name for name, size in sizes.items() if size is None]
    if absent:
        raise CandidateError(f"{repo} lacks the shards {absent[:4]} that its {folder.SHARDS} lists.")
    return {name: size for name, size in sizes.items() if size is not None}


def _meta(shape: tuple[int, ...], dtype: str, name: str) -> Tensor:
    if dtype not in _DTYPES:
        raise CandidateError(
            f"tensor {name!r} is of type {dtype}; expected one of {', '.join(_DTYPES)}. "
            "Save the weights as float32, float16 or bfloat16."
        )
    return torch.empty(shape, dtype=_DTYPES[dtype], device="meta")


def _unsound(where: str, what: str) -> CandidateError:
    return CandidateError(f"{where} is no sound safetensors file: {what}. Its author must upload it again.")
