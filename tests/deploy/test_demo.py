"""The demo: its data are what the notice says, and the tour ends with a table, the files and a verified study."""

import io
import json
import re
from collections import Counter
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cohortmix.core.data.dictionary.columns import Number
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, TableSource
from cohortmix.core.utility.checks.check import check
from cohortmix.deploy.simulation.simulation import Simulation
from cohortmix.deploy.tour import (
    BY_HOSPITAL,
    BY_NETWORK,
    DATA,
    NETWORKS,
    STEPS,
    View,
    _is_demo,
    joint_folder,
    tables,
    tour,
)
from cohortmix.deploy.tour_results import print_results
from cohortmix.deploy.verify import verify
from cohortmix.server.publish.gains import compared, shown_gain
from cohortmix.server.publish.publish import FILES

PATIENTS = dict(zip(NETWORKS, (4689, 2578, 1223, 566, 535, 472, 446, 394), strict=True))
BANNER = "NOT PRIVATE: test noise"


VIEWS = pytest.mark.parametrize("view", [BY_NETWORK, BY_HOSPITAL], ids=lambda view: view.noun)


class Finished(NamedTuple):
    """A tour that was made: its two studies, the first one's folder, and what it said on the way."""

    simulated: Simulation
    joint: Simulation
    out: Path
    said: str


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.from_yaml((DATA / "schema.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def trial() -> pa.Table:
    return pq.read_table(DATA / "stroke.parquet")


def table_of(view: View) -> pa.Table:
    return pq.read_table(DATA / view.file)


def test_the_data_are_small_and_come_with_their_notice() -> None:
    assert all((DATA / view.file).stat().st_size < 1_000_000 for view in (BY_NETWORK, BY_HOSPITAL))
    notice = (DATA / "NOTICE.md").read_text("utf-8")
    for said in ("ODC-By", "10.7488/ds/104", "Sandercock", "What was changed", "public"):
        assert said in notice


@VIEWS
def test_the_table_holds_the_schemas_columns_and_the_site(view: View, schema: Schema) -> None:
    schema.require_confirmed()
    assert table_of(view).column_names == [*schema.features, view.column, "outcome"]
    assert schema.patient_key is None
    assert schema.classes == ("recovered", "dead_or_dependent")
    assert all(column.description for column in schema.columns.values())
    assert [name for name, column in schema.columns.items() if column.missing] == ["RATRIAL", "RHEP24", "RASP3"]


@VIEWS
def test_every_value_is_within_its_bounds_and_a_wrong_one_is_noticed(view: View, schema: Schema) -> None:
    trial = table_of(view)
    strict = {name: column.model_copy(update={"outside": "refuse"}) for name, column in schema.columns.items()}
    strict_schema = schema.model_copy(update={"columns": strict})
    check(TableSource(trial), strict_schema)
    for name, column in schema.columns.items():
        if isinstance(column, Number):
            low, high = pc.min_max(trial[name]).as_py().values()
            assert column.min <= low < high <= column.max
    changed = trial.set_column(trial.column_names.index("AGE"), "AGE", pa.array([106] * len(trial)))
    with pytest.raises(InputError, match="AGE"):
        check(TableSource(changed), strict_schema)


@VIEWS
def test_only_the_columns_that_may_miss_hold_nulls_and_no_text_is_blank(view: View, schema: Schema) -> None:
    trial = table_of(view)
    holes = {name for name in trial.column_names if trial[name].null_count}
    assert holes == {name for name, column in schema.columns.items() if column.missing}
    texts = [name for name in trial.column_names if trial[name].type == pa.string()]
    assert not any(pc.any(pc.equal(pc.utf8_trim_whitespace(trial[name]), "")).as_py() for name in texts)


def test_a_quarter_of_each_network_is_held_out_and_no_patient_is_on_both_sides(trial: pa.Table) -> None:
    kept, held_out = tables()
    assert Counter(kept["network"].to_pylist()) == PATIENTS
    assert list(dict.fromkeys(kept["network"].to_pylist())) == list(NETWORKS)
    for name, n in Counter(trial["network"].to_pylist()).items():
        assert n - PATIENTS[name] == round(n / 4)
    rows = [tuple(row.values()) for row in pa.concat_tables([kept, held_out]).to_pylist()]
    assert Counter(rows) == Counter(tuple(row.values()) for row in trial.to_pylist())


def test_the_hospitals_are_those_of_80_patients_or_more_and_each_holds_a_quarter_out() -> None:
    kept, held_out = tables(BY_HOSPITAL)
    counts = Counter(table_of(BY_HOSPITAL)["hospital"].to_pylist())
    assert (len(counts), sum(counts.values())) == (74, 10_312)
    assert min(counts.values()) >= 80
    assert Counter(held_out["hospital"].to_pylist()) == {name: round(n / 4) for name, n in counts.items()}
    assert len(kept) + len(held_out) == 10_312


def test_the_same_patients_are_held_out_each_time() -> None:
    assert all(once.equals(again) for once, again in zip(tables(), tables(), strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The whole tour with test noise, one network after the other in this process."""
    out, said = tmp_path_factory.mktemp("demo") / "out", io.StringIO()
    with redirect_stderr(said):
        each, joint = tour(out, seed=1)
    return Finished(each, joint, out, said.getvalue())


def test_pooling_helps_small_networks_and_stays_below_the_ceiling(finished: Finished) -> None:
    summary = finished.simulated.summary
    assert {site["name"]: site["n"] for site in summary["sites"]} == PATIENTS
    assert {round(site["mu"], 3) for site in summary["sites"]} == {0.268}
    assert all(site["epsilon"] <= 1 for site in summary["sites"])
    own, pooled = {site["name"]: site["own_score"] for site in summary["sites"]}, summary["pooled"]["score"]
    assert max(own["POLA"], own["NETH"], own["AUSL"]) < pooled < summary["ceiling_score"]
    assert pooled > 0.76


def test_the_files_of_the_tour_say_that_its_noise_is_a_test(finished: Finished) -> None:
    simulated, joint, out, _ = finished
    assert {path.name for path in out.iterdir()} == FILES
    assert BANNER in (out / "report.html").read_text("utf-8")
    assert json.loads((out / "summary.json").read_text())["noise"] == "TEST"
    receipts = [json.loads(path.read_bytes()) for path in (out / "receipts").iterdir()]
    assert all(BANNER in json.dumps(receipt) for receipt in receipts)
    assert len(pd.read_parquet(out / "pooled.parquet")) == sum(PATIENTS.values()) == len(simulated.records)
    assert {path.name for path in joint_folder(out).iterdir()} == FILES
    assert json.loads((joint_folder(out) / "summary.json").read_text()) == joint.summary
    assert (simulated.summary["study"]["joint"], joint.summary["study"]["joint"]["threshold"]) == (None, 7)


def test_joint_noise_serves_better_and_no_network_is_reduced(finished: Finished) -> None:
    simulated, joint, *_ = finished
    assert not any(site["reduced"] for site in joint.summary["sites"])
    assert joint.summary["pooled"]["score"] > simulated.summary["pooled"]["score"]
    assert joint.records["site"].value_counts().to_dict() == PATIENTS


def test_the_tour_says_first_which_networks_are_too_small_and_replaces_an_earlier_tour_only(
    finished: Finished, tmp_path: Path
) -> None:
    said = finished.said.partition("6 of 8 sites will release one centroid per class")
    assert said[1]
    assert "round 1" not in said[0]
    assert _is_demo(finished.out)
    assert not _is_demo(tmp_path)
    (tmp_path / "summary.json").write_text('{"study": {"name": "another"}}')
    assert not _is_demo(tmp_path)
    with pytest.raises(InputError, match="holds files, such as"):
        tour(tmp_path, seed=1)


def test_the_receipts_of_the_tour_hold(finished: Finished) -> None:
    for folder, worst in ((finished.out, 0.268 * 8**0.5), (joint_folder(finished.out), 0.267 * 8)):
        (study,) = verify([folder])
        assert set(study.receipts) == set(NETWORKS)
        assert study.consortium.mu == pytest.approx(0.268, abs=2e-3)
        assert study.consortium.worst == pytest.approx(worst, rel=1e-2)


def test_the_table_says_what_each_network_gains_and_what_is_chance(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    simulated, joint, out, _ = finished
    print_results(simulated.summary, joint.summary, "network", out, joint_folder(out))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == BANNER
    pooled = simulated.summary["pooled"]["score"]
    for site in simulated.summary["sites"]:
        cells = next(line for line in lines if line.split()[:1] == [site["name"]]).split()
        assert cells[2:6] == [f"{site['n']:,}", "0.268", "1.00", f"{site['own_score']:.3f}"]
        assert [*cells[6:7], " ".join(cells[7:])] == list(shown_gain(site, pooled))
    said = " ".join(" ".join(lines).split())  # a sentence may go on in a further line
    assert f"the pooled synthetic cohort predicts {compared(simulated.summary, 'network')};" in said
    assert f"with joint noise {compared(joint.summary, 'network')}." in said
    assert "unless more than 1 of them conspire with the coordinator" in said
    small = [site["name"] for site in simulated.summary["sites"] if site["reduced"]]
    assert len(small) == 6
    assert not {"UK", "ITAL"} & set(small)  # the largest two
    assert f"- Noise of each: Reduced to class centroids (6 of 8 sites): {small[0]}, {small[1]}" in said
    for mode, auc in (("each", pooled), ("joint", joint.summary["pooled"]["score"])):
        assert any(line.split()[:2] == ["synthetic,", mode] and f"{auc:.3f}" in line for line in lines)
    assert any(f"cohortmix verify {out}" in line for line in lines)
    assert "finds at most 8.5 % of the members" in said


def test_real_noise_is_not_called_a_test(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    simulated, joint, out, _ = finished
    real = simulated.summary | {"noise": "opendp"}
    print_results(real, joint.summary, "network", out, joint_folder(out))
    assert BANNER not in capsys.readouterr().out


def test_the_tour_says_what_it_is_about_to_do_and_ends_each_step(finished: Finished) -> None:
    plan, each, joint = re.split(r"\nnoise: (?:each|joint)\n", finished.said)
    assert "UK 4,689, ITAL 2,578" in plan
    assert "epsilon 1 at delta 1e-05, that is mu 0.268" in plan
    for said in (each, joint):
        lines = [line for line in said.splitlines() if line.startswith(tuple(STEPS.values()))]
        last = {line.partition(":")[0]: line for line in lines}
        assert list(last) == list(STEPS.values())
        for line in last.values():
            done, _, total = line.split()[-3:]
            assert done == total


def test_other_peoples_files_stay(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("do not lose this")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        tour(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
