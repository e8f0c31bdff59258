"""`cohortmix simulate`: a whole study from one table, and the sentences of a study that cannot be."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import refused, report, run
from studies import PRIVATELY, SIMULATE, cohort

from cohortmix.protocol.messages import Code
from cohortmix.server.result import TooFewSites
from cohortmix.server.store import RefusalEntry


def test_a_public_study_holds_records_out_and_fills_every_figure(published: Path) -> None:
    summary = report(published / "summary.json")
    assert [(site["name"], site["n"]) for site in summary["sites"]] == [("A", 75), ("B", 225)]
    assert all(site["own_score"] > 0.8 for site in summary["sites"])
    assert 0 <= summary["pooled"]["score"] <= 1
    assert summary["ceiling_score"] > 0.9
    assert summary["study"]["overlap"] == 2
    assert summary["consortium"]["mu"] == pytest.approx(2**0.5 * summary["sites"][0]["mu"])
    out = published.with_name("out.txt").read_text()
    assert out.startswith("NOT PRIVATE: test noise")
    rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert rows["A"][:2] == ["A", "75"]
    assert rows["pooled real (ceiling)"][-1] == f"{summary['ceiling_score']:.3f}"
    assert rows["A"][4:7] == ["2,", "class", "centroids"]
    assert "Reduced to class centroids (2 of 2 sites): A and B. There were too few patients" in out
    assert "pooled synthetic against a site's own records: " in out
    assert "round 1: 2 of 2" in published.with_name("err.txt").read_text().splitlines()


def test_without_public_data_no_figure_on_records_is_computed(folder: Path) -> None:
    out, _ = run(*SIMULATE, "--sites", "2")
    summary = report(folder / "out/summary.json")
    assert [site["own_score"] for site in summary["sites"]] == [None, None]
    assert (summary["pooled"]["score"], summary["ceiling_score"]) == (None, None)
    assert sum(site["n"] for site in summary["sites"]) == 400
    assert "ceiling" not in out


def test_the_running_time_is_published_of_public_data_only(folder: Path, published: Path) -> None:
    """It grows with the number of rows, and only the number of patients is public."""
    assert report(published / "summary.json")["seconds"] > 0
    assert "seconds" in (published / "report.html").read_text("utf-8")
    run(*SIMULATE, "--sites", "2")
    assert report(folder / "out/summary.json")["seconds"] is None
    assert "seconds" not in (folder / "out/report.html").read_text("utf-8")
    run("synthesize", *SIMULATE[1:7], "--out", "one", "--seed", "1", "--accept-degraded")
    assert report(folder / "one/summary.json")["seconds"] is None


@pytest.mark.parametrize(
    ("options", "loose"), [(("--delta", "0.003", "--loose-delta"), True), (("--delta", "0.0001"), False)]
)
def test_test_noise_and_a_loose_delta_are_said_in_every_output(
    folder: Path, options: tuple[str, ...], loose: bool
) -> None:
    out, _ = run(*SIMULATE, "--sites", "2", *options)
    summary, checked = report(folder / "out/summary.json"), run("verify", "out")[0]
    parquet = [
        pq.read_schema(folder / "out" / name).metadata[b"cohortmix"].decode()
        for name in ("pooled.parquet", "centroids.parquet")
    ]
    for said in (summary["warning"], out, checked, (folder / "out/report.html").read_text("utf-8"), *parquet):
        assert "NOT PRIVATE: test noise" in said
        assert ("loose delta: above 1/(10 N)" in said) == loose


def test_an_earlier_study_is_never_replaced(folder: Path) -> None:
    run(*SIMULATE, "--sites", "2")
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    assert "'out' holds files" in refused(*SIMULATE, "--sites", "2")
    assert {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()} == before


def test_sites_too_small_for_pairs_are_named_and_a_study_of_such_sites_alone_is_refused(folder: Path) -> None:
    plain = tuple(word for word in SIMULATE if word != "--accept-degraded")
    said = refused(*plain, "--site-column", "ward")
    assert "2 of 2 sites will release one centroid per class, without pairs of columns: A and B" in said
    assert "--accept-degraded" in said
    _, err = run(*plain, "--epsilon", "1", "--site-column", "ward")
    assert "1 of 2 sites will release one centroid per class, without pairs of columns: A;" in err
    assert {site["name"]: site["centroids"] > 2 for site in report(folder / "out/summary.json")["sites"]} == {
        "A": False,
        "B": True,
    }


NOTHING: Any = None  # in a list of cells, which pandas' types do not expect


def test_rows_of_nobody_and_a_skew_work(folder: Path) -> None:
    cohort().assign(id=[*range(390), *[NOTHING] * 10]).to_csv("t.csv", index=False)
    run(*SIMULATE, "--sites", "2", "--skew", "5")
    assert sum(site["n"] for site in report(folder / "out/summary.json")["sites"]) == 390


SPLIT_BY_RECORDS = [
    (("--sites", "2", "--skew", "5"), "--skew deals patients out by their target"),
    (("--site-column", "sex"), "--site-column 'sex' is a column of the schema"),
    (("--site-column", "y"), "--site-column 'y' is a column of the schema"),
    (("--site-column", "id"), "--site-column 'id' is a column of the schema"),
]


@pytest.mark.parametrize(("options", "sentence"), SPLIT_BY_RECORDS)
def test_a_split_by_records_is_for_public_data_and_tests(
    folder: Path, options: tuple[str, ...], sentence: str
) -> None:
    """N of each site is published as it is: one label of 200 patients would change it."""
    refusal = refused(*PRIVATELY, *options)
    assert sentence in refusal
    assert "without noise" in refusal
    assert "--public-data" in refusal
    assert "--seed" in refusal
    assert not (folder / "out").exists()


def test_a_split_by_a_column_is_possible_of_public_data(folder: Path) -> None:
    run(*PRIVATELY, "--site-column", "sex", "--public-data")
    assert [site["name"] for site in report(folder / "out/summary.json")["sites"]] == ["F", "M"]


@pytest.mark.parametrize("first", ["A", "B"])
def test_the_order_of_sites_does_not_follow_the_order_of_records(folder: Path, first: str) -> None:
    """Which site the table names first can follow from one patient's records."""
    cohort().sort_values("ward", ascending=first == "A").to_csv("t.csv", index=False)
    run(*SIMULATE, "--site-column", "ward")
    assert [site["name"] for site in report(folder / "out/summary.json")["sites"]] == ["A", "B"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "give either --site-column or --sites"),
        (("--sites", "2", "--site-column", "ward"), "give either --site-column or --sites"),
        (("--site-column", "ward", "--skew", "1"), "--skew needs --sites"),
        (("--sites", "2", "--skew", "0"), "a skew is a finite number above zero; got 0"),
        (("--sites", "2", "--test-fraction", "0.2"), "--test-fraction needs --public-data"),
        (("--sites", "2", "--public-data", "--test-fraction", "1"), "lies between 0 and 1; got 1"),
        (("--sites", "2", "--overlap", "some"), "--overlap: expected disjoint, unknown, or a whole number"),
        (("--sites", "2", "--overlap", "0"), "--overlap: expected disjoint, unknown, or a whole number"),
        (("--sites", "2", "--delta", "0.01"), "delta must be at most 1/(10 N) = 0.0005 for N = 200 patients"),
        (("--sites", "2", "--epsilon", "0"), "epsilon above zero"),
        (("--site-column", "bed"), "missing column 'bed'"),
        (("--sites", "9"), "patients, a site needs at least 50"),
        (("--sites", "2", "--out", "t.csv"), "'t.csv"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_usage_gets_one_sentence(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*SIMULATE, *options)


@pytest.mark.usefixtures("folder")
def test_a_record_without_a_site_is_named_by_its_column() -> None:
    cohort().assign(ward=["NA", *["A"] * 399]).to_csv("t.csv", index=False)
    assert "column 'ward': a record has no site" in refused(*SIMULATE, "--site-column", "ward")


@pytest.mark.usefixtures("folder")
def test_a_value_that_cannot_name_a_site_is_not_repeated() -> None:
    cohort().assign(ward=["Jane Doe; HIV+", *["A"] * 399]).to_csv("t.csv", index=False)
    sentence = refused(*SIMULATE, "--site-column", "ward")
    assert "the site column: a value cannot name a site; use at most 64 letters" in sentence
    assert not any(part in sentence for part in ("Jane", "Doe", "HIV"))


@pytest.mark.parametrize(
    ("codes", "status"),
    [(("OVER_BUDGET", "UNAVAILABLE"), 3), (("NOT_APPROVED",), 3), (("UNAVAILABLE",), 4), ((), 4)],
)
@pytest.mark.usefixtures("folder")
def test_a_study_that_stops_tells_refusal_from_silence(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[str, ...], status: int
) -> None:
    refusals = tuple(RefusalEntry("A", 1, Code(code), "A sentence of the site.") for code in codes)

    def stop(*_: object, **__: object) -> None:
        raise TooFewSites("0 of 2 sites answered round 1", refusals)

    monkeypatch.setattr("cohortmix.deploy.simulation.simulation.simulate", stop)
    sentence = refused(*SIMULATE, "--sites", "2", status=status)
    assert "0 of 2 sites answered round 1" in sentence
    assert ("A sentence of the site." in sentence) == (status == 3)


def test_pooled_records_are_not_taken_for_real_ones(folder: Path) -> None:
    run(*SIMULATE, "--sites", "2")
    wrong = ("evaluate", "--synthetic", "t.csv", "--real", "out/pooled.parquet", "--schema", "s.yaml")
    assert "holds synthetic records, as its metadata says" in refused(*wrong)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--noise", "shared"), "expected --noise each or --noise joint, got 'shared'"),
        (("--conspirators", "1"), "--conspirators and --dropouts need --noise joint"),
        (
            ("--noise", "joint", "--dropouts", "2"),
            "--noise joint: expected 2 (S - dropouts) > S + conspirators, got S=4",
        ),
        (
            ("--noise", "joint", "--conspirators", "4"),
            "--noise joint: expected 2 (S - dropouts) > S + conspirators",
        ),
    ],
)
@pytest.mark.usefixtures("folder")
def test_impossible_terms_of_joint_noise_are_one_sentence(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*SIMULATE, "--sites", "4", *options)


