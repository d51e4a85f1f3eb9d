"""The README.md of a folder of shards: it tells `datasets.load_dataset` which files are which table."""

from __future__ import annotations

from pathlib import Path

from fms_hub.corpus.wholefile import write_whole

CARD = "README.md"
_TABLES = {
    "runs": "shard-????????????.parquet",
    "sketches": "shard-????????????.sketches.parquet",
    "tasks": "tasks.parquet",
    "candidates": "candidates.parquet",
    "probes": "probes.parquet",
    "embeddings": "embeddings.parquet",
}
_TEXT = """
Logged runs of image classifiers with sketches of their checkpoints: `load_dataset(FOLDER)` opens the
runs, `load_dataset(FOLDER, "tasks")` one of the other tables. The columns are described in the section
"The corpus' format" of `training/README.md`; `python -m training.corpus describe FOLDER` counts them.
"""


def write_card(folder: Path, text: str = _TEXT, licence: str | None = None) -> None:
    """Write the card for the tables that are there, if it is not there already.

    Args:
        folder: of shards.
        text: that follows the list of tables.
        licence: of the tables, as the Hub names it.

    Raises:
        OSError: it cannot be written.
    """
    configs = [
        f"- config_name: {name}\n  data_files: {pattern}\n" + ("  default: true\n" if name == "runs" else "")
        for name, pattern in _TABLES.items()
        if any(folder.glob(pattern))
    ]
    head = "" if licence is None else f"license: {licence.lower()}\n"
    content = (f"---\n{head}configs:\n" + "".join(configs) + "---\n" + text).encode()
    path = folder / CARD
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, content)
