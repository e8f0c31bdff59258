"""A study's folder: drafted, signed, begun, and each step only once it may be."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from cohortmix.core.data.table import InputError
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.messages import SignedStudy, decode
from cohortmix.protocol.signing import Key, verify_study
from cohortmix.server.commands.draft import draft
from cohortmix.server.commands.status import State, Status, spent
from cohortmix.server.study import SCHEMA, SIGNED, SPEC, Study

KEY = Key.from_bytes(bytes(range(32)))


@pytest.fixture
def study(written: Callable[..., Path], tmp_path: Path) -> Study:
    """A draft."""
    return Study.draft(tmp_path / "study", *draft(written(), KEY.public_hex, datetime.now(UTC)))


def change_spec(study: Study) -> None:
    spec = study.spec.model_copy(update={"mu": Decimal("0.5")})
    (study.folder / SPEC).write_bytes(canonical(spec.plain()))


def test_a_draft_is_read_back_and_asks_nobody(study: Study) -> None:
    assert {path.name for path in study.folder.iterdir()} == {SPEC, SCHEMA}
    status = Status.of(study)
    assert (status.state, status.publishable, status.over, status.deadline) == (State.DRAFTED, False, False, None)
    assert [(site.entry.name, site.rounds) for site in status.missing] == [("UK", 2), ("NORW", 2)]
    assert spent(study) == {}
    with pytest.raises(InputError, match="is not signed; `cohortmix study sign`"):
        _ = study.signed
    assert not study.begun


def test_signing_twice_gives_the_same_bytes(study: Study) -> None:
    study.sign(KEY)
    first = (study.folder / SIGNED).read_bytes()
    study.sign(KEY)
    assert (study.folder / SIGNED).read_bytes() == first
    message = decode(first)
    assert isinstance(message, SignedStudy)
    verify_study(message)
    assert study.signed == message
    assert Status.of(study).state is State.SIGNED


def test_only_the_key_it_was_drafted_with_signs_and_conducts(study: Study) -> None:
    other = Key.from_bytes(bytes(32))
    with pytest.raises(InputError, match="give the key it was drafted with"):
        study.sign(other)
    study.sign(KEY)
    with pytest.raises(InputError, match="give the key it was drafted with"), study.coordinator(other):
        pass


def test_a_draft_that_was_changed_must_be_signed_again(study: Study) -> None:
    study.sign(KEY)
    change_spec(study)
    with pytest.raises(InputError, match="was changed after it was signed"):
        _ = study.signed
    study.sign(KEY)
    assert study.signed.study.mu == Decimal("0.5")


def test_a_study_that_has_begun_cannot_be_changed(study: Study) -> None:
    study.sign(KEY)
    with study.coordinator(KEY) as coordinator:
        coordinator.begin(0.0)
    study.sign(KEY)
    change_spec(study)
    with pytest.raises(InputError, match="has begun and cannot be changed"):
        study.sign(KEY)


def test_a_signature_that_was_altered_is_refused(study: Study) -> None:
    study.sign(KEY)
    signed = (study.folder / SIGNED).read_bytes()
    (study.folder / SIGNED).write_bytes(signed.replace(b'"mu":"0.26', b'"mu":"0.36'))
    with pytest.raises(InputError, match="the signature is not by key"):
        _ = study.signed
    (study.folder / SIGNED).write_bytes(b"{}")
    with pytest.raises(InputError, match="not a message"):
        _ = study.signed


def test_another_schema_is_refused(study: Study) -> None:
    path = study.folder / SCHEMA
    path.write_text(path.read_text().replace("max: 10", "max: 11"))
    with pytest.raises(InputError, match="was changed after the draft"):
        _ = study.schema


def test_a_folder_without_a_study_or_with_another_one_is_one_sentence(study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the study's file .*study\.json.*give the folder"):
        Status.of(Study(tmp_path / "none"))
    (study.folder / SPEC).write_text('{"name": "x"}')
    with pytest.raises(InputError, match="is not a study: schema_hash: this key is required; "):
        Status.of(study)


def test_a_signed_study_is_not_drafted_over(study: Study) -> None:
    spec, schema = study.spec, study.schema
    Study.draft(study.folder, spec, schema)
    study.sign(KEY)
    with pytest.raises(InputError, match="holds other files"):
        Study.draft(study.folder, spec, schema)


def test_a_round_ends_its_length_after_it_first_began(study: Study) -> None:
    study.sign(KEY)
    with study.coordinator(KEY) as coordinator:
        assert coordinator.begin(100.0) == 100 + 7 * 86_400
    with study.coordinator(KEY) as coordinator:
        assert [coordinator.begin(now) for now in (5.0, 1e9)] == [100 + 7 * 86_400] * 2, "whatever the clock says"
    status = Status.of(study)
    assert (status.state, status.deadline) == (State.ROUND_1, 100 + 7 * 86_400)
