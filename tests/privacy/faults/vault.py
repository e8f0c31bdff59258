"""Faults of the vault: what one patient can move in an answer."""

from __future__ import annotations

from .fault import (
    BAD_INPUT,
    LEVELS,
    PIECES,
    PLAIN_DATA,
    REFUSALS,
    SENSITIVITY,
    SIDE_CHANNELS,
    SITE,
    VAULT,
    Fault,
)

FAULTS = (
    Fault(
        "sensitivity of the class sums sqrt(2) too small",
        "core/privacy/questions/class_marginals.py",
        "        return 2 * self.bound2\n",
        "        return self.bound2\n",
        (f"{SENSITIVITY}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
        fast=True,
    ),
    Fault(
        "sensitivity of the second moments sqrt(2) too small",
        "core/privacy/questions/pair_tables.py",
        "return q * (q - 1) * self.unit**2",
        "return q * (q - 1) // 2 * self.unit**2",
        (f"{SENSITIVITY}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "sensitivity of the sign products sqrt(2) too small",
        "core/privacy/questions/sign_products.py",
        "return 4 * len(self.subsets) * UNIT**2",
        "return 2 * len(self.subsets) * UNIT**2",
        (f"{SENSITIVITY}::test_products_of_opposite_signs_reach_the_bound",),
    ),
    Fault(
        "sign products count one of them",
        "core/privacy/questions/sign_products.py",
        "return 4 * len(self.subsets) * UNIT**2",
        "return 4 * UNIT**2",
        (f"{SENSITIVITY}::test_sensitivity_of_sign_products",),
    ),
    Fault(
        "sensitivity of the value counts sqrt(2) too small",
        "core/privacy/questions/value_counts.py",
        "        return 2 * self.bound2\n",
        "        return self.bound2\n",
        (f"{SENSITIVITY}::test_values_at_opposite_ends_reach_the_bound",),
    ),
    Fault(
        "value counts count one column",
        "core/privacy/questions/value_counts.py",
        "return len(self.values) * UNIT**2",
        "return UNIT**2",
        (f"{SENSITIVITY}::test_sensitivity_of_value_counts",),
    ),
    Fault(
        "a category is read on edges",
        "core/data/reading.py",
        'if features[column].column.type == "category":',
        "if not features[column].name:",
        (f"{PLAIN_DATA}::test_values_are_asked_for_by_plain_data_on_edges_that_ascend",),
    ),
    Fault(
        "pairs within one feature are counted as well",
        "core/privacy/questions/pair_tables.py",
        "feature[:, None] < feature[None, :]",
        "feature[:, None] <= feature[None, :]",
        (f"{SENSITIVITY}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "sensitivity of the level sums 2 too small",
        "core/privacy/questions/level_sum.py",
        "max(4 * self.radius**2 + cut**2,",
        "max(self.radius**2 + cut**2,",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "what division cuts off a label entry is forgotten",
        "core/privacy/questions/level_sum.py",
        "max(4 * self.radius**2 + cut**2,",
        "max(4 * self.radius**2,",
        (f"{LEVELS}::test_the_label_entry_of_many_rows_is_short_by_what_division_cuts_off",),
    ),
    Fault(
        "sensitivity of the level moments sqrt(2) too small",
        "core/privacy/questions/level_moment.py",
        "return 2 * self.largest**2",
        "return self.largest**2",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "entries above the diagonal weigh more than sqrt(2)",
        "core/privacy/questions/coordinates.py",
        "DIAGONAL, OFF_DIAGONAL = 29, 41",
        "DIAGONAL, OFF_DIAGONAL = 29, 42",
        (f"{LEVELS}::test_the_weights_of_a_moment_keep_its_frobenius_norm",),
    ),
    Fault(
        "sensitivity of the class moments sqrt(2) too small",
        "core/privacy/questions/class_moment.py",
        "return 2 * self.largest**2",
        "return self.largest**2",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "the label entry of the score moments is not counted in their bound",
        "core/privacy/questions/score_moment.py",
        "return DIAGONAL * self.bound2",
        "return DIAGONAL * self.radius**2",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "sensitivity of the score moments sqrt(2) too small",
        "core/privacy/questions/score_moment.py",
        "return 2 * self.largest**2",
        "return self.largest**2",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "the label entry of the class moments is not counted in their bound",
        "core/privacy/questions/class_moment.py",
        "return DIAGONAL * self.bound2",
        "return DIAGONAL * self.radius**2",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "each row of a patient weighs 1",
        "core/privacy/vault.py",
        "return np.where(earlier < counting[patient], patients.rows[patient], 0)",
        "return np.where(earlier < counting[patient], 1, 0)",
        (f"{SENSITIVITY}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "a patient's weight ignores rows of another label",
        "core/privacy/vault.py",
        "        keep = (label != UNKNOWN) & (parts > 0)\n",
        "        if key is not None:\n"
        "            keys = patient_ids(batch.column(key)).tolist()\n"
        "            owners = list(zip(keys, label.tolist(), strict=True))\n"
        "            parts = np.minimum(parts, [owners.count(each) for each in owners])\n"
        "        keep = (label != UNKNOWN) & (parts > 0)\n",
        (f"{VAULT}::test_the_answers_are_the_sums_of_the_records",),
    ),
    Fault(
        "rows over the cap are read",
        "core/privacy/vault.py",
        "return np.where(earlier < counting[patient], patients.rows[patient], 0)",
        "return patients.rows[patient]",
        (f"{SENSITIVITY}::test_rows_over_the_cap_are_not_read",),
    ),
    Fault(
        "rows that were read in earlier batches are forgotten",
        "core/privacy/vault.py",
        "    np.add.at(seen, patient, 1)\n",
        "",
        (f"{VAULT}::test_which_rows_count_is_as_counted_one_by_one",),
    ),
    Fault(
        "all rows of a patient in a batch are the first",
        "core/privacy/vault.py",
        "seen[patient] + earlier_rows(patient)",
        "seen[patient]",
        (f"{VAULT}::test_which_rows_count_is_as_counted_one_by_one",),
    ),
    Fault(
        "a patient who was not counted has the rows of the last one",
        "core/data/patients.py",
        "np.where(first < beyond, first, len(self.ids))[at]",
        "np.where(first < beyond, first, len(self.ids) - 1)[at]",
        ("tests/core/data/test_patients.py::test_patients_are_counted_as_one_by_one",),
    ),
    Fault(
        "a patient's rows in another piece of the table are forgotten",
        "core/data/patients.py",
        "np.append(most[place], 0)), np.append(count, 0)",
        "np.append(count, 0)), np.append(count, 0)",
        (f"{PIECES}::test_the_sums_of_pieces_are_the_sums_of_the_table",),
    ),
    Fault(
        "each piece of a table has all rows of a patient that count",
        "core/data/patients.py",
        "        left[place] -= count\n",
        "",
        (f"{PIECES}::test_which_rows_of_a_piece_count_is_as_counted_one_by_one",),
    ),
    Fault(
        "N counts rows, and Describe says it",
        "client/site/site.py",
        "self._patients = count_patients(source, schema).number",
        "self._patients = int(count_patients(source, schema).rows.sum())",
        (f"{SITE}::test_public_facts",),
    ),
    Fault(
        "sums may overflow",
        "core/privacy/scale.py",
        "if patients * question.largest << noise.shift >= LIMIT:",
        "if noise.shift >= 62:",
        (f"{VAULT}::test_just_below_the_limits_it_answers",),
    ),
    Fault(
        "the label counts are released without noise",
        "core/privacy/vault.py",
        "            self._meter.store(index, Answer(",
        '            if question.NAME == "sum":\n'
        "                true = (self._exact(question, reader) << noise.shift).reshape(-1, question.width)\n"
        "                values.reshape(-1, question.width)[:, -1] = true[:, -1]\n"
        "            self._meter.store(index, Answer(",
        (f"{VAULT}::test_the_noise_is_what_the_answer_says",),
        fast=True,
    ),
    Fault(
        "a refusal that depends on a cell",
        "core/privacy/vault.py",
        "        keep = (label != UNKNOWN) & (parts > 0)\n",
        "        if (label == UNKNOWN).any():\n"
        '            raise ValueError("a record has no label")\n'
        "        keep = (label != UNKNOWN) & (parts > 0)\n",
        (f"{REFUSALS}::test_no_code_depends_on_a_cell",),
        fast=True,
    ),
    Fault(
        "the number of rows in a log line",
        "core/privacy/vault.py",
        "        features, label = reader.codes(batch)\n",
        "        features, label = reader.codes(batch)\n"
        "        import logging\n\n"
        '        logging.getLogger("cohortmix.vault").info("%d rows read", batch.num_rows)\n',
        (f"{SIDE_CHANNELS}::test_neighbours_with_the_same_answers_look_the_same",),
    ),
    Fault(
        "bounds from the data",
        "core/data/reading.py",
        '        found = np.searchsorted(np.asarray(self.edges, dtype=np.float64), values, side="right")\n',
        "        seen = values[~np.isnan(values)]\n"
        "        edges = np.linspace(seen.min(), seen.max(), len(self.edges)) if seen.size else "
        "self.edges\n"
        '        found = np.searchsorted(np.asarray(edges), values, side="right")\n',
        (f"{VAULT}::test_batches_do_not_change_an_answer",),
        fast=True,
    ),
    Fault(
        "one record changes how a column reads",
        "core/data/table.py",
        "or _is_nan(value) else _text(value))",
        "or _is_nan(value) else str(value))",
        (f"{BAD_INPUT}::test_a_column_that_changes_its_type_reads_the_same",),
    ),
    Fault(
        "only the label must fit into the sums of cells",
        "core/privacy/questions/class_marginals.py",
        "return max(self.entries)",
        "return self.label_weight",
        (f"{VAULT}::test_the_largest_entry_decides_whether_sums_fit",),
    ),
    Fault(
        "only the radius must fit into the sums of levels",
        "core/privacy/questions/level_sum.py",
        "return max(self.radius, self.label_weight)",
        "return self.radius",
        (f"{VAULT}::test_the_largest_entry_decides_whether_sums_fit",),
    ),
)
