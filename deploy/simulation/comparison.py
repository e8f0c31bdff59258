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
    from cohortmix.core.utility.held_out import HeldOut, Predicted

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
        self._learned: list[tuple[pa.Table, Schema, Predicted]] = []

    def require(self, schema: Schema) -> None:
        """Raise InputError if no models can be compared on the held-out records, before anything is spent."""
        self._test(schema)

    def figures(
        self, synthetic: pd.DataFrame, tables: Mapping[str, pa.Table], schema: Schema, progress: Progress
    ) -> Figures:
        """The figures of one study: of the kind that suits its target (`core/utility/held_out.py`).

        Parameters
        ----------
        synthetic : its pooled records.
        tables : the real records of each site, by its name.
        progress : called as progress("evaluate", models, of so many).

        Raises
        ------
        InputError
            If the schema has no target, or the follow-up of a held-out record is not known.
        """
        test, total = self._test(schema), len(tables) + 2
        own = {}
        for done, (name, table) in enumerate(tables.items()):
            own[name] = self._of_real(table, test, schema)
            progress("evaluate", done + 1, total)
        pooled = test.predicted(synthetic)
        progress("evaluate", total - 1, total)
        ceiling = self._of_real(pa.concat_tables(tables.values()), test, schema)
        progress("evaluate", total, total)
        scores = {name: test.figure(one) for name, one in own.items()}
        gains = {name: test.gain(one, pooled) for name, one in own.items()}
        return Figures(test.name, scores, test.figure(pooled), test.figure(ceiling), gains)

    def _test(self, schema: Schema) -> HeldOut:
        from cohortmix.core.utility.held_out import held_out  # brings in LightGBM

        return held_out(self._held_out, schema)

    def _of_real(self, table: pa.Table, test: HeldOut, schema: Schema) -> Predicted:
        """What a model of a table says of the held-out records; a table that was learned from is not again."""
        for known, its_schema, predicted in self._learned:
            if known.equals(table) and its_schema == schema:
                return predicted
        predicted = test.predicted(table)
        self._learned.append((table, schema, predicted))
        return predicted
