"""The commands for one table: what they print and write, and how they end."""

import io
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import CHEAP, EVALUATE, SCHEMA, SYNTHESIZE, cohort, refused, report, run

from cohortmix.client.local.output import FILES
from cohortmix.core.arguments import MOST_ROWS
from cohortmix.core.privacy.meter import BudgetExceeded
from cohortmix.core.single_release import Release
from cohortmix.protocol.local.progress import step
from cohortmix.protocol.local.terminal import Terminal


def test_evaluate_prints_figures_under_a_banner_and_writes_them(folder: Path) -> None:
    out, _ = run(*EVALUATE, "--json", "figures.json")
    assert out.startswith("Figures on real records are NOT PRIVATE")
    written = report(folder / "figures.json")
    (outcome,) = written["targets"]
    assert outcome["target"] == "y"
    assert outcome["auc"] > 0.9
    assert f"{outcome['auc']:.3f}" in out
    assert f"{written['tvd']['pairs']:.3f}" in out


@pytest.mark.parametrize(
    "targets", [("--target", "y", "sex", "x>3"), ("--target", "y", "--target", "sex", "--target", "x>3")]
)
def test_evaluate_takes_several_targets(folder: Path, targets: tuple[str, ...]) -> None:
    run(*EVALUATE, *targets, "--json", "figures.json")
    assert [one["target"] for one in report(folder / "figures.json")["targets"]] == ["y", "sex", "x>3"]


def test_a_figure_that_is_not_defined_is_null_and_a_dash(folder: Path) -> None:
    cohort().assign(y="alive").to_csv("t.csv", index=False)
    out, _ = run(*EVALUATE, "--json", "figures.json")
    reason = "the real records have one class only"
    (target,) = report(folder / "figures.json")["targets"]
    expected = {"target": "y", "auc": None, "ceiling_auc": None, "merged": 0, "reason": reason}
    assert target | expected == target
    assert target["models"]["boosted_trees"]["tstr"]["average_precision"] is None
    assert out.splitlines()[2].split() == ["y", "-", "-"]
    assert f"y: {reason}, so that a model has nothing to tell apart" in " ".join(out.split())


def test_synthetic_records_need_no_patient_key(folder: Path) -> None:
    (folder / "s.yaml").write_text(SCHEMA.replace("target: y", "patient_key: id\ntarget: y"))
    cohort().assign(id=range(300)).to_csv("t.csv", index=False)
    run(*EVALUATE)
    cohort().to_csv("t.csv", index=False)
    assert "the real table: missing column 'id'" in refused(*EVALUATE)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*EVALUATE, "--target", "z"), "no column 'z'"),
        ((*EVALUATE, "--target", "x, y"), "time='x' may not be missing"),
        ((*EVALUATE, "--strata", "sex"), "strata='sex': expected a time and an event among the targets, got none"),
        ((*EVALUATE, "--strata", "z"), "no column 'z'"),
        ((*EVALUATE, "--figure", "no/such/figure.svg"), "cannot write 'no/such/figure.svg'"),
        ((*EVALUATE, "--figure", "t.csv", "--replace"), "which is needed as it is"),
        ((*EVALUATE, "--figure", "figure.png"), "expected --figure to name an SVG file"),
        ((*EVALUATE, "--figure", "new", "--json", "new"), "which is needed as it is"),
        ((*EVALUATE, "z"), "name targets with --target"),
        ((*EVALUATE, "--json", "no/such/folder.json"), "cannot write 'no/such/folder.json'"),
        (("evaluate", "--synthetic", "t.csv", *EVALUATE[3:]), "'t.csv' and --real 't.csv' are the same table"),
        (
            ("evaluate", "--synthetic", "s.yaml", *EVALUATE[3:]),
            "the synthetic table: 's.yaml': expected a folder of Parquet files",
        ),
        ((*EVALUATE[:4], "none.csv", *EVALUATE[5:]), "the real table: there is no file 'none.csv'"),
        (
            ("evaluate", "--synthetic", "none.csv", *EVALUATE[3:]),
            "the synthetic table: there is no file 'none.csv'",
        ),
        (
            ("evaluate", "--synthetic", "s.yaml", *EVALUATE[3:]),
            "expected a folder of Parquet files, or a file with an ending of",
        ),
        ((*EVALUATE[:-1], "none.yaml"), "cannot read the schema 'none.yaml'"),
        ((*EVALUATE[:-1], "other.parquet"), "cannot read the schema 'other.parquet': it is not UTF-8 text"),
        (EVALUATE[:-2], "Missing option '--schema'; see cohortmix evaluate --help"),
        (("evaluat",), "No such command 'evaluat'. Did you mean 'evaluate'?"),
        ((), "Missing command; see cohortmix --help"),
        (("schema", "draft", "--data", "none.csv"), "there is no file 'none.csv'"),
        (("schema", "draft", "--colour", "red"), "No such option"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_usage_gets_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*arguments)


