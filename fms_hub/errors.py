"""Every error that fms_hub raises on purpose.

FMSHubError
├── UsageError (ValueError)      what the caller gave cannot be used; the CLI exits with 2
│   ├── BudgetError              a budget that is malformed, not positive or too small for one epoch
│   ├── CandidateError           a candidate that is unknown, unreadable or does not fit its architecture
│   ├── TaskError                a dataset that cannot become an image classification task
│   ├── SpaceError               a search space that is empty or that fine-tuning cannot follow
│   ├── ResumeError              an output folder that belongs to another search
│   └── OutputError              an output folder that cannot be written
├── CheckpointError (ValueError) one of our own files is damaged or of another format version
├── HubError (OSError)           the Hugging Face Hub could not give, or take, what was asked
│   ├── Unreachable              not now: offline, or the Hub is busy or failing
│   └── Tampered                 a file is another than the one that its sha256 was pinned of
├── SearchError                  a search ended without one trained model
├── StorageError (OSError)       writing failed although the search had started, a full disk for one
└── TrainingFailure              one epoch failed (divergence, out of memory); the search goes on

A message says what was expected, what was found, and what to do.
"""


class FMSHubError(Exception):
    """Base of all errors that fms_hub raises on purpose."""


class UsageError(FMSHubError, ValueError):
    """What the caller gave cannot be used."""


class BudgetError(UsageError):
    """The budget is malformed, not positive, or too small for one epoch."""


class CandidateError(UsageError):
    """A candidate is unknown, unreadable or does not fit its architecture."""


class TaskError(UsageError):
    """The dataset cannot become an image classification task."""


class SpaceError(UsageError):
    """The search space is empty or holds what fine-tuning cannot follow."""


class ResumeError(UsageError):
    """The output folder holds a search over other data, candidates or settings."""


class OutputError(UsageError):
    """The output folder cannot be written."""


class CheckpointError(FMSHubError, ValueError):
    """A file of ours is damaged, incomplete or of another format version."""


class HubError(FMSHubError, OSError):
    """The Hugging Face Hub could not give, or take, what was asked."""


class Unreachable(HubError):
    """The Hub cannot be reached now, or is busy: the same call may succeed later."""


class Tampered(HubError):
    """A file is another than the one that its sha256 was pinned of; it was not used."""


class SearchError(FMSHubError):
    """The search ended without one trained model; the log says why each run failed."""


class StorageError(FMSHubError, OSError):
    """Writing failed after the search had started; everything logged before is kept."""


class TrainingFailure(FMSHubError):
    """One epoch of one run failed; ``reason`` is a short machine-readable word.

    Attributes:
        reason: ``"diverged"`` or ``"out-of-memory"``.
        seconds: what the failed attempt cost, in seconds.
    """

    def __init__(self, reason: str, message: str, *, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.seconds = seconds
