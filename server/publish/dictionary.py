"""The section of a report that lists the columns: the study's data dictionary, all of which is public."""

from __future__ import annotations

from cohortmix.core.data.dictionary.columns import Category, Column, Number
from cohortmix.core.data.schema import Schema
from cohortmix.protocol.local.html import Html, element
from cohortmix.protocol.local.wording import count
from cohortmix.server.publish.tables import table

MOST_VALUES = 8  # of a category are listed; more would fill a line of the table


def dictionary(schema: Schema) -> Html:
    """The section, as markup."""
    rows = [(name, _kind(column), _range(column), _notes(schema, name)) for name, column in schema.columns.items()]
    return element(
        "section",
        element("h2", "The columns"),
        element("p", f"The schema “{schema.name}” declares {count(len(rows), 'column')}. {_patients(schema)}"),
        table(("Column", "Type", "Values", "Notes"), rows, kind="words"),
        element("p", "All sites use the schema with this hash: ", element("code", schema.hash), class_="note"),
    )


def _patients(schema: Schema) -> str:
    if schema.patient_key is None:
        return "Each record is one patient."
    most = count(schema.max_rows_per_patient, "record")
    return f"A patient has at most {most}, with the same “{schema.patient_key}”, a column that is not released."


def _kind(column: Column) -> str:
    if isinstance(column, Number):
        return "whole number" if column.integer else "number"
    return column.type


def _range(column: Column) -> str:
    if isinstance(column, Category):
        named = ", ".join(column.values[:MOST_VALUES])
        more = len(column.values) - MOST_VALUES
        return f"{named} and {more:,} more" if more > 0 else named
    if isinstance(column, Number):
        return f"{column.min:g} to {column.max:g}" + (f" {column.unit}" if column.unit else "")
    return f"{column.min} to {column.max}"


def _notes(schema: Schema, name: str) -> str:
    column = schema.columns[name]
    notes = [
        _part_of_outcome(schema, name),
        "may be missing" if column.missing else "",
        column.description or "",
    ]
    return "; ".join(note for note in notes if note)


def _part_of_outcome(schema: Schema, name: str) -> str:
    outcome = schema.outcome
    if outcome.survival is None or name not in outcome.columns:
        return "the outcome" if name in outcome.columns else ""
    if name == outcome.survival.time:
        return "the outcome: the time to the event, or to the end of the follow-up"
    return f"the outcome: the event, which “{outcome.survival.happened}” says happened"
