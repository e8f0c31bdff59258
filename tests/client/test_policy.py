"""The policy: what is not written in it is not allowed."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from cohortmix.client.policy import Approval, Policy, Refused
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


def refusal(policy: Policy, asked: StudySpec) -> Code:
    with pytest.raises(Refused) as caught:
        policy.approved_mu2(asked)
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


def test_a_policy_file_reads_back() -> None:
    policy = Policy(coordinators=(COORDINATOR,)).approve(study())
    assert Policy.model_validate_json(policy.model_dump_json()) == policy
    with pytest.raises(ValidationError):
        Policy.model_validate_json('{"allow_all": true}')