def test_schema_draft_prints_a_schema_to_complete(folder: Path) -> None:
    out, err = run("schema", "draft", "--data", "t.csv")
    assert out.startswith("# A draft")
    assert "x: {type: number, min: null, max: null, missing: true, confirmed: false}" in out
    assert err == ""
    (folder / "draft.yaml").write_text(out)
    assert "target: choose the outcome" in refused(*EVALUATE[:-1], "draft.yaml")


def test_synthesize_writes_a_release_and_prints_what_it_cost(folder: Path) -> None:
    out, _ = run(*SYNTHESIZE)
    assert {path.name for path in (folder / "out").iterdir()} == FILES
    receipt, summary = report(folder / "out/receipt.json"), report(folder / "out/summary.json")
    assert (receipt["noise"], summary["noise"]) == ("opendp", "opendp")
    assert receipt["epsilon"] == pytest.approx(3, rel=1e-6)
    assert receipt["delta"] == 1e-5
    assert receipt["mu"] == pytest.approx(
        sum(Fraction(statement["mu2"]) for statement in receipt["statements"]) ** 0.5
    )
    assert (summary["n"], summary["rows"], summary["epsilon"]) == (300, 300, receipt["epsilon"])
    header, figures = (line.split() for line in out.splitlines()[:2])
    shown = dict(zip(header, figures, strict=True))
    assert (shown["N"], shown["delta"], shown["noise"]) == ("300", "1e-05", "opendp")
    assert shown["centroids"] == str(summary["centroids"])
    assert "NOT PRIVATE" not in out

    records = pd.read_parquet(folder / "out/records.parquet")
    assert list(records.columns) == ["x", "sex", "y"]
    assert records["x"].dropna().between(0, 10).all()
    centroids = pd.read_parquet(folder / "out/centroids.parquet")
    assert centroids["mass"].sum() == pytest.approx(300)
    assert (centroids["kind"] != "support").sum() == summary["centroids"]


def test_a_seed_repeats_a_run_and_marks_every_output(folder: Path) -> None:
    shown = [run(*SYNTHESIZE[:-1], out, "--seed", "7", "--rows", "20")[0] for out in ("one", "two")]
    assert all(text.startswith("NOT PRIVATE: test noise") for text in shown)
    for name in ("receipt.json", "summary.json"):
        assert report(folder / "one" / name)["warning"] == "NOT PRIVATE: test noise"
        assert report(folder / "one" / name)["noise"] == "TEST"
    for name in ("records.parquet", "centroids.parquet"):
        one, two = (pq.read_table(folder / out / name) for out in ("one", "two"))
        assert one.equals(two, check_metadata=True)
        assert b"NOT PRIVATE: test noise" in one.schema.metadata[b"cohortmix"]
    assert len(pd.read_parquet(folder / "one/records.parquet")) == 20
    for seed in ("1", "2"):
        run(*CHEAP, "--seed", seed, "--out", seed)
    assert report(folder / "1/receipt.json") == report(folder / "2/receipt.json")
    assert not pq.read_table(folder / "1/centroids.parquet").equals(pq.read_table(folder / "2/centroids.parquet"))


def test_a_table_too_small_for_pairs_of_columns_degrades_and_says_so(folder: Path) -> None:
    cohort(60).to_csv("t.csv", index=False)
    out, _ = run(*SYNTHESIZE[:5], "--epsilon", "0.2", "--out", "out", "--seed", "1", "--accept-degraded")
    assert "one centroid per class" in out
    assert report(folder / "out/summary.json")["degraded_to_class_centroids"] is True
    assert set(pd.read_parquet(folder / "out/centroids.parquet")["kind"]) == {"class"}


