"""A hospital whose outcome is a number, a time to an event, or nothing: check, quote, approval, preview, reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hospitals
import numpy as np
import pandas as pd
import pytest
import three_hospitals
from desk import Desk
from hospitals import Hospital
from three_hospitals import schema

from cohortmix.client.steward import service, steward
from cohortmix.core.data.table import InputError
from cohortmix.protocol.messages import Code, Refusal, SignedRelease

KINDS = {"number": "4 class centroids,", "survival": "8 class centroids,", "none": "1 class centroid,"}


def of_kind(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The desk of a hospital with 300 patients and a schema of this kind of outcome."""
    monkeypatch.setattr(hospitals, "SCHEMA", three_hospitals.text(kind))
    monkeypatch.setattr(hospitals, "records", lambda rows, seed: three_hospitals.records(300, seed))
    return Desk(Hospital.new(folder / "hospital"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_of_any_outcome_is_quoted_approved_previewed_and_answered(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = of_kind(kind, tmp_path, monkeypatch)
    study = desk.study("1", target=schema(kind).target_name)
    capsys.readouterr()
    steward.quote(desk.receive(study), desk.file)
    quoted = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert KINDS[kind] in quoted
    desk.approve(study)
    capsys.readouterr()
    steward.preview(desk.receive(study), desk.file)
    shown = capsys.readouterr().out
    assert "patients" in shown
    assert "DAYS" in shown
    assert isinstance(desk.answer(study), SignedRelease)
    another = desk.study("1", name="another", target="AGE")
    desk.approve(another)
    refusal = desk.answer(another)
    assert isinstance(refusal, Refusal)
    assert refusal.code == Code.UNKNOWN_COLUMN


@pytest.mark.parametrize(
    ("column", "value"), [("DAYS", 0.0), ("DAYS", -3.25), ("DAYS", np.nan), ("DEATH", "perhaps"), ("DEATH", None)]
)
def test_a_site_refuses_a_follow_up_that_is_not_known_and_spends_nothing(
    column: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence with the column and no value; what was served before stays, and so does the budget."""
    desk = of_kind("survival", tmp_path, monkeypatch)
    served = {path.name: path.read_bytes() for path in desk.hospital.config.snapshot_folder.iterdir()}
    table = three_hospitals.records(300)
    table[column] = table[column].astype(object)
    table.loc[100, column] = value
    if column == "DAYS":
        table[column] = pd.to_numeric(table[column])
    table.to_parquet(desk.hospital.folder / "records.parquet")
    with pytest.raises(
        InputError, match=f"does not fit its schema, in '{column}'; run `cohortmix site check`"
    ) as one:
        service.check(desk.file)
    assert not {"perhaps", "3.25"} & set(str(one.value).split())
    assert "\n" not in str(one.value)
    assert served == {path.name: path.read_bytes() for path in desk.hospital.config.snapshot_folder.iterdir()}
    assert desk.spent() == 0
