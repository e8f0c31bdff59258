"""Make stroke.parquet and hospitals.parquet from the trial's own table: `python make.py IST.parquet`.

NOTICE.md says what is changed.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NETWORKS = ["UK", "ITAL", "SWIT", "POLA", "NETH", "SWED", "AUSL", "NORW"]
DEFICITS = [f"RDEF{number}" for number in range(1, 9)]
BEFORE = ["RDELAY", "RCONSC", "SEX", "AGE", "RSLEEP", "RATRIAL", "RCT", "RVISINF", "RHEP24", "RASP3", "RSBP"]
LARGE = 80  # patients with a known outcome, from which on a hospital is kept by itself
COLUMNS = [*BEFORE, *DEFICITS, "STYPE", "RXASP", "RXHEP"]


def by_network(trial: pa.Table) -> pa.Table:
    """The patients of the eight largest networks, with `network`."""
    country = trial["COUNTRY"].cast(pa.string())
    in_networks = pc.is_in(country, value_set=pa.array(NETWORKS))
    return known(trial.filter(in_networks), "network", country.filter(in_networks))


def by_hospital(trial: pa.Table) -> pa.Table:
    """The patients of the hospitals with LARGE patients or more, in whichever country, with `hospital`."""
    trial = trial.filter(with_outcome(trial))
    counts = trial.group_by("HOSPNUM").aggregate([("OCCODE", "count")])
    large = counts.filter(pc.greater_equal(counts["OCCODE_count"], LARGE))["HOSPNUM"]
    trial = trial.filter(pc.is_in(trial["HOSPNUM"], value_set=large.combine_chunks()))
    name = pc.binary_join_element_wise(trial["COUNTRY"].cast(pa.string()), trial["HOSPNUM"].cast(pa.string()), "-")
    return known(trial, "hospital", name)


def with_outcome(trial: pa.Table) -> pa.ChunkedArray:
    """Whose outcome at six months is known."""
    return pc.is_in(trial["OCCODE"], value_set=pa.array([1, 2, 3, 4]))


def known(trial: pa.Table, name: str, site: pa.ChunkedArray) -> pa.Table:
    """What was known at randomisation, with the site and `outcome`, of the patients with a known outcome."""
    kept = with_outcome(trial)
    trial, site = trial.filter(kept), site.filter(kept)
    bad = pc.less_equal(trial["OCCODE"], 2)  # 1: dead, 2: dependent
    columns = {name: _compact(trial[name]) for name in COLUMNS}
    columns[name] = site
    columns["outcome"] = pc.if_else(bad, "dead_or_dependent", "recovered")
    return pa.table(columns)


def _compact(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers in 16 bits; texts with nulls in the place of the trial's blanks."""
    if pa.types.is_integer(column.type):
        return column.cast(pa.int16())
    texts = column.cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


if __name__ == "__main__":
    source = pq.read_table(sys.argv[1])
    for file, table in (("stroke", by_network(source)), ("hospitals", by_hospital(source))):
        path = Path(__file__).with_name(f"{file}.parquet")
        pq.write_table(table, path, compression="zstd", compression_level=19)