@pytest.mark.usefixtures("folder")
def test_constraints_of_a_simulation_are_read_before_the_table() -> None:
    held = ("--sites", "2", "--constraint")
    assert "expected a constraint such as 'drift<=0.1'" in refused(*SIMULATE, *held, "calm")
    assert "expected the class 'alive' or 'dead', got 'ill'" in refused(*SIMULATE, *held, "recall(ill)>=0.5")


@pytest.mark.usefixtures("folder", "few_steps")
def test_a_simulation_under_constraints_says_what_became_of_them() -> None:
    options = ("--sites", "2", "--epsilon", "3", "--constraint", "drift <= 0.5", "--constraint", "recall(dead)>=1")
    out, _ = run(*SIMULATE, *options)
    summary = report(Path("out/summary.json"))
    assert summary["study"]["constraints"] == ["drift<=0.5", "recall(dead)>=1"]
    assert report(Path("out/study.json"))["study"]["constraints"] == ["drift<=0.5", "recall(dead)>=1"]
    assert [one["constraint"] for one in summary["sites"][0]["constraints"]] == ["drift<=0.5", "recall(dead)>=1"]
    assert "Inducing points: all that were released keep 'drift<=0.5'" in out
    run("verify", "out")


@pytest.mark.usefixtures("folder", "few_steps")
def test_a_joint_simulation_is_verified_and_says_who_is_trusted() -> None:
    out, _ = run(*SIMULATE, "--sites", "4", "--noise", "joint")
    assert "joint noise: holds unless more than 1 of the 4 sites conspire with the coordinator" in out
    assert out.count("in the sum") == 4
    said, _ = run("verify", "out")
    assert "every receipt holds" in said
    assert "joint noise: holds unless more than 1 of the 4 sites conspire with the coordinator" in said