def test_a_loose_delta_is_said_in_every_output(folder: Path) -> None:
    out, _ = run(*CHEAP, "--delta", "0.003", "--loose-delta")
    assert "delta is above 1/(10 N)" in out
    assert report(folder / "out/receipt.json")["loose_delta"] is True
    assert report(folder / "out/summary.json")["loose_delta"] is True
    out, _ = run(*CHEAP, "--delta", "0.0003", "--loose-delta", "--out", "two")
    assert "1/(10 N)" not in out
    assert report(folder / "two/summary.json")["loose_delta"] is False


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--epsilon", "0"), "epsilon above zero; got epsilon=0.0"),
        (("--epsilon", "-1"), "epsilon above zero"),
        (("--epsilon", "nan"), "epsilon above zero"),
        (("--epsilon", "inf"), "epsilon above zero"),
        (("--epsilon", "1e300"), "epsilon=1e+300 protects nobody: expected at most 1e+06"),
        (("--epsilon", "1000001"), "protects nobody"),
        (("--epsilon", "1e-30", "--delta", "1e-30"), "expected mu >= 1e-06; raise epsilon or delta"),
        (("--delta", "0"), "delta must be a probability strictly between 0 and 1; got delta=0.0"),
        (("--delta", "1", "--loose-delta"), "strictly between 0 and 1"),
        (("--delta", "0.001"), "delta must be at most 1/(10 N) = 0.000333 for N = 300 patients"),
        (("--epsilon", "much"), "Invalid value for '--epsilon'"),
        (("--rows", "0"), "Invalid value for '--rows'"),
        (("--schema", "none.yaml"), "cannot read the schema 'none.yaml'"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_an_impossible_budget_or_option_gets_one_sentence(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*SYNTHESIZE, *options)


def test_constraints_are_kept_and_said_and_one_that_cannot_be_ends_with_nothing_written(folder: Path) -> None:
    kept = ("--constraint", "drift<=0.01", "--constraint", "recall(dead)>=0.1")
    run(*SYNTHESIZE, "--seed", "1", *kept)
    for file in ("receipt.json", "summary.json"):
        facts = report(folder / "out" / file)["constraints"]
        assert [(one["constraint"], one["met"]) for one in facts] == [(kept[1], True), (kept[3], True)]
    both = ("--constraint", "recall(dead)>=1", "--constraint", "recall(alive)>=1")
    said = refused(*SYNTHESIZE[:-1], "none", "--seed", "1", *both)
    assert ")>=1' was not met, with 0." in said
    assert "nothing is written, but the budget is spent" in said
    assert not (folder / "none").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("drift=0.1", "expected a constraint such as 'drift<=0.1'"),
        ("recall(gone)>=0.8", "expected the class"),
        ("calibration(BMI>=30, dead)<=0.1", "'BMI' is not in the schema"),
    ],
)
def test_an_unknown_constraint_is_refused_before_the_table_is_read(folder: Path, text: str, sentence: str) -> None:
    (folder / "t.csv").unlink()
    assert sentence in refused(*SYNTHESIZE, "--constraint", text)


@pytest.mark.parametrize("options", [("--epsilon", "1e6"), ("--epsilon", "3e-6", "--delta", "1e-7")])
@pytest.mark.usefixtures("folder")
def test_a_budget_at_the_limits_is_exact(options: tuple[str, ...]) -> None:
    run(*CHEAP, *options)


def test_an_earlier_release_is_never_replaced(folder: Path) -> None:
    """It was paid for, and cannot be made again: even a part of one is kept."""
    (folder / "out").mkdir()  # an empty folder is free
    run(*CHEAP)
    assert {path.name for path in (folder / "out").iterdir()} == FILES
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    assert "'out' holds files, such as 'centroids.parquet', which stay as they are" in refused(*CHEAP)
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == before
    assert sorted(path.name for path in folder.iterdir()) == ["other.parquet", "out", "s.yaml", "t.csv"]


def test_class_centroids_alone_are_refused_before_anything_is_spent_and_what_would_help_helps(
    folder: Path,
) -> None:
    cohort(120).to_csv("t.csv", index=False)
    small = (*SYNTHESIZE[:6], "0.2", *SYNTHESIZE[7:], "--seed", "1")
    said = refused(*small)
    assert "N = 120 is too small for pairs of columns at this budget" in said
    assert "or accept class centroids alone with --accept-degraded" in said
    enough = said.partition("epsilon ")[2].split()[0]
    run(*SYNTHESIZE[:6], enough, *SYNTHESIZE[7:], "--seed", "1")
    assert report(folder / "out/summary.json")["degraded_to_class_centroids"] is False
    less = f"{0.9 * float(enough):.3g}"
    assert "too small for pairs" in refused(*SYNTHESIZE[:6], less, *SYNTHESIZE[7:-1], "other")


def test_progress_is_plain_in_a_log_and_not_on_standard_output(folder: Path) -> None:
    out, err = run(*CHEAP)
    first, *others = err.splitlines()
    assert first == "checking the table ..."
    assert others == ["answers: 0 of 1", "answers: 1 of 1"]
    assert "..." not in out
    terminal = io.StringIO()
    with step("working", Terminal(file=terminal, force_terminal=True)):
        pass
    assert "✓" in terminal.getvalue()


def test_nothing_is_said_of_progress_where_nobody_wants_it(folder: Path) -> None:
    assert run(*CHEAP, "--quiet")[1] == ""
    shutil.rmtree(folder / "out")
    assert run(*CHEAP)[1] != ""  # it holds for one command


