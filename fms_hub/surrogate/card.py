"""What lies beside a surrogate's file for people: its header as config.json, and a card."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fms_hub.surrogate import storage
from fms_hub.surrogate.pretrained import FILE_NAME, TAG

FILE: Final = "README.md"
CONFIG: Final = "config.json"
_CARD: Final = """\
---
library_name: fms_hub
tags:
- {tag}
---
# {name}

A surrogate of fms_hub{kind}: it predicts how fine-tuning runs of image classifiers go on.

```python
import fms_hub

fms_hub.recommend("path/to/images", surrogate="ORGANISATION/NAME")
```
"""


def write(folder: Path) -> None:
    """Write config.json for the surrogate in a folder, and a card where there is none.

    Raises:
        CheckpointError: there is no surrogate, or it is damaged.
        OSError: the folder cannot be written.
    """
    header = storage.header(folder / FILE_NAME)
    (folder / CONFIG).write_text(config(header), encoding="utf-8")
    if not (folder / FILE).exists():
        (folder / FILE).write_text(text(header), encoding="utf-8")


def config(header: dict[str, Any]) -> str:
    """A surrogate's header as JSON, with the version of the library that wrote it."""
    library = {"library_name": "fms_hub", "library_version": version("fms_hub")}
    return json.dumps({**library, **header}, indent=2) + "\n"


def text(header: dict[str, Any]) -> str:
    """The shortest card that tells what the file is."""
    kind = ", meta-trained on logged runs" if "learned" in header else ""
    return _CARD.format(tag=TAG, name=header["name"], kind=kind)
