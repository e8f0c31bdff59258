"""A consortium on one machine: a folder for each site and one for the coordinator, with real keys and ledgers.

    ROOT/coordinator/   study.json  schema.yaml  signed.json  study.db  key
    ROOT/sites/NAME/    table.parquet  schema.yaml  key  policy.json  ledger.sqlite

Elsewhere each of these folders would be on a machine of its own. Only the stewards are missing: whoever holds all
the tables approves for them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Peer, Policy
from cohortmix.client.site.site import Site
from cohortmix.client.table.data import open_table
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.noise import OpenDPNoise
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.protocol.fields import exact
from cohortmix.protocol.local.keyfile import read_key, write_key
from cohortmix.protocol.masking.seeds import DrawSeed, new_seed
from cohortmix.protocol.messages import Description, SignedStudy, SiteEntry, StudySpec, decode
from cohortmix.protocol.overlap import Overlap
from cohortmix.protocol.signing import Key
from cohortmix.protocol.steps import SEED_BYTES
from cohortmix.protocol.study import JointNoise
from cohortmix.server.commands.draft import entry_of, study_spec
from cohortmix.server.coordinator import Coordinator
from cohortmix.server.study import SIGNED, Study


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a study says apart from its sites.

    Attributes
    ----------
    budget : what each site may spend; its delta is resolved for the largest site.
    name : the study's name.
    overlap : at how many sites one patient can have records.
    seed : of the keyed test noise, which gives no privacy; None for the real noise.
    joint : the terms of a joint study; None where each site adds all of the noise by itself.
    min_sites : with fewer answers to round 1 the study stops; None for all of the sites. A joint study's follows
        from its terms.
    deadline_seconds : how long each round waits.
    alpha : the weight of Eq. 6 of 3A.
    point_masses : whether round 2 looks for values that many patients share.
    constraints : what the inducing points have to keep, as texts such as `drift<=0.1`.
    public_data : whether the records are public, so that figures on them may be published.
    """

    budget: Budget
    name: str = "simulation"
    overlap: Overlap = "disjoint"
    seed: int | None = None
    joint: JointNoise | None = None
    min_sites: int | None = None
    deadline_seconds: int = 3600
    alpha: float = 0.5
    point_masses: bool = True
    constraints: tuple[str, ...] = ()
    public_data: bool = False


@dataclass(frozen=True)
class SiteFolder:
    """A site on disk, opened for each call; `open_sites.py` keeps it open, as the daemon of a hospital does."""

    folder: Path
    seed: int | None = None

    @classmethod
    def write(cls, folder: Path, table: pa.Table, schema: Schema, seed: int | None) -> "SiteFolder":
        """Write a new site with a key of its own, an empty ledger, and a policy that allows nothing."""
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "table.parquet")
        (folder / "schema.yaml").write_text(schema.to_yaml())
        write_key(folder / "key", _key(seed, f"site {folder.name}"))
        site = cls(folder, seed)
        site.adopt(Policy())
        return site

    def adopt(self, policy: Policy) -> None:
        """Replace the site's policy."""
        (self.folder / "policy.json").write_text(policy.model_dump_json())

    def describe(self) -> bytes:
        """The site's `Description`, encoded."""
        with self.opened() as site:
            return site.describe()

    def answer(self, request: bytes) -> bytes:
        """The site's `Reply`, encoded."""
        with self.opened() as site:
            return site.answer(request)

    @contextmanager
    def opened(self) -> Iterator[Site]:
        """The site that a daemon would serve; its ledger is closed afterwards."""
        schema = _schema((self.folder / "schema.yaml").read_text())
        policy = Policy.model_validate_json((self.folder / "policy.json").read_bytes())
        source = open_table(self.folder / "table.parquet", schema)
        key = Key.from_bytes((self.folder / "key").read_bytes())
        cap = max((approval.max_mu for approval in policy.approvals), default=Decimal(0))
        ledger = Ledger(self.folder / "ledger.sqlite", cap)
        try:
            yield Site(self.folder.name, source, schema, ledger, policy, key, self._noise(), self._draw())
        finally:
            ledger.close()

    def _noise(self) -> NoiseSource:
        if self.seed is None:
            return OpenDPNoise()
        # Each site needs a seed of its own: with one seed, two sites would draw the same noise for one question.
        return KeyedNoise(int.from_bytes(_derived(self.seed, f"noise {self.folder.name}")))

    def _draw(self) -> DrawSeed:
        """Secrets of masks; with a seed always the same, as everything else is."""
        if self.seed is None:
            return new_seed
        seed, name = self.seed, self.folder.name
        return lambda purpose: _derived(seed, f"mask {name} {purpose}")[:SEED_BYTES]


