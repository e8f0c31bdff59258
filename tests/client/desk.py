"""A steward's desk."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml
from hospitals import Hospital

from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site.opening import open_site
from cohortmix.client.steward import steward
from cohortmix.protocol.messages import StudySpec, decode, encode
from cohortmix.protocol.signing import Key, sign_study

COORDINATOR, STRANGER = (Key.from_bytes(bytes([number] * 32)) for number in (7, 9))


class Desk:
    """A steward's desk: the site's folder, the studies that came in, and the commands."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital, self.file = hospital, hospital.site / "site.yaml"

    def study(self, mu: str = "0.1", by: Key = COORDINATOR, **changes: Any) -> StudySpec:
        return self.hospital.study(mu=mu, **{"coordinator_key": by.public_hex} | changes)

    def receive(self, study: StudySpec, by: Key = COORDINATOR) -> Path:
        path = self.hospital.folder / f"{study.hash[:16]}.json"
        path.write_bytes(encode(sign_study(by, study)))
        return path

    def approve(self, study: StudySpec, max_mu: str | None = None, by: Key = COORDINATOR) -> None:
        steward.approve(self.receive(study, by), str(study.mu) if max_mu is None else max_mu, self.file)

    def approvals(self) -> list[str]:
        return [approval.study for approval in Policy.load(self.hospital.config.policy_file).approvals]

    def spent(self) -> Fraction:
        ledger = self.hospital.ledger()
        try:
            return ledger.spent_mu2
        finally:
            ledger.close()

    def answer(self, study: StudySpec) -> Any:
        """What the daemon says to the coordinator's request for round 1."""
        with open_site(self.hospital.config) as site:
            return decode(site.answer(self.hospital.request(study)))

    def configure(self, **settings: Any) -> None:
        self.file.write_text(yaml.safe_dump(yaml.safe_load(self.file.read_text()) | settings))
