"""Reads files that somebody sent: every size is looked at before anything grows, and every fault has a name.

Nothing here opens a path that the content names, follows a link, or believes a count.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fms_hub.corpus.schema import Fault

MOST_FILES: Final = 300
MOST_BYTES: Final = 2**27
"""Of all files of a contribution."""
MOST_ROWS: Final = 200_000
MOST_UNPACKED: Final = 2**29
"""Bytes that the columns of one table may take."""
LONGEST_TEXT: Final = 4096
LONGEST_BYTES: Final = 2**20
_MOST_GROUPS: Final = 64
_CODECS: Final = frozenset({"UNCOMPRESSED", "ZSTD", "SNAPPY"})
_NAMES: Final = re.compile(
    r"manifest\.jsonl|README\.md|tasks\.parquet|candidates\.parquet"
    r"|shard-[0-9a-f]{12}(\.sketches)?\.parquet|structures/[0-9a-f]{16}\.json\.gz"
)
_LIMITS: Final = {
    "manifest.jsonl": 2**22,
    "README.md": 2**16,
    "tasks.parquet": 2**20,
    "candidates.parquet": 2**20,
}
_BROKEN: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    MemoryError,
    OverflowError,
    RecursionError,
)
"""What pyarrow and json raise over nonsense."""


def read_files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by name.

    Raises:
        Fault: a link or device, a name that a contribution does not have, too many or too large files.
    """
    found: dict[str, bytes] = {}
    sizes: dict[str, Path] = {}
    for path, mode, size in _entries(folder, folder):
        name = path.relative_to(folder).as_posix()
        if not stat.S_ISREG(mode):
            raise Fault(f"{name[:80]!r} is no plain file")
        check_name(name, size)
        sizes[name] = path
        if len(sizes) > MOST_FILES:
            raise Fault(f"there are more than {MOST_FILES} files")
    total = 0
    for name, path in sizes.items():
        with path.open("rb") as file:
            found[name] = file.read(MOST_BYTES - total + 1)
        total += len(found[name])
        if total > MOST_BYTES:
            raise Fault(f"the files have more than {MOST_BYTES} bytes")
    return found


def _entries(folder: Path, root: Path) -> list[tuple[Path, int, int]]:
    """Path, mode and size of what lies below, without following links; at most one folder deep."""
    listed: list[tuple[Path, int, int]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) and folder == root:
                    listed += _entries(Path(entry.path), root)
                else:
                    listed.append((Path(entry.path), status.st_mode, status.st_size))
                if len(listed) > MOST_FILES:
                    raise Fault(f"there are more than {MOST_FILES} files")
    except OSError as error:
        raise Fault(f"the folder cannot be read ({error.strerror})") from error
    return listed


def check_name(name: str, size: int) -> None:
    """Refuse a file by its name and size.

    Raises:
        Fault: a contribution has no such file, or none so large.
    """
    if not _NAMES.fullmatch(name):
        raise Fault(f"{name[:80]!r} is no file of a contribution")
    if size > _LIMITS.get(name, MOST_BYTES):
        raise Fault(f"{name} has {size} bytes, more than {_LIMITS.get(name, MOST_BYTES)}")


def read_json(content: bytes, what: str) -> Any:
    """Parse JSON without NaN, infinity and doubled keys.

    Raises:
        Fault: it is anything else.
    """
    try:
        return json.loads(content, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError, MemoryError) as error:
        raise Fault(f"{what} is no plain JSON") from error


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def inflate(content: bytes, most: int, what: str) -> bytes:
    """Unpack gzip.

    Raises:
        Fault: it is damaged, has something behind its end, or unpacks to more than `most` bytes.
    """
    inflater = zlib.decompressobj(wbits=31)
    try:
        raw = inflater.decompress(content, most)
    except zlib.error as error:
        raise Fault(f"{what} is no gzip") from error
    if not inflater.eof or inflater.unused_data:
        raise Fault(f"{what} unpacks to more than {most} bytes, or not to its end")
    return raw


def read_parquet(content: bytes, schema: pa.Schema, what: str, most_rows: int = MOST_ROWS) -> pa.Table:
    """Read a parquet file of exactly these columns.

    Texts are read as dictionaries first, and spread out only after their lengths were added up.

    Raises:
        Fault: other columns or types, nulls where none may be, too many rows, values that are too long,
            more bytes than expected, damage.
    """
    try:
        table = _read_parquet(content, schema, what, most_rows)
        table.validate(full=True)
    except Fault:
        raise
    except _BROKEN as error:
        raise Fault(f"{what} cannot be read ({type(error).__name__})") from error
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise Fault(f"{what}: column {field.name!r} has nulls")
    return table


def _read_parquet(content: bytes, schema: pa.Schema, what: str, most_rows: int) -> pa.Table:
    texts = [field.name for field in schema if _is_text(field.type)]
    file = pq.ParquetFile(
        pa.BufferReader(content),
        read_dictionary=texts,
        thrift_string_size_limit=2**20,
        thrift_container_size_limit=2**16,
    )
    found = pq.read_schema(pa.BufferReader(content)).remove_metadata()
    if not found.equals(schema):
        raise Fault(f"{what} has other columns than those of the schema")
    _check_sizes(file.metadata, what, most_rows)
    table = file.read(use_threads=False)
    if table.num_rows > most_rows or table.nbytes > MOST_UNPACKED:
        raise Fault(f"{what} has more rows or bytes than it may")
    table.validate(full=True)
    room = MOST_UNPACKED
    for name in texts:
        room -= _spread(table[name], schema.field(name), what)
        if room < 0:
            raise Fault(f"{what} unpacks to more than {MOST_UNPACKED} bytes")
    return table.cast(schema)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _check_sizes(metadata: pq.FileMetaData, what: str, most_rows: int) -> None:
    if not 0 <= metadata.num_rows <= most_rows or metadata.num_row_groups > _MOST_GROUPS:
        raise Fault(f"{what} has more than {most_rows} rows or {_MOST_GROUPS} groups of them")
    unpacked = 0
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            if column.compression not in _CODECS:
                raise Fault(f"{what} is packed by {column.compression}")
            if not 0 <= column.num_values <= most_rows or column.total_uncompressed_size < 0:
                raise Fault(f"{what} has a column of impossible size")
            unpacked += column.total_uncompressed_size
    if unpacked > MOST_UNPACKED:
        raise Fault(f"{what} unpacks to more than {MOST_UNPACKED} bytes")


def _spread(column: pa.ChunkedArray, field: pa.Field, what: str) -> int:
    """Bytes that a column of texts takes when each row has its own.

    Raises:
        Fault: a value is longer than it may be.
    """
    longest = LONGEST_TEXT if pa.types.is_string(field.type) else LONGEST_BYTES
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        if (pc.max(lengths).as_py() or 0) > longest:
            raise Fault(f"{what}: column {field.name!r} has a value of more than {longest} bytes")
        total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def names_and_sizes(files: Mapping[str, bytes]) -> None:
    """What `read_files` checks of files on disk, of files in memory.

    Raises:
        Fault: as there.
    """
    if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES:
        raise Fault(f"there are more than {MOST_FILES} files or {MOST_BYTES} bytes")
    for name, content in files.items():
        check_name(name, len(content))
