"""Studies with constraints on the inducing points: kept or reported, by site or of all together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from by_hand import carry, key_of, reply_of
from joint_studies import FIVE, SCHEMA, TWO_ROUNDS, carry_through, coordinating, joint_consortium
from report_page import Page
from typer.testing import CliRunner

from cohortmix.core.data.table import InputError
from cohortmix.core.reduced import DegradedError
from cohortmix.deploy.cli import app
from cohortmix.deploy.commands import print_study
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.deploy.verify import verify
from cohortmix.protocol.messages import CentroidsRelease, SignedRelease, decode, encode
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.protocol.signing import sign_receipt
from cohortmix.server.commands.reduced import require_a_mixture
from cohortmix.server.coordinator import Coordinator, Verdict
from cohortmix.server.publish.pool import draw
from cohortmix.server.publish.publish import publish, summarise
from cohortmix.server.result import ALL_SITES, StudyResult

SIZES = {"ITAL": 300, "NORW": 250, "SPAI": 250, "tiny": 60}  # patients; the last have too few for a mixture
MET, UNMET = "drift<=0.5", "recall(good)>=0.999"
WRITTEN, TEXTS = ("drift <= .50", "recall( good ) >= 0.999"), (MET, UNMET)

Changed = Callable[[dict[str, Any]], object]


def each_consortium(folder: Path, **terms: Any) -> Consortium:
    return joint_consortium(folder, SIZES, mu=0.4, joint=None, min_sites=1, **terms)


def both_rounds(consortium: Consortium, coordinator: Coordinator, gone: tuple[str, ...] = ()) -> StudyResult:
    carry(consortium, coordinator)
    coordinator.freeze()
    carry(consortium, coordinator, only=set(SIZES) - set(gone))
    return coordinator.finish()


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return each_consortium(tmp_path_factory.mktemp("each") / "study", constraints=WRITTEN)


@pytest.fixture(scope="module")
def result(each: Consortium, few_steps: None) -> StudyResult:
    """Of a study from whose second round one site is missing."""
    with each.coordinator() as coordinator:
        return both_rounds(each, coordinator, gone=("SPAI",))


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, few_steps: None) -> tuple[Consortium, StudyResult]:
    folder = tmp_path_factory.mktemp("joint") / "study"
    consortium = joint_consortium(folder, FIVE, mu=TWO_ROUNDS, constraints=WRITTEN)
    with coordinating(consortium) as coordinator:
        carry_through(consortium, coordinator)
        return consortium, coordinator.finish()


def published(consortium: Consortium, result: StudyResult, out: Path) -> dict[str, Any]:
    records = draw(result, 50)
    summary = summarise(result, len(records))
    publish(result, records, summary, out, consortium.key)
    return summary


@pytest.fixture(scope="module")
def folder(each: Consortium, result: StudyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "out"
    published(each, result, out)
    return out


# --- what sites do under constraints


def test_each_site_says_what_became_of_each_constraint(result: StudyResult) -> None:
    assert result.spec.constraints == TEXTS
    for name in ("ITAL", "NORW"):
        met, unmet = (one.facts for one in result.centroids[name].constraints)
        assert (met["constraint"], unmet["constraint"]) == TEXTS
        assert (met["met"], unmet["met"]) == (True, False)
        assert met["multiplier"] == 0, "the limit is slack"
        assert float(unmet["multiplier"] or 0) > 0
        assert 0 < float(met["value"] or 0) <= 0.5
        assert 0.5 < float(unmet["value"] or 0) < 0.999
    for name in ("SPAI", "tiny"):
        assert result.centroids[name].constraints == ()
        assert len(result.centroids[name].support_points) == 0


def test_constraints_change_neither_what_is_asked_of_records_nor_what_that_costs(
    tmp_path: Path, result: StudyResult
) -> None:
    free = each_consortium(tmp_path / "study")
    assert "constraints" not in free.study.study.plain()
    with free.coordinator() as coordinator:
        without = both_rounds(free, coordinator, gone=("SPAI",))
    asked = [
        [signed.receipt.statements for site in made.sites for signed in site.receipts]
        for made in (result, without)
    ]
    assert [[one.plain() for one in each] for each in asked[0]] == [
        [one.plain() for one in each] for each in asked[1]
    ]
    assert all(site.constraints == () for site in without.centroids.values())
    summary = summarise(without, 0)
    assert "constraints" not in summary["study"]
    assert all("constraints" not in site for site in summary["sites"])


def test_asked_again_a_site_gives_the_same_bytes(each: Consortium, result: StudyResult) -> None:
    with each.coordinator() as coordinator:
        asked, kept = coordinator._made("ITAL", 2), coordinator._store.reply("ITAL", 2)
        assert each.site(0).answer(asked) == kept
        release = decode(kept)
    assert isinstance(release, SignedRelease)
    assert isinstance(release.release, CentroidsRelease)
    assert [one.to_core() for one in release.release.constraints] == [*result.centroids["ITAL"].constraints]


def test_of_a_joint_study_the_points_of_all_sites_together_are_held(joint: tuple[Consortium, StudyResult]) -> None:
    met, unmet = joint[1].centroids[ALL_SITES].constraints
    assert (met.constraint, met.met, unmet.constraint, unmet.met) == (MET, True, UNMET, False)
    with coordinating(joint[0]) as coordinator:
        assert coordinator.finish().centroids[ALL_SITES].constraints == (met, unmet), "as often as it is finished"


def test_where_no_site_has_room_for_points_constraints_are_refused(tmp_path: Path) -> None:
    alone: dict[str, Any] = {"joint": None, "min_sites": 1}
    for sizes, terms in (({"tiny": 60, "wee": 61}, alone), (FIVE, {})):
        consortium = joint_consortium(tmp_path / str(len(sizes)), sizes, mu=0.03, constraints=TEXTS, **terms)
        spec = consortium.study.study
        with pytest.raises(DegradedError):
            require_a_mixture(spec, SCHEMA, False, "an option")
        with pytest.raises(InputError, match="nothing can keep the constraints then: leave them out"):
            require_a_mixture(spec, SCHEMA, True, "an option")
        require_a_mixture(spec.model_copy(update={"constraints": ()}), SCHEMA, True, "an option")


# --- what a site cannot say


def test_what_a_site_says_of_other_constraints_is_not_taken(tmp_path: Path, few_steps: None) -> None:
    consortium = each_consortium(tmp_path / "study", constraints=TEXTS)
    with consortium.coordinator() as coordinator:
        carry(consortium, coordinator)
        coordinator.freeze()
        reply = reply_of(consortium, coordinator, 0)
        message = decode(reply)
        assert isinstance(message, SignedRelease)
        assert isinstance(message.release, CentroidsRelease)
        met, unmet = message.release.constraints

        def verdict(*constraints: object) -> Verdict:
            other = message.release.model_copy(update={"constraints": constraints})
            said = message.receipt.model_copy(update={"release_hash": other.hash})
            signature = sign_receipt(key_of(consortium, 0), said).signature
            return coordinator.accept(
                "ITAL", encode(SignedRelease(release=other, receipt=said, signature=signature))
            )

        looser = unmet.model_copy(update={"constraint": "recall(good)>=0.1", "met": True})
        wrong = [(), (met,), (unmet, met), (met, unmet, unmet), (met, looser)]
        wrong += [(met, unmet.model_copy(update={"met": True}))]
        for constraints in wrong:
            assert verdict(*constraints) is Verdict.LATER
            assert "expected constraints" in coordinator._store.refusals()[-1].sentence
        for text in ("NaN", "Infinity", "-1"):
            altered = json.loads(reply)
            altered["release"]["constraints"][0]["multiplier"] = text
            assert coordinator.accept("ITAL", json.dumps(altered).encode()) is Verdict.LATER
        assert coordinator.accept("ITAL", reply) is Verdict.ACCEPTED


# --- what is published


def test_the_summary_says_of_each_site_what_became_of_each_constraint(folder: Path, result: StudyResult) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["study"]["constraints"] == list(TEXTS)
    said = {site["name"]: site["constraints"] for site in summary["sites"]}
    for name in ("ITAL", "NORW"):
        assert said[name] == [one.facts for one in result.centroids[name].constraints]
    nothing = [{"constraint": text, "met": False, "value": None, "multiplier": None} for text in TEXTS]
    assert said["SPAI"] == said["tiny"] == nothing
    verify([folder])


def test_the_page_and_the_screen_name_the_sites_that_miss_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = (
        f"Inducing points: all that were released keep '{MET}'; those of ITAL and NORW miss '{UNMET}'; SPAI and "
        "tiny released none."
    )
    page = Page((folder / "report.html").read_text())
    assert page.text.count(sentence) == 1
    assert page.of_class("attention") == ["section"]
    print_study(json.loads((folder / "summary.json").read_text()))
    assert sentence in " ".join(capsys.readouterr().out.split())


def test_publishing_says_it_in_a_sentence(each: Consortium, result: StudyResult, tmp_path: Path) -> None:
    home, out = each.root / "coordinator", tmp_path / "out"
    said = CliRunner().invoke(
        app, ["study", "publish", str(home), "--key", str(home / "key"), "--out", str(out), "--rows", "9"]
    )
    assert said.exit_code == 0
    assert f"those of ITAL and NORW miss '{UNMET}'; SPAI and tiny released none." in said.output


def test_of_a_joint_study_all_sites_say_the_same(joint: tuple[Consortium, StudyResult], tmp_path: Path) -> None:
    summary = published(*joint, tmp_path / "out")
    facts = [one.facts for one in joint[1].centroids[ALL_SITES].constraints]
    assert [site["constraints"] for site in summary["sites"]] == [facts] * len(FIVE)
    text = Page((tmp_path / "out" / "report.html").read_text()).text
    recall = joint[1].centroids[ALL_SITES].constraints[1].shown
    assert f"keep '{MET}'; those of all sites together miss '{UNMET}' ({recall})." in text
    verify([tmp_path / "out"])
    summary["sites"][2]["constraints"] = [facts[0], facts[1] | {"value": 0.9}]
    (tmp_path / "out" / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ReceiptError, match="have the same inducing points, and say different things"):
        verify([tmp_path / "out"])


def of_site(place: int, change: Callable[[list[dict[str, Any]]], object]) -> Changed:
    return lambda summary: change(summary["sites"][place]["constraints"])


TAMPERED: dict[str, tuple[Changed, str]] = {
    "another limit": (lambda one: one["study"].update(constraints=["drift<=0.6", UNMET]), "constraints of study"),
    "none in the study": (lambda one: one["study"].pop("constraints"), "constraints of study"),
    "another order": (of_site(0, list.reverse), "site 'ITAL': expected constraints="),
    "one left out": (of_site(1, list.pop), "site 'NORW': expected constraints="),
    "all left out": (lambda one: one["sites"][1].pop("constraints"), "site 'NORW': expected constraints="),
    "called met": (of_site(0, lambda said: said[1].update(met=True)), f"site 'ITAL': '{UNMET}' cannot have"),
    "met by a figure of infinity": (
        of_site(0, lambda said: said[1].update(met=True, value=float("inf"))),
        f"site 'ITAL': '{UNMET}' cannot have",
    ),
    "no figure": (of_site(0, lambda said: said[0].update(multiplier=float("nan"))), f"'{MET}' cannot have"),
    "half a figure": (of_site(0, lambda said: said[0].update(value=None)), f"'{MET}' cannot have"),
    "a negative one": (of_site(0, lambda said: said[0].update(value=-1)), f"'{MET}' cannot have"),
    "points without round 2": (
        of_site(2, lambda said: said[0].update(met=True, value=0.1, multiplier=0.0)),
        f"site 'SPAI': '{MET}' cannot have",
    ),
    "met by nothing": (of_site(2, lambda said: said[0].update(met=True)), f"site 'SPAI': '{MET}' cannot have"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_summary_that_says_what_cannot_be_is_named(folder: Path, tmp_path: Path, what: str) -> None:
    change, sentence = TAMPERED[what]
    out = shutil.copytree(folder, tmp_path / "out")
    summary = json.loads((out / "summary.json").read_text())
    change(summary)
    (out / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ReceiptError, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        verify([out])


@pytest.mark.parametrize("junk", [None, 1, "all", [1], [None], [{}], {"a": 1}, [[]], [{"constraint": MET}] * 2])
def test_a_summary_of_anything_else_is_no_summary(folder: Path, tmp_path: Path, junk: object) -> None:
    out = shutil.copytree(folder, tmp_path / "out")
    summary = json.loads((out / "summary.json").read_text())
    summary["sites"][0]["constraints"] = junk
    (out / "summary.json").write_text(json.dumps(summary))
    with pytest.raises((InputError, ReceiptError)) as caught:
        verify([out])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("digits", [1000, 5000])
def test_a_whole_number_of_any_length_is_no_traceback(folder: Path, tmp_path: Path, digits: int) -> None:
    out = shutil.copytree(folder, tmp_path / "out")
    lines = (out / "summary.json").read_text().splitlines()
    place = next(at for at, line in enumerate(lines) if '"value"' in line)
    lines[place] = f'"value": {"9" * digits},'
    (out / "summary.json").write_text("\n".join(lines))
    with pytest.raises((InputError, ReceiptError), match=r"cannot have become|is not the summary"):
        verify([out])
