"""From STUDY.yaml, as a coordinator writes it, to the study that is signed.

```yaml
name: Stroke cohort 2027
schema: stroke.yaml            # the data dictionary; paths are relative to this file
epsilon: 1                     # what each site spends; or mu: 0.268
delta: 0.00001                 # by default min(1e-5, 1/(10 N)), with N the patients of the largest site
overlap: disjoint              # at how many of the sites one patient can have records: disjoint, 2, ..., unknown
min_sites: 3                   # with fewer answers the study gives nothing
deadline: 7d                   # for each round: days (d), hours (h), minutes (m) or seconds (s)
sites: [uk/description.json, norway/description.json]      # as `cohortmix site check` wrote them
```

With `noise: joint` (the default is `each`) only sums over the sites can be read, and all sites share the noise:

```yaml
noise: joint
conspirators: 1                # most sites that may conspire with the coordinator; at least 1
tolerated_dropouts: 1          # most sites that may be missing from a sum; in place of min_sites
```

Further keys, with their defaults: `expires` (the last day on which sites answer, in UTC; 180 days from now),
`share` (the least part of mu^2 for round 1; 3/20, and more at a small site), `alpha` (of Eq. 6 of 3A; 0.5),
`loose_delta` (true permits a delta above 1/(10 N)), `accept_degraded` (true permits a study in which every site
has so few patients that it releases class centroids only), `point_masses` (false: round 2 does not look for values
that many patients share, such as an imputed one; true), `constraints` (what the inducing points have to keep: a
list such as ['drift<=0.1', 'recall(dead)>=0.8', 'calibration(SEX=F, dead)<=0.05']; none).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cohortmix.core.data.dictionary.columns import Day
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.dimensions import kappa_of_study
from cohortmix.core.privacy.budget import MIN_PATIENTS, Budget, ResolvedBudget
from cohortmix.core.privacy.joint import Terms
from cohortmix.protocol.constraints import read_constraints
from cohortmix.protocol.fields import Exact, Ratio, TypedName, decimal_down, exact
from cohortmix.protocol.local.textfile import faults_of, parse_file, read_schema, read_text
from cohortmix.protocol.local.wording import count
from cohortmix.protocol.messages import Description, MessageError, SiteEntry, StudySpec, decode
from cohortmix.protocol.names import confusable
from cohortmix.protocol.overlap import Overlap, parse_overlap
from cohortmix.protocol.receipts import EPSILON_PLACES, Total
from cohortmix.protocol.study import LONGEST_DEADLINE, MOST_SITES, JointNoise, usual_conspirators
from cohortmix.server.commands.reduced import require_a_mixture

MU_PLACES = 9
"""Decimals of a mu that follows from an epsilon; it is rounded down, so that the epsilon holds."""

VALID_DAYS = 180
"""Days for which sites answer a study by default: time enough for two rounds and for late sites."""

_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


def _duration(text: object) -> int:
    match = re.fullmatch(r"([1-9]\d{0,8})([dhms])", str(text), re.ASCII)
    if match is None:
        raise ValueError(f"expected a time such as 7d, 12h, 30m or 90s, got {str(text)[:40]!r}")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST_DEADLINE:
        raise ValueError(f"expected a time of at most {LONGEST_DEADLINE // _SECONDS['d']}d, got {text}")
    return seconds


def _share(text: object) -> object:
    return Fraction(str(text)) if re.fullmatch(r"0?\.\d{1,9}", str(text), re.ASCII) else text


class StudyFile(BaseModel):
    """The content of a STUDY.yaml; any other key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: TypedName
    schema_file: Path = Field(alias="schema")
    epsilon: float | None = None
    mu: float | None = None
    delta: float | None = None
    overlap: Annotated[Overlap, BeforeValidator(parse_overlap)]
    min_sites: int | None = None
    noise: Literal["each", "joint"] = "each"
    conspirators: int | None = None
    tolerated_dropouts: int | None = None
    deadline: Annotated[int, BeforeValidator(_duration)]
    sites: tuple[Path, ...] = Field(min_length=1, max_length=MOST_SITES)
    expires: Day | None = None
    share: Annotated[Ratio, BeforeValidator(_share)] = Fraction(15, 100)
    alpha: Exact = Decimal("0.5")
    loose_delta: bool = False
    accept_degraded: bool = False
    point_masses: bool = True
    constraints: tuple[str, ...] = ()


