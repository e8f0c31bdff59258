"""Small consortia whose messages are carried by hand, and the types of the fixtures of this folder."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pandas as pd
from flwr.app import Context
from flwr.common.constant import PARTITION_ID_KEY

from cohortmix.deploy.simulation.consortium import Consortium, SiteFolder
from cohortmix.protocol.signing import Key
from cohortmix.server.coordinator import Coordinator, Verdict

ConsortiumOf = Callable[..., Consortium]
Patients = Callable[[int], pd.DataFrame]

MU = 0.4  # of the consortia that the fixture `consortium_of` makes
LARGE, SMALL = 300, 60  # patients; at this mu a large site fits a mixture, and a small one does not


def carry(
    consortium: Consortium, coordinator: Coordinator, only: Collection[str] | None = None
) -> dict[str, Verdict]:
    """Every open request to its site and the reply back; returns what became of each."""
    sites = {entry.name: consortium.site(i) for i, entry in enumerate(coordinator.spec.sites)}
    wanted = {site: request for site, request in coordinator.requests().items() if only is None or site in only}
    return {site: coordinator.accept(site, sites[site].answer(request)) for site, request in wanted.items()}


def site_of(consortium: Consortium, context: Context) -> SiteFolder:
    """The site that a node speaks for, opened for each message: what lies in its folder counts at once."""
    return consortium.site(int(context.node_config[PARTITION_ID_KEY]))


def reply_of(consortium: Consortium, coordinator: Coordinator, index: int) -> bytes:
    return consortium.site(index).answer(coordinator.requests()[coordinator.spec.sites[index].name])


def key_of(consortium: Consortium, index: int) -> Key:
    return Key.from_bytes((consortium.site(index).folder / "key").read_bytes())
