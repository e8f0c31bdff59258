"""Faults of what records add to an answer: the clip, the division among rows, the exact sum."""

from __future__ import annotations

from .fault import CONTRIBUTIONS, LATTICE, LEVELS, SENSITIVITY, VAULT, Fault

FAULTS = (
    Fault(
        "the vault's clip removed from the level sums",
        "core/privacy/questions/level_sum.py",
        "clip_rows(levels_of(codes, self.coordinates), self.radius**2)",
        "levels_of(codes, self.coordinates)",
        (f"{LEVELS}::test_sensitivity_of_level_sum",),
    ),
    Fault(
        "the vault's clip removed from the level moments",
        "core/privacy/questions/level_moment.py",
        "clip_rows(levels_of(codes, self.coordinates), bound2)",
        "levels_of(codes, self.coordinates)",
        (f"{LEVELS}::test_sensitivity_of_level_moment",),
    ),
    Fault(
        "the vault's clip removed from the score moments",
        "core/privacy/questions/score_moment.py",
        "clip_rows(levels_of(codes, self.coordinates), self.radius**2)",
        "levels_of(codes, self.coordinates)",
        (f"{LEVELS}::test_sensitivity_of_score_moment",),
    ),
    Fault(
        "a patient's rows weigh 1 in the score moments",
        "core/privacy/questions/score_moment.py",
        "products(divide_by_root(psi, parts))",
        "products(divide_by_root(psi, parts // parts))",
        (f"{LEVELS}::test_sensitivity_of_score_moment",),
    ),
    Fault(
        "class moments clip what is projected, and not the projection",
        "core/privacy/questions/class_moment.py",
        "            z = project(levels_of(codes, self.coordinates), directions, self.divisor)\n"
        "            psi[:, :-1] = clip_rows(z, self.radius**2)\n",
        "            x = clip_rows(levels_of(codes, self.coordinates), self.radius**2)\n"
        "            psi[:, :-1] = project(x, directions, self.divisor)\n",
        (f"{LEVELS}::test_sensitivity_of_class_moment",),
    ),
    Fault(
        "the clip rounds up",
        "core/privacy/questions/lattice.py",
        "(np.abs(z[over]) * isqrt(bound2) // length)",
        "-(-np.abs(z[over]) * isqrt(bound2) // length)",
        (f"{LATTICE}::test_clipped_rows_keep_the_bound_in_integers",),
    ),
    Fault(
        "psi psi^T quantised instead of psi",
        "core/privacy/questions/level_moment.py",
        "            psi = clip_rows(levels_of(codes, self.coordinates), bound2)\n"
        "            total += products(divide_by_root(psi, parts))\n",
        "            psi = levels_of(codes, self.coordinates) / np.sqrt(parts)[:, None]\n"
        "            norms = np.linalg.norm(psi, axis=1) * np.sqrt(parts)\n"
        "            reals = psi * np.minimum(1, self.radius / np.maximum(norms, 1))[:, None]\n"
        "            total += np.rint(reals.T @ reals).astype(np.int64)\n",
        (f"{VAULT}::test_batches_do_not_change_an_answer", f"{LEVELS}::test_sensitivity_of_level_moment"),
    ),
    Fault(
        "a batch is reduced in floating point before it is quantised",
        "core/privacy/questions/class_marginals.py",
        "(weight // parts).astype(np.float64)",
        "weight / parts",
        (f"{VAULT}::test_batches_do_not_change_an_answer",),
    ),
    Fault(
        "shares of a negative number are rounded down",
        "core/privacy/questions/lattice.py",
        "return np.sign(z) * (np.abs(z) // parts[:, None])",
        "return z // parts[:, None]",
        (f"{LATTICE}::test_shares_of_a_row_are_truncated_towards_zero",),
    ),
    Fault(
        "the length of a row in floating point",
        "core/privacy/questions/lattice.py",
        "    length = floor_sqrt(norm2[over] - 1)[:, None] + 1\n",
        "    length = np.ceil(np.sqrt(norm2[over].astype(np.float64))).astype(np.int64)[:, None]\n",
        (f"{LATTICE}::test_the_length_of_a_row_is_no_rounded_number",),
    ),
    Fault(
        "the norm of a row in floating point",
        "core/privacy/questions/lattice.py",
        "    norm2 = (z * z).sum(axis=1)\n",
        "    norm2 = (z.astype(np.float64) ** 2).sum(axis=1).astype(np.int64)\n",
        (f"{LATTICE}::test_the_length_of_a_row_is_no_rounded_number",),
    ),
    Fault(
        "level moments without the limit of a batch",
        "core/privacy/questions/level_moment.py",
        "chunks(rows, width, bound2)",
        "chunks(rows, width)",
        (f"{CONTRIBUTIONS}::test_a_level_moment_is_exact_at_the_largest_radius",),
    ),
    Fault(
        "class moments without the limit of a batch",
        "core/privacy/questions/class_moment.py",
        "chunks(rows, max(self.width, len(self.coordinates)), self.bound2)",
        "chunks(rows, max(self.width, len(self.coordinates)))",
        (f"{CONTRIBUTIONS}::test_a_class_moment_is_exact_at_the_largest_radius",),
    ),
    Fault(
        "pair tables without the limit of a batch",
        "core/privacy/questions/pair_tables.py",
        "chunks(rows, len(sizes), bound2)",
        "chunks(rows, len(sizes))",
        (f"{CONTRIBUTIONS}::test_a_pair_table_is_exact_on_a_finer_lattice",),
    ),
    Fault(
        "level sums are clipped one step beyond their radius",
        "core/privacy/questions/level_sum.py",
        "clip_rows(levels_of(codes, self.coordinates), self.radius**2)",
        "clip_rows(levels_of(codes, self.coordinates), self.radius**2 + 1)",
        (f"{CONTRIBUTIONS}::test_a_row_one_step_beyond_the_radius_is_clipped",),
    ),
    Fault(
        "level moments are clipped one step beyond their radius",
        "core/privacy/questions/level_moment.py",
        "width, bound2 = len(self.coordinates), self.radius**2",
        "width, bound2 = len(self.coordinates), self.radius**2 + 1",
        (f"{CONTRIBUTIONS}::test_a_row_one_step_beyond_the_radius_is_clipped",),
    ),
    Fault(
        "class moments are clipped to the bound with their label",
        "core/privacy/questions/class_moment.py",
        "psi[:, :-1] = clip_rows(z, self.radius**2)",
        "psi[:, :-1] = clip_rows(z, self.bound2)",
        (f"{CONTRIBUTIONS}::test_a_projection_is_clipped_to_its_radius_and_not_to_the_bound_with_its_label",),
    ),
    Fault(
        "level sums are divided first, and then clipped",
        "core/privacy/questions/level_sum.py",
        "            z[:, : len(self.coordinates)] = clip_rows(levels_of(codes, self.coordinates), "
        "self.radius**2)\n"
        "            z = divide(z, parts)\n",
        "            z[:, : len(self.coordinates)] = levels_of(codes, self.coordinates)\n"
        "            z = divide(z, parts)\n"
        "            z[:, : len(self.coordinates)] = clip_rows(z[:, : len(self.coordinates)], "
        "self.radius**2)\n",
        (f"{CONTRIBUTIONS}::test_a_row_is_clipped_before_it_is_divided_among_its_patient_s_rows",),
    ),
    Fault(
        "level moments are divided first, and then clipped",
        "core/privacy/questions/level_moment.py",
        "            psi = clip_rows(levels_of(codes, self.coordinates), bound2)\n"
        "            total += products(divide_by_root(psi, parts))\n",
        "            psi = divide_by_root(levels_of(codes, self.coordinates), parts)\n"
        "            total += products(clip_rows(psi, bound2))\n",
        (f"{CONTRIBUTIONS}::test_a_row_is_clipped_before_it_is_divided_among_its_patient_s_rows",),
    ),
    Fault(
        "sign products are not divided among rows",
        "core/privacy/questions/sign_products.py",
        "= UNIT // parts\n",
        "= UNIT\n",
        (f"{SENSITIVITY}::test_products_of_opposite_signs_reach_the_bound",),
    ),
    Fault(
        "value counts are not divided among rows",
        "core/privacy/questions/value_counts.py",
        "(UNIT // parts).astype(np.float64)",
        "np.full(len(parts), float(UNIT))",
        (f"{SENSITIVITY}::test_values_at_opposite_ends_reach_the_bound",),
    ),
    Fault(
        "what has no slot is counted in the last one",
        "core/privacy/questions/lattice.py",
        "np.where(table < 0, max(slots) + 1, table)[cells]",
        "np.where(table < 0, max(slots), table)[cells]",
        (f"{CONTRIBUTIONS}::test_a_value_is_counted_in_its_slot_or_nowhere",),
    ),
    Fault(
        "of a pair only one half is divided among rows",
        "core/privacy/questions/pair_tables.py",
        "shares = (root * root)",
        "shares = (root * MOMENT_UNIT)",
        (f"{SENSITIVITY}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "signs are added and not multiplied",
        "core/privacy/questions/sign_products.py",
        "signs[list(subset)].prod(axis=0)",
        "signs[list(subset)].sum(axis=0)",
        (f"{SENSITIVITY}::test_sensitivity_of_sign_products",),
    ),
    Fault(
        "the label of a class moment is not divided among rows",
        "core/privacy/questions/class_moment.py",
        "            psi[:, :-1] = clip_rows(z, self.radius**2)\n            psi = divide_by_root(psi, parts)\n",
        "            psi[:, :-1] = divide_by_root(clip_rows(z, self.radius**2), parts)\n",
        (f"{CONTRIBUTIONS}::test_a_row_is_clipped_before_it_is_divided_among_its_patient_s_rows",),
    ),
)
