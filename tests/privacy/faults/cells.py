"""Faults of cells: how a value is read, and what of a table that does not fit is refused."""

from __future__ import annotations

from .fault import CHECK, KNOWN, TABLE, Fault

OUTCOME = "tests/core/data/test_outcome.py"
FAULTS = (
    Fault(
        "a record without a time is put into a class",
        "core/data/reading.py",
        "            known = (label >= 0) & (part >= 0)\n",
        "            known = label >= 0\n",
        (f"{OUTCOME}::test_a_record_without_one_of_them_is_in_no_class",),
    ),
    Fault(
        "a number of another slice is possible in a class",
        "core/data/dictionary/outcome.py",
        "        own = np.arange(len(self.classes)) % (slices.max() + 1)  # the column stands last\n",
        "        own = np.arange(len(self.classes)) // (slices.max() + 1)  # the column stands last\n",
        (f"{OUTCOME}::test_a_class_has_the_cells_that_are_possible_in_it_and_no_other",),
    ),
    Fault(
        "a category of floats that may have merged its codes is read",
        "core/data/table.py",
        "    names = [name for name, column in schema.columns.items() if isinstance(column, Category)]\n",
        "    names: list[str] = []\n",
        (f"{TABLE}::test_a_category_of_floats_that_may_merge_codes_is_refused",),
    ),
    Fault(
        "a patient key of floats that may have merged patients is read",
        "core/data/table.py",
        "    names += [schema.patient_key] if schema.patient_key is not None else []\n",
        "",
        (f"{TABLE}::test_a_key_of_floats_that_may_merge_patients_is_refused",),
    ),
    Fault(
        "floats that may have merged codes hide among objects",
        "core/data/table.py",
        "    return any(is_inexact(value) for value in series.to_numpy() if type(value) is not str)\n",
        "    return False\n",
        (f"{TABLE}::test_what_one_empty_cell_does_to_a_column_is_seen_as_objects_too",),
    ),
    Fault(
        "floats of a category are taken for wider ones than they are",
        "core/data/table.py",
        "    if isinstance(series.dtype, pd.CategoricalDtype | pd.ArrowDtype):",
        "    if isinstance(series.dtype, pd.ArrowDtype):",
        (f"{TABLE}::test_floats_that_may_have_merged_are_seen_in_whatever_holds_them",),
    ),
    Fault(
        "narrow floats become wide ones before it is seen that they may have merged patients",
        "client/table/parquet_file.py",
        "            self._require_exact(batch)\n",
        "",
        ("tests/client/table/test_data.py::test_parts_of_narrow_floats_merge_nobody",),
    ),
    Fault(
        "a database's floats that may have merged codes are read",
        "client/table/sql.py",
        "            if name in self._codes and has_inexact(cells):\n",
        "            if name not in self.names and has_inexact(cells):\n",
        ("tests/client/table/test_sql.py::test_floats_that_may_merge_codes_are_refused",),
    ),
    Fault(
        "a null in its column changes how a whole day reads",
        "core/data/cell.py",
        "    text = category_text(value)  # a null elsewhere makes 20200101.0 of 20200101\n",
        "    text = text_of(value).strip()\n",
        (f"{TABLE}::test_a_day_reads_the_same_where_a_null_makes_floats_of_it",),
    ),
    Fault(
        "a time that is none is a patient's key",
        "core/data/values.py",
        "keys = [None if value is None or value != value else category_text(value) for value in values]",
        "keys = [None if value is None else category_text(value) for value in values]",
        (f"{TABLE}::test_a_key_is_read_as_a_text_and_nobody_is_told_apart_by_a_form",),
    ),
    Fault(
        "a text is read as the number that it writes",
        "core/data/values.py",
        "whole_text(text) if column.numeric else None",
        "whole_text(text)",
        (f"{TABLE}::test_a_declared_text_is_never_a_number",),
    ),
    Fault(
        "a day counts where the machine is, not where it is declared",
        "core/data/cell.py",
        "            time = time.astimezone(ZoneInfo(timezone))\n",
        "            time = time.astimezone()\n",
        (f"{TABLE}::test_the_day_of_a_time_is_that_of_the_declared_place",),
    ),
    Fault(
        "much of a column that cannot be read passes",
        "core/utility/checks/check.py",
        "    elif column.outside is None and seen.unreadable > max_unreadable * seen.values:\n",
        "    elif column.outside is None and seen.unreadable >= seen.values > 0:\n",
        (f"{CHECK}::test_more_than_a_share_that_cannot_be_read_is_refused_unless_a_clip_is_written",),
    ),
    Fault(
        "patients of whom a feature is not known are spread over its range",
        "core/steps/known.py",
        "        shares[:, j] = np.clip(np.where(stands_out, by_class, pooled), least, 1)\n",
        "",
        (f"{KNOWN}::test_the_share_that_is_known_is_read_off_the_sums",),
    ),
)