def draft(path: Path, coordinator_key: str, now: datetime) -> tuple[StudySpec, Schema]:
    """The study of a STUDY.yaml, with its schema.

    Raises
    ------
    InputError
        If a file cannot be read, or no such study is possible; in one sentence.
    SchemaError
        If the schema cannot be read as one, or a line of it is not confirmed.
    """
    file = _read(path)
    schema = read_schema(path.parent / file.schema_file)
    schema.require_confirmed()
    budget = _budget(file, path)
    joint = _joint(file, path)
    sites = tuple(_entry(path.parent / description, schema, joint is not None) for description in file.sites)
    _require_distinct(sites, file.sites)
    counts = [entry.patients for entry in sites]
    _require_small(file, max(counts) if joint is None else sum(counts))
    expires = file.expires or (now + timedelta(days=VALID_DAYS)).date()
    if expires < now.date():
        raise InputError(f"{str(path)!r}: expires={expires} is over; expected today ({now.date()}) or later")
    terms = {
        "min_sites": _min_sites(file, path, joint),
        "joint": joint,
        "share": file.share,
        "alpha": file.alpha,
        "point_masses": file.point_masses,
        "constraints": file.constraints,
        "expires": expires,
    }
    spec = study_spec(
        schema,
        budget,
        sites,
        name=file.name,
        overlap=file.overlap,
        round_deadline_seconds=file.deadline,
        coordinator_key=coordinator_key,
        **terms,
    )
    require_a_mixture(spec, schema, file.accept_degraded, "`accept_degraded: true` in STUDY.yaml")
    return spec, schema


def study_spec(schema: Schema, budget: Budget, sites: Sequence[SiteEntry], **terms: Any) -> StudySpec:
    """A study of these sites, its delta resolved for the largest one, or for all together in a joint study.

    Parameters
    ----------
    terms : the other fields of StudySpec; those about schema, budget, sites and version follow. Constraints may be
        in any spelling.

    Raises
    ------
    InputError
        If no such study is possible.
    """
    try:
        constraints = _one_spelling(terms.pop("constraints", ()), schema)
        kappa = kappa_of_study(schema, terms.get("point_masses", True))
        counts = [entry.patients for entry in sites]
        resolved = budget.resolve(max(counts) if terms.get("joint") is None else sum(counts), kappa)
        return StudySpec(
            schema_hash=schema.hash,
            target=schema.target_name,
            mu=exact(resolved.mu) if budget.mu is not None else _in_places(resolved, kappa),
            delta=exact(resolved.delta),
            sites=tuple(sites),
            loose_delta=resolved.loose,
            version=version("cohortmix"),
            constraints=constraints,
            **terms,
        )
    except ValidationError as error:
        raise InputError(f"no such study is possible: {faults_of(error, StudySpec)}") from None
    except ValueError as error:
        raise InputError(str(error)) from None


def _one_spelling(texts: Sequence[str], schema: Schema) -> tuple[str, ...]:
    """Constraints as a study names them; InputError unless the schema has what they name."""
    try:
        return tuple(map(str, read_constraints(texts, schema)))
    except InputError as error:
        raise InputError(f"constraints: {error}") from None


def _in_places(resolved: ResolvedBudget, kappa: float) -> Decimal:
    """mu as a study names it: so small that receipts, which round epsilon up, say at most what was asked for."""
    mu, step = decimal_down(resolved.mu, MU_PLACES), Decimal(1).scaleb(-MU_PLACES)
    most = decimal_down(resolved.epsilon, EPSILON_PLACES)
    delta = exact(resolved.delta)
    while mu > step and most and Total(Fraction(mu) ** 2, Fraction(kappa)).epsilon(delta) > most:
        mu, step = mu - step, 2 * step  # ever larger steps, so that a tiny epsilon ends soon, too
    return mu


def entry_of(facts: Description, joint: bool = False) -> SiteEntry:
    """The site as a study names it; InputError if it has fewer patients than it needs.

    That is the public threshold, or one patient in a joint study, whose sites reach the threshold together.
    """
    if facts.patients < (1 if joint else MIN_PATIENTS):
        raise InputError(
            f"site {facts.site!r} has {count(facts.patients, 'patient')}, a site needs at least {MIN_PATIENTS}; "
            "leave it out, merge it with another one, or draft a study with `noise: joint`, where one is enough"
        )
    return SiteEntry(name=facts.site, key=facts.key, patients=facts.patients)


def _read(path: Path) -> StudyFile:
    return parse_file(read_text(path, "the study"), StudyFile, repr(str(path)))


