"""Progress bars on standard error, with the incumbent beside them."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from tqdm import tqdm

from fms_hub.records import Budget, Observation
from fms_hub.search.spending import Spent


class SearchBar:
    """A bar over the budget: epochs if it has such a limit, else seconds."""

    def __init__(self, budget: Budget, *, shown: bool) -> None:
        self._by_epochs = budget.epochs is not None
        total = budget.epochs if budget.epochs is not None else budget.seconds
        unit = "epoch" if self._by_epochs else "s"
        self._bar = tqdm(total=total, unit=unit, desc="search", disable=not shown, dynamic_ncols=True)

    def update(self, spent: Spent, best: Observation | None) -> None:
        """Move to what has been spent; show the best run so far."""
        done = spent.epochs if self._by_epochs else min(spent.seconds, self._bar.total or 0)
        if best is not None:
            self._bar.set_postfix_str(f"best {best.score:.4f} {best.candidate}", refresh=False)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> SearchBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def counting_bar(description: str, *, shown: bool) -> Callable[[int, int], None]:
    """A callback ``(done, total)`` that draws a bar from its first call on and closes it when all is done."""
    bars: list[tqdm[None]] = []

    def update(done: int, total: int) -> None:
        if not bars:
            bars.append(
                tqdm(desc=description, total=total, disable=not shown, dynamic_ncols=True, leave=False)
            )
        bars[0].update(done - bars[0].n)
        if done >= total:
            bars[0].close()

    return update
