"""Opening the site of a configuration: what the daemon serves, and what a steward previews."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site.config import SiteConfig
from cohortmix.client.site.lock import reading
from cohortmix.client.site.site import Site
from cohortmix.client.table.snapshot import open_snapshot
from cohortmix.core.privacy.noise import OpenDPNoise


@contextmanager
def open_site(config: SiteConfig) -> Iterator[Site]:
    """The site with its checked table, its ledger and the real noise; the ledger is closed afterwards.

    The snapshot cannot be replaced meanwhile: patients are counted at the opening, records are read later.

    Raises
    ------
    InputError
        If key, schema or snapshot cannot be used, or the snapshot is being replaced.
    SchemaError
        If the schema file holds no schema, or one with an unconfirmed line.
    LedgerError
        If the ledger is damaged, or was set back.
    """
    schema, key = config.read_schema(), config.read_key()
    with reading(config.snapshot_folder):
        source = open_snapshot(config.snapshot_folder, schema)
        ledger = Ledger(config.ledger_file, config.cap_mu, config.mark, key.public_hex)
        try:
            yield Site(config.name, source, schema, ledger, read_policy(config), key, OpenDPNoise())
        finally:
            ledger.close()


def read_policy(config: SiteConfig) -> Policy:
    """What the steward has approved by now, for the coordinators that the configuration enrols."""
    return Policy.load(config.policy_file).enrol(config.coordinators)