def test_over_the_budget_ends_with_status_3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def over(*_: object, **__: object) -> None:
        raise BudgetExceeded("spent mu=0.20, asked mu=0.15, cap mu=0.30")

    monkeypatch.setattr("cohortmix.client.local.cli._release", over)
    assert "spent mu=0.20, asked mu=0.15, cap mu=0.30" in refused(*SYNTHESIZE, status=3)


def test_the_console_script_ends_with_the_status_and_one_sentence(folder: Path) -> None:
    command = [str(Path(sys.executable).with_name("cohortmix")), *EVALUATE[:-1], "none.yaml"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "cohortmix: cannot read the schema 'none.yaml': No such file or directory\n"


def test_figures_never_take_the_place_of_a_file_unless_it_is_allowed(folder: Path) -> None:
    """`--json heart.csv` would be the end of the patients' table."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert "'t.csv' is, or lies in, 't.csv', which is needed" in refused(*EVALUATE, "--json", "t.csv", "--replace")
    for name in ("other.parquet", "s.yaml"):
        assert "needed as it is" in refused(*EVALUATE, "--json", name, "--replace")
    (folder / "thesis").write_text("do not lose this")
    assert "'thesis' exists" in refused(*EVALUATE, "--json", "thesis")
    assert {path: path.read_bytes() for path in before} == before
    run(*EVALUATE, "--json", "thesis", "--replace")
    assert report(folder / "thesis")["targets"]


def test_evaluate_refuses_one_table_twice_and_tables_that_are_swapped(folder: Path) -> None:
    """Both give figures that look excellent: real records against real ones, or a model of its own records."""
    (folder / "copy.csv").write_bytes((folder / "t.csv").read_bytes())
    (folder / "link.csv").symlink_to("t.csv")
    for twice in ("copy.csv", "link.csv"):
        assert "are the same table" in refused(*EVALUATE[:2], twice, *EVALUATE[3:])
    run(*CHEAP)
    for real in ("out/records.parquet", "out"):
        assert "holds synthetic records, as its metadata says; are the two tables swapped?" in refused(
            *EVALUATE[:2], "t.csv", "--real", real, *EVALUATE[5:]
        )
    run(*EVALUATE[:2], "out/records.parquet", *EVALUATE[3:])


def test_too_many_rows_are_refused_before_anything_is_spent(folder: Path) -> None:
    for command in (SYNTHESIZE, ("study", "publish", "none", "--key", "none", "--out", "new")):
        assert f"is not in the range 1<=x<={MOST_ROWS}" in refused(*command, "--rows", str(MOST_ROWS + 1))


@pytest.mark.parametrize("most", [300, 0])
def test_where_memory_ends_while_records_are_drawn_the_release_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    draw = Release.records

    def short(release: Release, rows: int | None = None) -> pd.DataFrame:
        if (rows or release.patients) > most:
            raise MemoryError("Unable to allocate 745. GiB")
        return draw(release, rows)

    monkeypatch.setattr(Release, "records", short)
    out, err = run(*CHEAP, "--rows", "3000", status=2)
    assert (
        f"not enough memory for 3,000 records: the release was paid for and is kept in 'out', with {most}" in err
    )
    assert "written to out" in out
    assert {path.name for path in (folder / "out").iterdir()} == FILES - (set() if most else {"records.parquet"})
    assert report(folder / "out/summary.json")["rows"] == most


@pytest.mark.parametrize("out", ["t.csv/sub", "x" * 300, "y" * 250, f"{'x' * 300}/sub"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_table_is_read(folder: Path, out: str) -> None:
    _, err = run(*CHEAP, "--out", out, status=2)
    assert err.startswith(f"cohortmix: cannot write '{out}': ")
    assert len(err.splitlines()) == 1, "no step was begun"


def test_any_command_ends_in_a_sentence_where_memory_or_a_permission_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, sentence in (
        (MemoryError("745. GiB"), "there is not enough memory for this on this machine"),
        (PermissionError(13, "Permission denied", "nodir/x"), "cannot use 'nodir/x': Permission denied"),
    ):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("cohortmix.client.local.cli.read_schema", fail)
        assert refused(*SYNTHESIZE) == f"cohortmix: {sentence}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
def test_a_folder_that_may_not_be_entered_is_one_sentence(folder: Path) -> None:
    """As a user without rights: not even whether it exists can be seen."""
    command = (
        "import os, sys; from pathlib import Path; from cohortmix.protocol.local.folder import require_free; "
        "os.setgid(65534); os.setuid(65534); require_free(Path(sys.argv[1]), ())"
    )
    shut = folder / "shut"
    shut.mkdir(mode=0o700)
    for out in (shut / "x", folder / "new"):
        ended = subprocess.run([sys.executable, "-c", command, out], capture_output=True, text=True, check=False)
        assert f"InputError: cannot write '{out}': Permission denied" in ended.stderr
