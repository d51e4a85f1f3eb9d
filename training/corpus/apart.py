"""Reviews a contribution in a process of its own, which may crash, run out of memory or never end.

python -m training.corpus.apart FOLDER [CORPUS]      prints the verdict
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Final

from fms_hub.corpus.schema import Fault
from training.corpus import hostile
from training.corpus.review import Verdict, judge, known_rows

MOST_MEMORY: Final = 4 * 2**30
"""Bytes of data that the process may have."""
MOST_SECONDS: Final = 300.0


def review_apart(folder: Path, corpus: Path | None, source: str, seconds: float = MOST_SECONDS) -> Verdict:
    """The verdict on a folder; a process that ends without one is a fault of the contribution.

    Args:
        folder: of the contribution.
        corpus: folder of shards that it would become a part of, or None.
        source: where it came from.
        seconds: that the review may take.
    """
    command = [sys.executable, "-m", "training.corpus.apart", str(folder.resolve()), source]
    if corpus is not None:
        command.append(str(corpus.resolve()))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return Verdict("", source, False, (f"reviewing it took more than {seconds:g} seconds",))
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [""])[-1][:200]
        return Verdict("", source, False, (f"reviewing it ended with {done.returncode}: {last}",))
    return Verdict.from_json(done.stdout.splitlines()[-1])


def main() -> None:
    """Review within limits and print the verdict."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder, source, *corpus = sys.argv[1:]
    known = known_rows(Path(corpus[0]) if corpus else None)
    try:
        verdict, _ = judge(hostile.read_files(Path(folder)), known, source)
    except Fault as fault:
        verdict = Verdict("", source, False, (str(fault),))
    print(verdict.to_json())


if __name__ == "__main__":
    main()
