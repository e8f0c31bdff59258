"""The policy: what is not written in it is not allowed."""

import threading
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from cohortmix.client.ledger.policy import Approval, Policy, Refused
from cohortmix.core.data.table import InputError
from cohortmix.protocol.messages import Code, SiteEntry, StudySpec

COORDINATOR, STRANGER = "a" * 64, "b" * 64


def study(mu: str = "0.3", coordinator: str = COORDINATOR) -> StudySpec:
    return StudySpec(
        name="study",
        schema_hash="e" * 64,
        target="outcome",
        mu=Decimal(mu),
        delta=Decimal("0.00001"),
        overlap="disjoint",
        sites=(SiteEntry(name="site", key="c" * 64, patients=100),),
        min_sites=1,
        round_deadline_seconds=60,
        version="0.1.0",
        coordinator_key=coordinator,
    )


def refusal(policy: Policy, wanted: StudySpec) -> Code:
    with pytest.raises(Refused) as caught:
        policy.approved_mu2(wanted)
    return caught.value.refusal.code


def test_an_approved_study_is_allowed_its_mu() -> None:
    policy = Policy(coordinators=(COORDINATOR,)).approve(study())
    assert policy.approved_mu2(study()) == study().mu2


def test_empty_policy_allows_nothing() -> None:
    assert refusal(Policy(), study()) == Code.NOT_APPROVED


def test_an_enrolled_coordinator_is_not_enough() -> None:
    assert refusal(Policy(coordinators=(COORDINATOR,)), study()) == Code.NOT_APPROVED


def test_an_approval_is_not_enough() -> None:
    assert refusal(Policy().approve(study()), study()) == Code.NOT_APPROVED
    theirs = study(coordinator=STRANGER)
    assert refusal(Policy(coordinators=(COORDINATOR,)).approve(theirs), theirs) == Code.NOT_APPROVED


def test_an_approval_is_for_one_study() -> None:
    policy = Policy(coordinators=(COORDINATOR,)).approve(study())
    assert refusal(policy, study(mu="0.2")) == Code.NOT_APPROVED  # cheaper, and still another study


def test_at_most_the_approved_mu() -> None:
    below = Policy(coordinators=(COORDINATOR,), approvals=(Approval(study=study().hash, max_mu=Decimal("0.29")),))
    assert refusal(below, study()) == Code.NOT_APPROVED
    above = Policy(coordinators=(COORDINATOR,), approvals=(Approval(study=study().hash, max_mu=Decimal("0.31")),))
    assert above.approved_mu2(study()) == study().mu2  # never more than the study itself asks for


@pytest.mark.parametrize("pattern", ["", "*", ".*", "a" * 63, "A" * 64])
def test_patterns_are_no_keys(pattern: str) -> None:
    with pytest.raises(ValidationError):
        Policy(coordinators=(pattern,))
    with pytest.raises(ValidationError):
        Approval(study=pattern, max_mu=Decimal(1))


def test_a_revoked_study_is_not_allowed_and_others_are() -> None:
    other = study(mu="0.2")
    policy = Policy(coordinators=(COORDINATOR,)).approve(study()).approve(other).revoke(study().hash)
    assert refusal(policy, study()) == Code.NOT_APPROVED
    assert policy.approved_mu2(other) == other.mu2
    assert policy.approve(study()).approved_mu2(study()) == study().mu2


def test_an_approval_replaces_the_former_one_of_its_study() -> None:
    policy = Policy().approve(study(), Decimal("0.31"))
    assert policy.approve(study(), Decimal("0.31")) == policy
    assert policy.approve(study()).approvals == (
        Approval(study=study().hash, max_mu=Decimal("0.3"), name="study", mu=Decimal("0.3")),
    )


def test_a_coordinator_that_is_no_longer_enrolled_is_out() -> None:
    policy = Policy(coordinators=(COORDINATOR,)).approve(study()).enrol([STRANGER])
    assert refusal(policy, study()) == Code.NOT_APPROVED
    assert policy.enrol([COORDINATOR]).approved_mu2(study()) == study().mu2


# --- the file


def test_a_policy_file_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    assert Policy.load(path) == Policy()  # no file allows nothing
    for _ in range(2):
        Policy.update(path, lambda policy: policy.approve(study()))
        assert Policy.load(path) == Policy().approve(study())
    Policy.update(path, lambda policy: policy.revoke(study().hash))
    assert Policy.load(path) == Policy()
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("data", [b"", b'{"allow_all":true}', b'{"approvals":["*"]}', b"[]"])
def test_a_damaged_policy_file_allows_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        Policy.load(path)
    with pytest.raises(InputError, match="damaged"):
        Policy.update(path, lambda policy: policy)
    assert path.read_bytes() == data


def test_changes_at_once_are_not_lost(tmp_path: Path) -> None:
    """If an approval overwrote a revocation, the revoked study would stay allowed."""
    path = tmp_path / "policy.json"
    studies = [study(mu=f"0.{number}") for number in range(11, 23)]

    def change(study: StudySpec) -> None:
        Policy.update(path, lambda policy: policy.approve(study))

    threads = [threading.Thread(target=change, args=(study,)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {approval.study for approval in Policy.load(path).approvals} == {study.hash for study in studies}


def test_a_policy_that_cannot_be_written_stays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write the approvals"):
        Policy.update(tmp_path / "none" / "policy.json", lambda policy: policy)
