"""What a refusal of the Hugging Face Hub means and what cures it, and which are worth another try."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeVar

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

# The base of all transport errors: httpx's in huggingface_hub 1.x, httpx2's in 2.x; we depend on neither.
from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]

from fms_hub.errors import HubError, StorageError, Unreachable

__all__ = ["TransportError", "hub_errors", "retried"]

Kind = Literal["model", "dataset"]
T = TypeVar("T")

TRIES: Final = 4
FIRST_WAIT = 1.0
"""Seconds before the second try, about; each further wait is twice as long."""
LONGEST_WAIT: Final = 60.0
_TOO_MANY: Final = 429
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a file cannot grow: the disk, the user's share of it, or the file's limit."""
_WORTH_A_LOOK: Final = (
    HfHubHTTPError,
    TransportError,
    TimeoutError,
    LocalEntryNotFoundError,
    RevisionResolutionError,
)


def retried(call: Callable[[], T]) -> T:
    """What a call returns, tried `TRIES` times at most: again after timeouts, broken connections, 429, 5xx.

    Where huggingface_hub looked into its cache instead and found nothing, what the Hub had answered counts.

    Waits grow twofold, each drawn from half to one and a half times its length, so that many clients do
    not come back at once. A Retry-After of up to `LONGEST_WAIT` seconds is kept to. The last error passes
    as it is.
    """
    wait = FIRST_WAIT
    for _ in range(TRIES - 1):
        try:
            return call()
        except _WORTH_A_LOOK as error:
            if not _is_transient(error):
                raise
            time.sleep(max(_asked_for(error), wait * random.uniform(0.5, 1.5)))
            wait *= 2
    return call()


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, LocalEntryNotFoundError | RevisionResolutionError):
        return isinstance(error.__cause__, HfHubHTTPError) and _is_busy(error.__cause__)
    return not isinstance(error, HfHubHTTPError) or _is_busy(error)


def _is_busy(error: HfHubHTTPError) -> bool:
    return bool(error.response.status_code == _TOO_MANY or error.response.status_code >= 500)


def _asked_for(error: BaseException) -> float:
    """Seconds that the Hub asks to wait for, 0 if it does not say or asks for too many."""
    answer = error if isinstance(error, HfHubHTTPError) else error.__cause__
    text = answer.response.headers.get("Retry-After", "") if isinstance(answer, HfHubHTTPError) else ""
    seconds = float(text) if text.isdigit() else 0.0
    return seconds if seconds <= LONGEST_WAIT else 0.0


@contextmanager
def hub_errors(repo: str, revision: str | None = None, kind: Kind = "model") -> Iterator[None]:
    """Turn whatever huggingface_hub raises within into a `HubError` that says what to do.

    It is an `Unreachable` where the same call may succeed later, and a `StorageError` where the disk is full.

    Args:
        repo: ``"organisation/name"``.
        revision: that was asked for.
        kind: of the repository.
    """
    try:
        yield
    except (HubError, StorageError):
        raise
    except (
        HfHubHTTPError,
        TransportError,
        HFValidationError,
        LocalTokenNotFoundError,
        RevisionResolutionError,
        OSError,
    ) as error:
        raise _kind_of(error)(_explain(error, repo, revision, kind)) from error


def _kind_of(error: BaseException) -> type[HubError | StorageError]:
    if _is_full(error):
        return StorageError
    return Unreachable if _may_pass(error) else HubError


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL


def _may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later: busy, offline, or a connection that broke."""
    if isinstance(error, HfHubHTTPError):
        return _is_busy(error)
    if isinstance(error, LocalEntryNotFoundError | RevisionResolutionError):
        return error.__cause__ is None or _may_pass(error.__cause__)
    return isinstance(error, TransportError | OfflineModeIsEnabled | TimeoutError | ConnectionError)


def _explain(error: BaseException, repo: str, revision: str | None, kind: Kind) -> str:
    """What was asked, what the Hub answered, and the cure. Gated comes first: it subclasses not-found."""
    at = f" at revision {revision!r}" if revision else ""
    said = " ".join(str(error).split())
    match error:
        case GatedRepoError():
            return (
                f"{repo} is gated: its authors ask for consent first. Accept the terms at "
                f"https://huggingface.co/{repo}, then log in with `hf auth login`."
            )
        case RepositoryNotFoundError():
            return (
                f"the Hub has no {kind} repository {repo!r}, or it is private and you are not logged in. "
                "Check the spelling, or log in with `hf auth login`."
            )
        case RevisionNotFoundError():
            return f"{repo} has no revision {revision!r}. Name a branch, tag or commit that it has."
        case HFValidationError():
            return f"{repo!r} is not a repository id; expected 'organisation/name', optionally '@revision'."
        case LocalTokenNotFoundError():
            return f"writing to {repo} needs a login, and there is none. Log in with `hf auth login`."
        case HfHubHTTPError() if error.response.status_code == 401:
            return f"the Hub refused {repo}{at}: {said}. Log in with `hf auth login`."
        case HfHubHTTPError() if error.response.status_code == 403:
            return (
                f"the Hub refused {repo}{at}: {said}. Log in with `hf auth login`; to write there, with a "
                "token that may write."
            )
        case HfHubHTTPError() if error.response.status_code == 412:
            return f"{repo} changed while it was written to. Try again."
        case HfHubHTTPError() if _is_busy(error):
            return f"the Hub is busy or failing, and {repo}{at} is out of reach. Try again in some minutes."
        case LocalEntryNotFoundError() | RevisionResolutionError() if isinstance(
            answer := error.__cause__, HfHubHTTPError
        ):
            return _explain(answer, repo, revision, kind)
        case LocalEntryNotFoundError() | RevisionResolutionError() | OfflineModeIsEnabled():
            return (
                f"{repo}{at} is not on this disk and the Hub cannot be reached (no network or HF_HUB_OFFLINE "
                f"is set). Connect and run again, or fetch it beforehand with `hf download {repo}`."
            )
        case OSError() if _is_full(error):
            return (
                f"what {repo}{at} has does not fit on the disk: {error.strerror}. Free some space, or set "
                "HF_HOME to a folder with room, and run again; what was fetched before is kept."
            )
        case TransportError():
            return f"the connection broke while talking to the Hub about {repo}{at} ({said}). Try again."
        case _:
            return f"{repo}{at} could not be fetched: {said}"
