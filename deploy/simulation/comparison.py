"""Comparison: how well models predict held-out public records that learned from real ones and from synthetic ones.

Not private, as every figure on real records (`core/utility/evaluate.py`): for records that are public.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd
import pyarrow as pa

from cohortmix.core.data.schema import Schema
from cohortmix.server.app import Progress
from cohortmix.server.publish.publish import Figures

if TYPE_CHECKING:
    from cohortmix.core.utility.columns import Values
    from cohortmix.core.utility.evaluate import Scored

Table: TypeAlias = pd.DataFrame | pa.Table


class Comparison:
    """The same model trained on each site's own records, on synthetic ones, and on all real ones together.

    One comparison serves several studies of the same records: it learns once from each table of real ones, since
    the same table gives the same model.

    Parameters
    ----------
    held_out : (n rows) public records on which all models are compared.
    """

    def __init__(self, held_out: Table) -> None:
        self._held_out = held_out
        self._learned: list[tuple[pa.Table, Schema, Scored]] = []

    def figures(
        self, synthetic: pd.DataFrame, tables: Mapping[str, pa.Table], schema: Schema, progress: Progress
    ) -> Figures:
        """The figures of one study.

        Parameters
        ----------
        synthetic : its pooled records.
        tables : the real records of each site, by its name.
        progress : called as progress("evaluate", models, of so many).
        """
        from cohortmix.core.utility.columns import patients, read
        from cohortmix.core.utility.evaluate import auc, score_real  # brings in LightGBM
        from cohortmix.core.utility.interval import auc_difference

        test, total = read(self._held_out, schema), len(tables) + 2
        scores = {}
        for done, (name, table) in enumerate(tables.items()):
            scores[name] = self._of_real(table, test, schema)
            progress("evaluate", done + 1, total)
        pooled = score_real(synthetic, test, schema)
        progress("evaluate", total - 1, total)
        ceiling = self._of_real(pa.concat_tables(tables.values()), test, schema)
        progress("evaluate", total, total)
        patient = patients(self._held_out, schema)
        patient = None if patient is None else patient[pooled.known]
        areas = {name: auc(scored.label, scored.scores) for name, scored in scores.items()}
        gains = {
            name: auc_difference(scored.label, scored.scores, pooled.scores, patient)
            for name, scored in scores.items()
        }
        return Figures(areas, auc(pooled.label, pooled.scores), auc(ceiling.label, ceiling.scores), gains)

    def _of_real(self, table: pa.Table, test: Values, schema: Schema) -> Scored:
        """The held-out records, scored by a model of a table; a table that was learned from is not again."""
        from cohortmix.core.utility.evaluate import score_real

        for known, its_schema, scored in self._learned:
            if known.equals(table) and its_schema == schema:
                return scored
        scored = score_real(table, test, schema)
        self._learned.append((table, schema, scored))
        return scored
