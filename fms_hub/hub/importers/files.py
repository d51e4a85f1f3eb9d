"""Reading the text files of other programs: nothing is guessed, nothing is unpickled."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fms_hub.errors import UsageError


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
        UsageError: there is no such file, or it is empty or no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}. Name a file that is there."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text ({error.reason}). Export it anew.") from error
    if not text.strip():
        raise UsageError(f"{path} is empty: there is no run in it to import.")
    return text


def read_object(path: Path) -> dict[str, Any]:
    """The one object in a JSON file; NaN and Infinity are read as Python writes them.

    Raises:
        UsageError: as `read_text`; or the file holds something else.
    """
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is no JSON ({error}). Copy it again: it may have been cut off.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} should hold one JSON object, found {type(content).__name__}.")
    return content


def read_table(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a comma-separated file that are not blank, each with the line it ends on; the header first.

    Raises:
        UsageError: as `read_text`; or a cell is too long.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}. Export the table anew.") from error
    return [(line, cells) for line, cells in rows if any(cells)]


def run_folders(source: Path, holds_run: Callable[[Path], bool], expected: str) -> list[Path]:
    """The folders of runs that a source stands for: itself, or those folders in it that hold a run.

    Args:
        source: an existing folder.
        holds_run: whether a folder is that of one run.
        expected: names what such a folder has, for the message.

    Raises:
        UsageError: there is none.
    """
    if holds_run(source):
        return [source]
    found = sorted(path for path in source.iterdir() if path.is_dir() and holds_run(path))
    if not found:
        raise UsageError(f"expected {expected} in {source} or in the folders in it, found none.")
    return found