def _budget(file: StudyFile, path: Path) -> Budget:
    if file.epsilon is None and file.mu is None:
        raise InputError(f"{str(path)!r}: epsilon: this key is required, or mu in its place")
    if file.epsilon is not None and file.mu is not None:
        raise InputError(f"{str(path)!r}: expected epsilon or mu, got both; leave one of the keys out")
    try:
        return Budget(mu=file.mu, epsilon=file.epsilon, delta=file.delta, loose_delta=file.loose_delta)
    except ValueError as error:
        raise InputError(f"{str(path)!r}: {error}") from None


def _joint(file: StudyFile, path: Path) -> JointNoise | None:
    """The terms of a joint study; InputError for terms without one, or none for one."""
    given = (file.conspirators, file.tolerated_dropouts)
    if file.noise == "each":
        if given != (None, None):
            raise InputError(
                f"{str(path)!r}: conspirators and tolerated_dropouts are terms of a study with `noise: joint`; "
                "set that, or leave them out"
            )
        return None
    sites = len(file.sites)
    if None in given:
        raise InputError(
            f"{str(path)!r}: a study with `noise: joint` needs conspirators (the most sites that may conspire "
            f"with the coordinator, such as {usual_conspirators(sites)}) and tolerated_dropouts (the most that "
            "may be missing)"
        )
    try:
        joint = JointNoise(conspirators=file.conspirators or 0, tolerated_dropouts=file.tolerated_dropouts or 0)
        Terms(sites, joint.conspirators, joint.tolerated_dropouts)
    except ValidationError as error:
        raise InputError(f"{str(path)!r}: {faults_of(error, JointNoise)}") from None
    except ValueError as error:
        raise InputError(f"{str(path)!r}: {error}") from None
    return joint


def _min_sites(file: StudyFile, path: Path, joint: JointNoise | None) -> int:
    """With fewer sites there is no study: as the file says, or in a joint study as its dropouts say."""
    needed = None if joint is None else len(file.sites) - joint.tolerated_dropouts
    if file.min_sites is None and needed is None:
        raise InputError(f"{str(path)!r}: min_sites: this key is required")
    if needed is not None and file.min_sites not in (None, needed):
        raise InputError(
            f"{str(path)!r}: min_sites={file.min_sites} contradicts {count(len(file.sites), 'site')} of which "
            f"{joint.tolerated_dropouts if joint else 0} may be missing; leave it out"
        )
    return file.min_sites or needed or 0


def _require_small(file: StudyFile, patients: int) -> None:
    """Refuse what `Budget.resolve` would refuse, in the words of a STUDY.yaml."""
    most = 1 / (10 * patients)
    if file.delta is not None and file.delta > most and not file.loose_delta:
        raise InputError(
            f"delta={file.delta:g} is above 1/(10 N) = {most:.2g} for the N = {patients} patients of "
            f"{'the largest site' if file.noise == 'each' else 'all sites'}; lower it or leave it out, or, only "
            "to compare with published figures, set `loose_delta: true`"
        )


def _entry(path: Path, schema: Schema, joint: bool) -> SiteEntry:
    """The site of a description; InputError unless it serves this schema, with this version of cohortmix."""
    try:
        facts = decode(read_text(path, "the description").encode())
    except MessageError:
        facts = None
    if not isinstance(facts, Description):
        raise InputError(f"{str(path)!r} is not the description of a site; `cohortmix site check` writes one")
    if facts.schema_hash != schema.hash:
        raise InputError(
            f"site {facts.site!r} serves another schema: expected schema_hash={schema.hash[:12]}..., got "
            f"{facts.schema_hash[:12]}...; give the site this schema, and take its new description"
        )
    if facts.version != (here := version("cohortmix")):
        raise InputError(
            f"site {facts.site!r} runs cohortmix {facts.version}, this is {here}; install the same version"
        )
    return entry_of(facts, joint)


def _require_distinct(sites: Sequence[SiteEntry], files: Sequence[Path]) -> None:
    for at, site in enumerate(sites):
        for before, other in enumerate(sites[:at]):
            if (site.key, site.name) == (other.key, other.name):
                raise InputError(
                    f"site {site.name!r} is there twice, as {str(files[before])!r} and {str(files[at])!r}; "
                    "keep its newer description"
                )
            if site.key == other.key:
                raise InputError(
                    f"sites {other.name!r} and {site.name!r} have the same key; every site needs a key of its own"
                )
    if twins := confusable(site.name for site in sites):
        raise InputError(
            f"two sites have names that can be confused, {twins[0]!r} and {twins[1]!r}; ask one of them for "
            "another name"
        )
