"""Records: rows of the original table, drawn from a pool.

A record is a merged bin of each feature and a class, drawn from the pool; then a fine cell from the class's shape
within each bin, and a value from the cell (`core.data.rows`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.sampling import pick_within, systematic
from cohortmix.core.data.schema import SITE, Schema
from cohortmix.core.release.pool import Pool


def draw(pool: Pool, schema: Schema, rows: int, seed: int) -> pd.DataFrame:
    """Rows of the original table, shape (rows, 1 + columns): the schema's columns and `site`.

    The same pool, schema, rows and seed give the same rows on the same machine.
    """
    encoding, rng = Encoding.of(schema), np.random.default_rng(seed)
    site, label, groups = pool.draw(rows, rng)
    codes: dict[str, NDArray[np.int32]] = {}
    for j, (cells, block) in enumerate(zip(encoding.features, encoding.blocks, strict=True)):
        merged = np.asarray(pool.groups.of_cells[j])
        codes[cells.name] = pick_within(pool.shape[:, block], merged, label, groups[:, j], rng).astype(np.int32)
    frame = rows_of_cells(codes, label, schema, rng, pool.points, site)
    frame[SITE] = pd.Series(np.asarray(pool.sites, dtype=object)[site], dtype="string")
    return frame


def dealt_out(records: pd.DataFrame, patients: Mapping[str, int], seed: int) -> pd.DataFrame:
    """Records with a site for each: as many of each site as it has patients, and nothing else tells sites apart.

    Of a joint study no more is known: what was released is about all sites together.

    Parameters
    ----------
    patients : by site, above zero.
    """
    rng, counts = np.random.default_rng([seed, 1]), np.array(list(patients.values()), dtype=np.float64)
    site = rng.permutation(systematic(counts, len(records), rng))
    names = np.array(list(patients), dtype=object)[site]
    return records.assign(**{SITE: pd.Series(names, index=records.index, dtype="string")})