@dataclass(frozen=True)
class Consortium:
    """The folders of a study, by their root; every process reads everything from there."""

    root: Path
    seed: int | None = None

    @classmethod
    def create(cls, root: Path, tables: Mapping[str, pa.Table], schema: Schema, terms: Terms) -> "Consortium":
        """Write the folders: the sites, a study of them, and its approval by each of them.

        Raises
        ------
        InputError
            If a site has fewer patients than the public threshold, or no study can have such terms.
        SchemaError
            If a line of the schema is not confirmed.
        ValueError
            If the budget cannot be resolved for the largest site.
        """
        schema.require_confirmed()
        key = _key(terms.seed, "coordinator")
        sites = [
            SiteFolder.write(root / "sites" / name, table, schema, terms.seed) for name, table in tables.items()
        ]
        entries = [_entry(site, terms.joint is not None) for site in sites]
        spec = _spec(schema, terms, entries, key.public_hex)
        peers = [Peer(name=entry.name, key=entry.key) for entry in entries] if terms.joint else []
        for site in sites:
            site.adopt(Policy(coordinators=(key.public_hex,)).enrol_peers(peers).approve(spec))
        Study.draft(root / "coordinator", spec, schema).sign(key)
        write_key(root / "coordinator" / "key", key)
        return cls(root, terms.seed)

    @property
    def study(self) -> SignedStudy:
        """The study, as the coordinator has signed it."""
        return Study(self.root / "coordinator").signed

    @property
    def key(self) -> Key:
        """The coordinator's key."""
        return read_key(self.root / "coordinator" / "key")

    def site(self, index: int) -> SiteFolder:
        """The site at this place in the study's list."""
        name = _sites((self.root / "coordinator" / SIGNED).read_bytes())[index]
        return SiteFolder(self.root / "sites" / name, self.seed)

    @contextmanager
    def coordinator(self) -> Iterator[Coordinator]:
        """The coordinator, at the point that the study has reached; its store is closed afterwards."""
        with Study(self.root / "coordinator").coordinator(self.key) as coordinator:
            yield coordinator


@lru_cache(maxsize=4)
def _schema(text: str) -> Schema:
    """Read once: all sites have the same, and each is opened for every call."""
    return Schema.from_yaml(text)


@lru_cache(maxsize=4)
def _sites(signed: bytes) -> tuple[str, ...]:
    """The sites that a signed study names, read once: every message to one of them asks for its folder."""
    message = decode(signed)
    assert isinstance(message, SignedStudy)
    return tuple(entry.name for entry in message.study.sites)


def _entry(site: SiteFolder, joint: bool) -> SiteEntry:
    facts = decode(site.describe())
    assert isinstance(facts, Description)
    return entry_of(facts, joint)


def _spec(schema: Schema, terms: Terms, sites: list[SiteEntry], coordinator_key: str) -> StudySpec:
    tolerated = 0 if terms.joint is None else terms.joint.tolerated_dropouts
    return study_spec(
        schema,
        terms.budget,
        sites,
        name=terms.name,
        overlap=terms.overlap,
        joint=terms.joint,
        min_sites=len(sites) - tolerated if terms.min_sites is None else terms.min_sites,
        round_deadline_seconds=terms.deadline_seconds,
        alpha=exact(terms.alpha),
        point_masses=terms.point_masses,
        constraints=terms.constraints,
        noise="opendp" if terms.seed is None else "TEST",
        public_data=terms.public_data,
        coordinator_key=coordinator_key,
    )


def _key(seed: int | None, owner: str) -> Key:
    """A new key; with a seed always the same, so that every byte of a run with test noise can be repeated."""
    return Key.generate() if seed is None else Key.from_bytes(_derived(seed, f"key {owner}"))


def _derived(seed: int, purpose: str) -> bytes:
    return hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
