"""`condense`: a few weighted rows on which one classical model comes near to what all released records give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import pandas as pd
import pyarrow as pa

from cohortmix.core.arguments import kind_of, require_kind, require_one_of, require_whole
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import listed

if TYPE_CHECKING:
    from cohortmix.core.release.condense.condensation import Condensed

Model = Literal["tree", "forest", "boosted", "logistic", "cox", "survival-forest"]
SIZE = 50
MOST_EVALUATIONS = 10_000_000
MOST_SIZE = 10_000


def condense(
    records: pd.DataFrame | pa.Table,
    schema: Schema,
    model: Model,
    size: int = SIZE,
    *,
    evaluations: int | None = None,
    seed: int = 0,
) -> Condensed:
    """Weighted rows on which a model comes as near as can be to what it reaches on all records of a release.

    Nothing is asked of patients and nothing is spent: this is post-processing of released records, and what it
    gives is as private as they are. Real records have no place here: their condensed rows would betray them.

    Parameters
    ----------
    records : synthetic records with the schema's columns; others are left out.
    model : `tree`, `forest`, `boosted` or `logistic` for a category; `cox` or `survival-forest` for a time and its
        event.
    size : R, the number of rows, at least 2.
    evaluations : how often the model is fitted on rows; by default about half a minute of one processor.
    seed : of the search; the same one gives the same rows on one machine.

    Returns
    -------
    Condensed
        `rows` with the schema's columns and `weight`, and `facts`.

    Raises
    ------
    InputError
        If an argument is wrong, the model does not suit the target, the records are not as the schema declares
        or have one class, or there are fewer of them than rows.
    """
    require_kind("schema", schema, Schema, "read a file's text with Schema.from_yaml")
    require_arguments(model, size, evaluations, seed)
    frame = _as_frame(records) if isinstance(records, pa.Table) else records
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"expected records to be a DataFrame or a pyarrow Table, got {kind_of(records)}")
    require_suited(model, schema)
    if size > len(frame):
        raise InputError(
            f"expected size to be at most the {len(frame):,} records of the release, got size={size:,}"
        )
    from cohortmix.core.release.condense.condensation import condensation  # brings in scikit-learn
    from cohortmix.core.release.condense.models import MODELS
    from cohortmix.core.release.condense.seen import Seen

    often = MODELS[model].evaluations if evaluations is None else int(evaluations)
    return condensation(Seen.of(frame, schema), model, int(size), often, int(seed))


def require_arguments(model: object, size: object, evaluations: object = None, seed: object = 0) -> None:
    """Raise InputError for an argument of the wrong type or out of range."""
    require_one_of("model", model, get_args(Model))
    require_whole("size", size, 2, MOST_SIZE, "more rows are a table of records; take those of the release")
    if evaluations is not None:
        require_whole("evaluations", evaluations, 1, MOST_EVALUATIONS, "they would take days")
    require_whole("seed", seed, 0)


def require_suited(model: str, schema: Schema) -> None:
    """Raise InputError unless the model predicts what the schema's target is."""
    if schema.target is None:
        raise InputError("the schema has no target, so that a model has nothing to predict; declare one")
    survival = schema.outcome.survival is not None
    suited = [name for name in get_args(Model) if (name in ("cox", "survival-forest")) == survival]
    if model in suited:
        return
    what = "a time and its event" if survival else "no time and its event"
    raise InputError(
        f"model={model!r} does not suit the target {schema.target_name!r}, which is {what}: "
        f"expected {listed([repr(name) for name in suited], 'or')}"
    )


def _as_frame(records: pa.Table) -> pd.DataFrame:
    """The table with the types of its own pandas metadata; InputError if they do not suit what it holds."""
    try:
        frame: pd.DataFrame = records.to_pandas()
        return frame
    except (pa.ArrowException, TypeError, ValueError):
        raise InputError("the records cannot be read: their types are not those of a release") from None
