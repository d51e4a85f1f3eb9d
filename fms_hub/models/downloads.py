"""What fetching candidates from the Hub would take, and under which terms: asked before anything large is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from fms_hub.errors import Unreachable, UsageError
from fms_hub.models import bundle, remote
from fms_hub.records import Candidate

_UNITS: Final = {"": 1, "b": 1} | {
    f"{letter}{middle}b": base**power
    for power, letter in enumerate("kmgt", start=1)
    for middle, base in (("", 1000), ("i", 1024))
}
_SIZE: Final = re.compile(r"([0-9]*\.?[0-9]+)\s*([a-z]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Terms:
    """A candidate's terms and what is still to be fetched of it.

    Attributes:
        licence: of its weights, as the Hub or the bundle names it; None if unknown, or if it has no weights.
        gated: whether its authors ask for consent first; None if the Hub could not be asked.
        bytes: of its weights on the Hub that are not on this disk.
    """

    licence: str | None
    gated: bool | None
    bytes: int


def terms_of(candidates: Iterable[Candidate]) -> dict[str, Terms]:
    """The terms of each candidate by its name; once the Hub cannot be reached, those of the rest are unknown.

    Raises:
        HubError: a repository is closed to this user, or gone.
        CandidateError: the list of a candidate's shards is unreadable.
    """
    bundled = bundle.entries()
    found, reachable = {}, True
    for candidate in candidates:
        if candidate.location is None or candidate.revision is None:
            entry = bundled.get(candidate.name)
            found[candidate.name] = Terms(None if entry is None else entry.licence, False, 0)
            continue
        try:
            known = _ask(candidate.location, candidate.revision) if reachable else None
        except Unreachable:
            known, reachable = None, False
        found[candidate.name] = known or Terms(None, None, 0)
    return found


def require_within(terms: Mapping[str, Terms], most: str | int | None, *, shown: bool) -> None:
    """Tell on standard error what is to be downloaded, and refuse what is more than is allowed.

    Args:
        terms: by the candidate's name.
        most: bytes, or text like ``"500MB"`` (see `parse_bytes`); None allows any number.
        shown: whether to tell it.

    Raises:
        UsageError: the candidates need more, or the text is no number of bytes.
    """
    limit = None if most is None else parse_bytes(most)
    due = {name: item for name, item in terms.items() if item.bytes > 0}
    total = sum(item.bytes for item in due.values())
    if limit is not None and total > limit:
        largest = sorted(due, key=lambda name: -due[name].bytes)[:3]
        raise UsageError(
            f"the candidates need {in_words(total)} of downloads, more than max_download, {in_words(limit)}; "
            f"largest: {', '.join(f'{name} ({in_words(due[name].bytes)})' for name in largest)}. Nothing was "
            "downloaded. Allow more, or name fewer or smaller candidates."
        )
    if shown and due:
        lines = [
            f"  {in_words(item.bytes):>9}  {name} ({item.licence or 'unknown licence'}"
            f"{', gated' if item.gated else ''})"
            for name, item in due.items()
        ]
        print("\n".join([f"to download: {in_words(total)}", *lines]), file=sys.stderr)


def parse_bytes(text: str | int) -> int:
    """Read ``"500MB"``, ``"1.5 GiB"`` or ``1000``.

    Raises:
        UsageError: the text is none of these, or is negative.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if match is None or match[2].lower() not in _UNITS:
        raise UsageError(f"a size reads like '500MB', '1.5GiB' or a number of bytes; found {text!r}.")
    return int(Decimal(match[1]) * _UNITS[match[2].lower()])  # exact, as a float beyond 9 PB is not


def in_words(size: int) -> str:
    """A number of bytes with three digits: ``"46.8 MB"``."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3f} TB"


def _ask(repo: str, commit: str) -> Terms:
    from fms_hub.hub import client

    facts = client.look_up(repo, commit)
    weights = remote.weight_sizes(repo, commit, facts.sizes)
    due = sum(size for name, size in weights.items() if not client.is_kept(repo, commit, name))
    return Terms(facts.licence, facts.gated, due)
