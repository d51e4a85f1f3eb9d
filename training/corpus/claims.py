"""Who trains which run, where several processes sweep into one folder.

Every sweeping process keeps ``claims/OWNER.runs``, the ids of the runs it is at, one a line, and holds the
lock ``claims/OWNER.lock`` as long as it lives: the system lets go of the lock of a killed process, and
with it of its claims. Finished runs that wait for their shard lie in the journal ``claims/OWNER``, a
folder of shards itself; who comes next takes over the journals of the dead.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from fms_hub.corpus import manifest
from fms_hub.corpus.schema import Fault
from fms_hub.corpus.shards import read_corpus, warn

CLAIMS = "claims"


class Claims:
    """The runs that this process may train.

    Args:
        folder: of the shards; made if absent.

    Raises:
        Fault: the folder has shards of an older schema, whose runs would all be trained again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        corpus = read_corpus(folder)
        warn(corpus)
        old = next((refused for refused in corpus.refused if "schema version 1" in refused.why), None)
        if old is not None:
            raise Fault(f"{folder}: {old.name}: {old.why}. Sweep into another folder.")
        self._done = set(corpus.rows.run)
        self._listed = {entry.shard for entry in corpus.listed}
        self._mine: set[str] = set()
        (folder / CLAIMS).mkdir(parents=True, exist_ok=True)
        self._owner = folder / CLAIMS / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._alive = FileLock(self._owner.with_suffix(".lock"))

    @property
    def journal(self) -> Path:
        """Folder for the finished runs that wait for their shard."""
        return self._owner

    def take(self, run: str) -> bool:
        """Claim a run; False if a shard has it, or another living process is at it."""
        if run in self._done:
            return False
        with manifest.locked(self.folder):
            self._look_again()
            if run in self._done or run in self._of_others():
                return False
            self._mine.add(run)
            self._write()
        return True

    def release(self, runs: Iterable[str]) -> None:
        """Give claims back, of runs that a shard has now."""
        self._mine -= set(runs)
        self._write()

    def _look_again(self) -> None:
        """Take note of shards that others have written; those that were refused before stay so."""
        for entry in manifest.read(self.folder)[0]:
            if entry.shard not in self._listed:
                self._listed.add(entry.shard)
                self._done |= set(entry.runs)

    def _of_others(self) -> set[str]:
        claimed: set[str] = set()
        for path in (self.folder / CLAIMS).glob("*.runs"):
            if path.stem == self._owner.name:
                continue
            lock = FileLock(path.with_suffix(".lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                claimed |= set(path.read_text().split())
                continue
            journal = path.with_suffix("")  # its owner died; what is in its journal is not trained again
            if journal.exists():
                claimed |= {run for entry in manifest.read(journal)[0] for run in entry.runs}
            else:
                path.unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)
            lock.release()
        return claimed

    def orphans(self) -> Iterator[Path]:
        """Journals of dead processes, one after the other; each is removed after it was looked at."""
        for path in sorted((self.folder / CLAIMS).glob("*.lock")):
            lock = FileLock(path)
            try:
                with manifest.locked(self.folder):
                    lock.acquire(timeout=0)
            except Timeout:
                continue
            if path.with_suffix("").exists():
                yield path.with_suffix("")
                shutil.rmtree(path.with_suffix(""))
            path.with_suffix(".runs").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            lock.release()

    def _write(self) -> None:
        self._owner.with_suffix(".runs").write_text("".join(f"{run}\n" for run in sorted(self._mine)))

    def __enter__(self) -> Self:
        with manifest.locked(self.folder):  # nobody takes the lock of a process that is just coming
            self._alive.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.journal.exists():  # it could not be written: whoever comes next takes it over
            self._alive.release()
            return
        self._owner.with_suffix(".runs").unlink(missing_ok=True)
        self._alive.release()
        self._owner.with_suffix(".lock").unlink(missing_ok=True)
