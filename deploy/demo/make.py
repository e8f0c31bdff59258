"""Make stroke.parquet from the trial's own table: `python make.py IST.parquet`. NOTICE.md says what is changed."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NETWORKS = ["UK", "ITAL", "SWIT", "POLA", "NETH", "SWED", "AUSL", "NORW"]
DEFICITS = [f"RDEF{number}" for number in range(1, 9)]
BEFORE = ["RDELAY", "RCONSC", "SEX", "AGE", "RSLEEP", "RATRIAL", "RCT", "RVISINF", "RHEP24", "RASP3", "RSBP"]
COLUMNS = [*BEFORE, *DEFICITS, "STYPE", "RXASP", "RXHEP"]


def demo_table(trial: pa.Table) -> pa.Table:
    """What was known at randomisation, with `network` and `outcome`, of the patients with a known outcome."""
    known = pc.is_in(trial["OCCODE"], value_set=pa.array([1, 2, 3, 4]))
    in_networks = pc.is_in(trial["COUNTRY"].cast(pa.string()), value_set=pa.array(NETWORKS))
    trial = trial.filter(pc.and_(known, in_networks))
    bad = pc.less_equal(trial["OCCODE"], 2)  # 1: dead, 2: dependent
    columns = {name: _compact(trial[name]) for name in COLUMNS}
    columns["network"] = trial["COUNTRY"].cast(pa.string())
    columns["outcome"] = pc.if_else(bad, "dead_or_dependent", "recovered")
    return pa.table(columns)


def _compact(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers in 16 bits; texts with nulls in the place of the trial's blanks."""
    if pa.types.is_integer(column.type):
        return column.cast(pa.int16())
    texts = column.cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


if __name__ == "__main__":
    table = demo_table(pq.read_table(sys.argv[1]))
    pq.write_table(table, Path(__file__).with_name("stroke.parquet"), compression="zstd", compression_level=19)
