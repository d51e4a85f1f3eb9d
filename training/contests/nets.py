"""Searches over small feed-forward nets, asked and told: cheap enough to be repeated on one core."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from ConfigSpace import ConfigurationSpace, Float, OrdinalHyperparameter
from torch import nn
from torch.nn import functional as F

from fms_hub.corpus.wholefile import write_whole
from fms_hub.records import Budget, Proposal
from fms_hub.search.selector import Selector
from fms_hub.seeding import derived_seed, seeded
from training.contests.arms import Arm
from training.contests.outcomes import Outcome
from training.gflownet.feed_forward import BATCHES, CLASSES, Pixels

WIDTHS = {"narrow": 16, "middle": 64, "wide": 256}


def space() -> ConfigurationSpace:
    """Five hyperparameters, good and bad values of each."""
    found = ConfigurationSpace()
    found.add(
        Float("learning_rate", (1e-4, 3.0), log=True, default=1e-2),
        Float("momentum", (0.0, 0.99), default=0.9),
        Float("weight_decay", (1e-6, 1e-1), log=True, default=1e-2),
        Float("dropout", (0.0, 0.5), default=0.0),
        OrdinalHyperparameter("batch_size", list(BATCHES), default_value=32),
    )
    return found


@dataclass(frozen=True)
class NetContest:
    """What all searches share.

    Attributes:
        pixels: of the dataset.
        name: of the dataset.
        epochs: of a search.
        horizon: epochs of a full run.
        out: folder of the outcomes; those that are there are read back.
    """

    pixels: Pixels
    name: str
    epochs: int
    horizon: int
    out: Path

    def outcomes(self, arms: Sequence[Arm], seeds: Sequence[int]) -> Mapping[str, list[Outcome]]:
        """One outcome a seed of each arm, by its name."""
        self.out.mkdir(parents=True, exist_ok=True)
        return {arm.name: [self._outcome(arm, seed) for seed in seeds] for arm in arms}

    def _outcome(self, arm: Arm, seed: int) -> Outcome:
        file = self.out / f"{self.name}-{self.epochs}-{seed}-{arm.name}.json"
        if not file.exists():
            write_whole(file, json.dumps(vars(self._search(arm, seed))).encode())
        return Outcome(**json.loads(file.read_text()))

    def _search(self, arm: Arm, seed: int) -> Outcome:
        selector = Selector(
            list(WIDTHS),
            budget=Budget(epochs=self.epochs),
            max_epochs=self.horizon,
            space=space(),
            proposals=arm.proposals,
            forking=arm.forking,
            seed=seed,
        )
        kept: dict[tuple[int, int], nn.Sequential] = {}
        while (proposal := selector.ask()) is not None:
            net = self._before(proposal, kept, seed)
            selector.tell(proposal, score=self._epoch(net, proposal, seed))
            kept[proposal.run, proposal.epoch] = net
        return Outcome.of(selector.history)

    def _before(
        self, proposal: Proposal, kept: Mapping[tuple[int, int], nn.Sequential], seed: int
    ) -> nn.Sequential:
        """The net that the proposed epoch goes on from, a copy."""
        previous = proposal.previous
        if previous is None:
            return self._drawn(proposal, seed)
        net = copy.deepcopy(kept[previous.run, previous.epoch])
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.p = float(proposal.hyperparameters["dropout"])
        return net

    def _drawn(self, proposal: Proposal, seed: int) -> nn.Sequential:
        width, dropout = WIDTHS[proposal.candidate], float(proposal.hyperparameters["dropout"])
        with seeded(derived_seed(seed, proposal.run)):
            return nn.Sequential(
                nn.Linear(self.pixels.train.shape[1], width),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(width, CLASSES),
            )

    def _epoch(self, net: nn.Sequential, proposal: Proposal, seed: int) -> float:
        """Train one epoch of plain SGD; the velocity starts anew each epoch. Validation accuracy."""
        values = {name: float(value) for name, value in proposal.hyperparameters.items()}
        optimizer = torch.optim.SGD(
            net.parameters(),
            lr=values["learning_rate"],
            momentum=values["momentum"],
            weight_decay=values["weight_decay"],
        )
        net.train()
        with seeded(derived_seed(seed, proposal.run, proposal.epoch)):
            order = torch.randperm(len(self.pixels.train))
            for rows in torch.split(order, int(values["batch_size"])):
                loss = F.cross_entropy(net(self.pixels.train[rows]), self.pixels.train_labels[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        net.eval()
        with torch.no_grad():
            right = net(self.pixels.validation).argmax(dim=1) == self.pixels.validation_labels
        return float(right.float().mean())
