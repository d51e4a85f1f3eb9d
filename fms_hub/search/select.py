"""`select`: wires dataset, candidates, trainer, surrogate and log into one search. No maths here."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ConfigSpace import ConfigurationSpace

from fms_hub.errors import BudgetError, UsageError
from fms_hub.finetune.recipe import Recipe
from fms_hub.finetune.scores import METRICS
from fms_hub.finetune.trainer import Trainer
from fms_hub.hub.about import About, AboutCandidate, write_about
from fms_hub.models import from_timm
from fms_hub.models.catalog import resolve
from fms_hub.models.downloads import Terms, require_within, terms_of
from fms_hub.records import Budget, Candidate
from fms_hub.search.acquisition import DEFAULT_RULE, Rule
from fms_hub.search.bench import Bench
from fms_hub.search.candidates import Candidates, describe_candidates, measure_seconds
from fms_hub.search.generator import Proposals, check_proposals
from fms_hub.search.inquire import inquire, require_probing, require_taught
from fms_hub.search.loop import Loop
from fms_hub.search.measuring import KeptCosts, costs_of, write_costs
from fms_hub.search.objectives import Goals
from fms_hub.search.progress import counting_bar
from fms_hub.search.selection import Selection
from fms_hub.search.selector import Selector
from fms_hub.search.space import Space
from fms_hub.search.tradeoff import Tradeoff, require_rule
from fms_hub.search.warm_start import read_earlier
from fms_hub.search.winner import conclude
from fms_hub.surrogate.naming import Named, resolve_surrogate
from fms_hub.tasks.dataset import load_task
from fms_hub.tasks.task import Task
from fms_hub.weights.graph import WeightGraph

if TYPE_CHECKING:
    import datasets


def select(
    dataset: str | os.PathLike[str] | datasets.Dataset | datasets.DatasetDict | Task,
    candidates: Candidates = None,
    *,
    budget: str | Budget | None = None,
    max_epochs: int = 12,
    metric: str = "accuracy",
    space: ConfigurationSpace | None = None,
    surrogate: Named = None,
    acquisition: Rule = DEFAULT_RULE,
    proposals: Proposals = "local",
    probe: bool = False,
    forking: bool = False,
    warm_start: str | Path | Sequence[str | Path] = (),
    out: str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    revision: str | None = None,
    skip_bad: bool = False,
    keep_checkpoints: int | None = None,
    workers: int | None = None,
    parallel: int = 1,
    max_download: str | int | None = None,
    objectives: Sequence[str] = ("score",),
    max_latency: str | float | None = None,
    max_parameters: str | int | None = None,
    progress: bool = True,
) -> Selection:
    """Find the candidate and hyperparameters that fine-tune best on a dataset, within a budget.

    Forecasting Model Search (Mehta et al. 2024): propose by multifidelity expected improvement,
    train that run exactly one more epoch, log its score and a sketch of its weights, condition the
    surrogate, repeat. Killed and run again with the same arguments, it goes on where it stopped.

    Args:
        dataset: a folder of class folders, a `datasets.Dataset` or `DatasetDict`, a Hub dataset id,
            or ``"digits"``. Missing validation and test splits are cut stratified, with ``seed``.
        candidates: timm ids and patterns, Hugging Face ids, ``local-dir:PATH``, ``scratch:ARCHITECTURE``,
            modules, or any mix; None means the bundled checkpoints.
        budget: ``"40 epochs"``, ``"20m"`` or a `Budget`; None derives one and prints it.
        max_epochs: horizon of a run, >= 1; schedules end there.
        metric: ``"accuracy"``, ``"balanced_accuracy"`` or ``"macro_f1"`` on the validation split.
        space: a ConfigSpace over hyperparameters of `fms_hub.finetune.recipe.Recipe`; the default one has all
            but ``self_tuning``.
        surrogate: a `Surrogate`, ``"bundled"``, ``"organisation/name[@revision]"`` on the Hub, a folder, a
            file, or ``"scratch"``, which learns from this search alone; None means the bundled one where one
            comes with this release, else ``"scratch"``.
        acquisition: how far ahead the search looks, see `fms_hub.search.acquisition.Rule`.
        proposals: where new runs come from, see `fms_hub.search.generator.Proposals`.
        probe: look at every candidate's features of some training images first, see
            `fms_hub.records.Probe`; it is charged to the budget (`fms_hub.search.spending.probing_epochs`)
            and needs a meta-trained surrogate.
        forking: whether a run may start from the best checkpoints so far with other hyperparameters, see
            `fms_hub.search.forks`.
        warm_start: folders of earlier logs over the same data, of searches or imported (see
            `fms_hub.hub.importers.log.import_log`); the surrogate knows their runs from the start.
        out: the search's folder; None means ``fms_hub_runs/NAME-HASH`` in the working directory.
        seed: of splits, heads, data order and proposals.
        device: ``"cpu"``, ``"cuda"`` ...; None takes a GPU if there is one.
        image_size: pixels, for all candidates; None means each candidate's own.
        image_column, label_column, revision: of a dataset, where they are not found by themselves.
        skip_bad: leave out unreadable images with a warning instead of refusing the dataset.
        keep_checkpoints: most checkpoints on disk besides the best; None keeps the last of each run.
        workers: processes that prepare images; None decides by size.
        parallel: epochs to train at once, each in a process of its own, which shares the processor's threads;
            ``device="cuda"`` takes all GPUs in turn. A time limit counts the seconds of all of them. The
            search then chooses before it knows what is still out, and a script must call this below
            ``if __name__ == "__main__":``.
        max_download: most bytes of weights to fetch from the Hub in all, as a number or like ``"500MB"``.
        objectives: ``("score",)``, or the score with one of ``"latency"``, ``"parameters"`` and
            ``"peak_memory"`` (see `fms_hub.search.objectives.Cost`), for a front of both.
        max_latency: leave out candidates that need longer for an image on this device, like ``"5ms"``.
        max_parameters: leave out candidates that have more, like ``"1M"``.
        progress: draw progress bars and tell downloads on standard error.

    Returns:
        The selection; its test score was computed once, for the winner.

    Raises:
        UsageError: what was given cannot be used; nothing expensive has started.
        HubError: a dataset, candidate or surrogate could not be fetched.
        SearchError: every run failed.
        StorageError: the disk is full; everything logged is kept.
    """
    limit = None if budget is None else Budget.parse(budget)
    _check_settings(max_epochs, metric, keep_checkpoints, parallel)
    goals = Goals.parse(objectives, max_latency, max_parameters)
    if goals.cost is not None:
        require_rule(acquisition)
    check_proposals(proposals, Space(space))
    recipes = _recipes(Space(space))
    model = resolve_surrogate(surrogate)
    if probe:
        require_taught(model)
    chosen = resolve(candidates)
    terms = terms_of(chosen)
    require_within(terms, max_download, shown=progress)
    task = load_task(
        dataset,
        image_column=image_column,
        label_column=label_column,
        revision=revision,
        seed=seed,
        skip_bad=skip_bad,
        progress=counting_bar("checking images", shown=progress),
    )
    make = partial(Trainer, task, metric=metric, image_size=image_size, seed=seed, workers=workers)
    trainer = make(device=device)
    goals.require_device(trainer.device)
    if any(recipe.self_tuning for recipe in recipes):
        trainer.require_tuning_images()
    identity = {
        **_identity(task, chosen, metric, trainer.image_size),
        **goals.identity(trainer.device),
        **({"probe": "yes"} if probe else {}),
    }
    earlier = read_earlier(warm_start, [c.name for c in chosen], Space(space), identity=identity, out=out)
    folder = _folder(out, task, {**identity, **earlier.identity}, max_epochs, seed, Space(space))
    costs = costs_of(chosen, trainer, goals.costs, folder, progress=progress)
    names = goals.within(costs.costs)
    chosen = tuple(candidate for candidate in chosen if candidate.name in names)
    limit = limit or _derive_budget(len(chosen), max_epochs)
    graphs = describe_candidates(chosen, trainer, progress=progress)
    timed = limit.seconds is not None or acquisition == "ei-per-second"
    seconds = measure_seconds(chosen, trainer, progress=progress) if timed else {}
    _check_budget(limit, seconds)
    if probe:
        require_probing(len(chosen), trainer, limit, seconds)
    selector = Selector(
        names,
        budget=limit,
        max_epochs=max_epochs,
        space=space,
        task=task.info,
        graphs=graphs,
        known=inquire(model, chosen, graphs, trainer),
        surrogate=model,
        acquisition=acquisition,
        proposals=proposals,
        forking=forking,
        tradeoff=_tradeoff(goals, names, costs),
        seconds=seconds,
        warm_start=warm_start,
        out=folder,
        identity=identity,
        seed=seed,
    )
    outside = selector.belief().outside(names)
    if progress:
        _tell_outside(outside)
    bench = Bench(trainer, {c.name: c for c in chosen}, graphs, folder)
    loop = Loop(selector, bench, make, parallel, keep_checkpoints, probing=probe)
    try:
        about = _about(task, chosen, trainer, graphs, terms, model.label)
        write_about(folder, about)
        if goals.costs:
            write_costs(folder, costs)
        loop.check_disk(limit)
        loop.run(limit, progress=progress)
        best = conclude(selector, folder, trainer, chosen)
        return Selection(
            best,
            selector=selector,
            out=folder,
            trainer=trainer,
            candidates=chosen,
            about=about,
            costs=costs.costs,
            outside=outside,
        )
    finally:
        selector.close()


def _check_settings(max_epochs: int, metric: str, keep_checkpoints: int | None, parallel: int) -> None:
    if max_epochs < 1:
        raise BudgetError(f"max_epochs must be at least 1, found {max_epochs}.")
    if metric not in METRICS:
        raise UsageError(f"metric must be one of {', '.join(METRICS)}; found {metric!r}.")
    if keep_checkpoints is not None and keep_checkpoints < 1:
        raise UsageError(f"keep_checkpoints must be at least 1, found {keep_checkpoints}.")
    if parallel < 1:
        raise UsageError(f"parallel must be at least 1, found {parallel}.")


def _recipes(space: Space) -> list[Recipe]:
    """A sample of what the space can propose, all of which fine-tuning must be able to follow."""
    return [Recipe.from_hyperparameters(values) for values in [space.default(), *space.sample(64, seed=0)]]


def _derive_budget(candidates: int, max_epochs: int) -> Budget:
    """Two epochs to look at each candidate, and three full runs."""
    budget = Budget(epochs=2 * candidates + 3 * max_epochs)
    print(
        f"budget: {budget} (2 for each of {candidates} candidates, 3 runs of {max_epochs}); "
        "set budget= to change it",
        file=sys.stderr,
    )
    return budget


def _tell_outside(outside: Mapping[str, float]) -> None:
    beyond = [name for name, far in outside.items() if far > 0]
    if beyond:
        print(
            f"beyond the architectures that the surrogate was trained on, so that it is less sure of them: "
            f"{', '.join(beyond)}",
            file=sys.stderr,
        )


def _tradeoff(goals: Goals, names: Sequence[str], costs: KeptCosts) -> Tradeoff | None:
    if goals.cost is None:
        return None
    return Tradeoff(goals.cost, {name: costs.costs[name][goals.cost] for name in names})


def _identity(
    task: Task, candidates: Sequence[Candidate], metric: str, image_size: int | None
) -> dict[str, str]:
    weights = "\n".join(f"{c.name} {c.fingerprint}" for c in candidates)
    return {
        "dataset": task.info.fingerprint[:16],
        "weights": hashlib.sha256(weights.encode()).hexdigest()[:16],
        "metric": metric,
        "image_size": str(image_size or "own"),
    }


def _about(
    task: Task,
    candidates: Sequence[Candidate],
    trainer: Trainer,
    graphs: Mapping[str, WeightGraph],
    terms: Mapping[str, Terms],
    surrogate: str,
) -> About:
    """What contributing the search needs besides its log."""
    items = tuple(
        AboutCandidate(
            name=c.name,
            source=c.source,
            architecture=c.architecture,
            fingerprint=c.fingerprint,
            family=None if c.source in ("transformers", "module") else from_timm.family(c.architecture),
            repo=c.location if c.revision is not None else None,
            parameters=graphs[c.name].structure.parameters,
            licence=terms[c.name].licence,
            gated=terms[c.name].gated,
        )
        for c in candidates
    )
    return About(
        fingerprint=task.info.fingerprint,
        classes=len(task.info.classes),
        sizes=dict(task.info.sizes),
        features=dict(task.info.features),
        metric=trainer.metric,
        image_size=trainer.image_size,
        device=trainer.device.type,
        candidates=items,
        surrogate=surrogate,
    )


def _folder(
    out: str | Path | None, task: Task, identity: Mapping[str, str], max_epochs: int, seed: int, space: Space
) -> Path:
    if out is not None:
        return Path(out)
    text = "\n".join([*identity.values(), str(max_epochs), str(seed), space.fingerprint])
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in task.info.name)
    return Path("fms_hub_runs") / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _check_budget(budget: Budget, seconds: Mapping[str, float]) -> None:
    """A time limit must hold at least one epoch of the fastest candidate."""
    fastest = min(seconds.values(), default=0.0)
    if budget.seconds is not None and fastest > budget.seconds:
        raise BudgetError(
            f"a budget of {budget.seconds:g} seconds is less than one epoch of the fastest candidate, "
            f"which takes about {fastest:.0f} s here; give at least {2 * math.ceil(fastest)}s."
        )
