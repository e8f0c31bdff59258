"""The stages of a joint study: five steps for each of its two sums, and how far its store says that it has come.

A stage ends with the sites that have replied by then: they alone are asked in the next one, and for good.
"""

from __future__ import annotations

from typing import NamedTuple

from cohortmix.protocol.steps import STEPS, Step
from cohortmix.server.store import Place, Store


class Stage(NamedTuple):
    """One step of one round."""

    round: int
    step: Step

    @property
    def place(self) -> Place:
        """Where the store keeps its requests and replies; releases lie where those of any study do."""
        return self.round if self.step == "input" else f"{self.round} {self.step}"

    @property
    def name(self) -> str:
        """As people read it.

        >>> Stage(1, "keys").name
        'round 1, keys'
        """
        return f"round {self.round}, {self.step}"


def stages(rounds: int) -> tuple[Stage, ...]:
    """All stages of a study of one round or two, in their order."""
    return tuple(Stage(round, step) for round in range(1, rounds + 1) for step in STEPS)


def present(store: Store, rounds: int) -> Stage | None:
    """The first stage that has not ended; None when all have."""
    return next((stage for stage in stages(rounds) if store.sites(stage.place) is None), None)
