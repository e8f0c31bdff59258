"""Faults of what records add to an answer: the clip, the division among rows, the exact sum."""

from __future__ import annotations

from .fault import CONTRIBUTIONS, LATTICE, LEVELS, VAULT, Fault

FAULTS = (
    Fault(
        "the vault's clip removed from the level sums",
        "core/privacy/contributions.py",
        "clip_rows(_levels(codes, query.coordinates), query.radius**2)",
        "_levels(codes, query.coordinates)",
        (f"{LEVELS}::test_sensitivity_of_level_sum",),
    ),
    Fault(
        "the vault's clip removed from the level moments",
        "core/privacy/contributions.py",
        "clip_rows(_levels(codes, query.coordinates), bound2)",
        "_levels(codes, query.coordinates)",
        (f"{LEVELS}::test_sensitivity_of_level_moment",),
    ),
    Fault(
        "class moments clip what is projected, and not the projection",
        "core/privacy/contributions.py",
        "        z = project(_levels(codes, query.coordinates), directions, query.divisor)\n"
        "        psi[:, :-1] = clip_rows(z, query.radius**2)\n",
        "        x = clip_rows(_levels(codes, query.coordinates), query.radius**2)\n"
        "        psi[:, :-1] = project(x, directions, query.divisor)\n",
        (f"{LEVELS}::test_sensitivity_of_class_moment",),
    ),
    Fault(
        "the clip rounds up",
        "core/privacy/lattice.py",
        "(np.abs(z[over]) * isqrt(bound2) // length)",
        "-(-np.abs(z[over]) * isqrt(bound2) // length)",
        (f"{LATTICE}::test_clipped_rows_keep_the_bound_in_integers",),
    ),
    Fault(
        "psi psi^T quantised instead of psi",
        "core/privacy/contributions.py",
        "        psi = clip_rows(_levels(codes, query.coordinates), bound2)\n"
        "        reals = divide_by_root(psi, parts, MOMENT_UNIT).astype(np.float64)\n"
        "        total += (reals.T @ reals).astype(np.int64)",
        "        psi = _levels(codes, query.coordinates) / np.sqrt(parts)[:, None]\n"
        "        norms = np.linalg.norm(psi, axis=1) * np.sqrt(parts)\n"
        "        reals = psi * np.minimum(1, query.radius / np.maximum(norms, 1))[:, None]\n"
        "        total += np.rint(reals.T @ reals).astype(np.int64)",
        (f"{VAULT}::test_batches_do_not_change_an_answer", f"{LEVELS}::test_sensitivity_of_level_moment"),
    ),
    Fault(
        "a batch is reduced in floating point before it is quantised",
        "core/privacy/contributions.py",
        "        z = divide(clip_rows(z, query.bound2), parts)\n"
        "        for c in range(len(total)):\n"
        "            total[c] += z[label == c].sum(axis=0)\n",
        "        shares = clip_rows(z, query.bound2) / parts[:, None]\n"
        "        for c in range(len(total)):\n"
        "            total[c] += np.trunc(shares[label == c].sum(axis=0)).astype(np.int64)\n",
        (f"{VAULT}::test_batches_do_not_change_an_answer",),
    ),
    Fault(
        "shares of a negative number are rounded down",
        "core/privacy/lattice.py",
        "return np.sign(z) * (np.abs(z) // parts[:, None])",
        "return z // parts[:, None]",
        (f"{LATTICE}::test_shares_of_a_row_are_truncated_towards_zero",),
    ),
    Fault(
        "the length of a row in floating point",
        "core/privacy/lattice.py",
        "    length = floor_sqrt(norm2[over] - 1)[:, None] + 1\n",
        "    length = np.ceil(np.sqrt(norm2[over].astype(np.float64))).astype(np.int64)[:, None]\n",
        (f"{LATTICE}::test_the_length_of_a_row_is_no_rounded_number",),
    ),
    Fault(
        "the norm of a row in floating point",
        "core/privacy/lattice.py",
        "    norm2 = (z * z).sum(axis=1)\n",
        "    norm2 = (z.astype(np.float64) ** 2).sum(axis=1).astype(np.int64)\n",
        (f"{LATTICE}::test_the_length_of_a_row_is_no_rounded_number",),
    ),
    Fault(
        "level moments without the limit of a batch",
        "core/privacy/contributions.py",
        "    for codes, _, parts in _chunks(rows, min(BATCH_NUMBERS // width, EXACT // bound2)):\n",
        "    for codes, _, parts in _chunks(rows, BATCH_NUMBERS // width):\n",
        (f"{CONTRIBUTIONS}::test_a_level_moment_is_exact_at_the_largest_radius",),
    ),
    Fault(
        "class moments without the limit of a batch",
        "core/privacy/contributions.py",
        "    most = min(BATCH_NUMBERS // max(query.width, len(query.coordinates)), EXACT // query.bound2)\n",
        "    most = BATCH_NUMBERS // max(query.width, len(query.coordinates))\n",
        (f"{CONTRIBUTIONS}::test_a_class_moment_is_exact_at_the_largest_radius",),
    ),
    Fault(
        "pair tables without the limit of a batch",
        "core/privacy/contributions.py",
        "    for codes, label, parts in _chunks(rows, min(BATCH_NUMBERS // width, EXACT // bound2)):\n",
        "    for codes, label, parts in _chunks(rows, BATCH_NUMBERS // width):\n",
        (f"{CONTRIBUTIONS}::test_a_pair_table_is_exact_on_a_finer_lattice",),
    ),
    Fault(
        "level sums are clipped one step beyond their radius",
        "core/privacy/contributions.py",
        "clip_rows(_levels(codes, query.coordinates), query.radius**2)",
        "clip_rows(_levels(codes, query.coordinates), query.radius**2 + 1)",
        (f"{CONTRIBUTIONS}::test_a_row_one_step_beyond_the_radius_is_clipped",),
    ),
    Fault(
        "level moments are clipped one step beyond their radius",
        "core/privacy/contributions.py",
        "width, bound2 = len(query.coordinates), query.radius**2",
        "width, bound2 = len(query.coordinates), query.radius**2 + 1",
        (f"{CONTRIBUTIONS}::test_a_row_one_step_beyond_the_radius_is_clipped",),
    ),
    Fault(
        "class moments are clipped to the bound with their label",
        "core/privacy/contributions.py",
        "psi[:, :-1] = clip_rows(z, query.radius**2)",
        "psi[:, :-1] = clip_rows(z, query.bound2)",
        (f"{CONTRIBUTIONS}::test_a_projection_is_clipped_to_its_radius_and_not_to_the_bound_with_its_label",),
    ),
    Fault(
        "level sums are divided first, and then clipped",
        "core/privacy/contributions.py",
        "        z[:, : len(query.coordinates)] = clip_rows(_levels(codes, query.coordinates), "
        "query.radius**2)\n"
        "        z = divide(z, parts)\n",
        "        z[:, : len(query.coordinates)] = _levels(codes, query.coordinates)\n"
        "        z = divide(z, parts)\n"
        "        z[:, : len(query.coordinates)] = clip_rows(z[:, : len(query.coordinates)], query.radius**2)\n",
        (f"{CONTRIBUTIONS}::test_a_row_is_clipped_before_it_is_divided_among_its_patient_s_rows",),
    ),
    Fault(
        "level moments are divided first, and then clipped",
        "core/privacy/contributions.py",
        "        psi = clip_rows(_levels(codes, query.coordinates), bound2)\n"
        "        reals = divide_by_root(psi, parts, MOMENT_UNIT).astype(np.float64)",
        "        psi = divide_by_root(_levels(codes, query.coordinates), parts, MOMENT_UNIT)\n"
        "        reals = clip_rows(psi, bound2).astype(np.float64)",
        (f"{CONTRIBUTIONS}::test_a_row_is_clipped_before_it_is_divided_among_its_patient_s_rows",),
    ),
    Fault(
        "the label of a class moment is not divided among rows",
        "core/privacy/contributions.py",
        "        psi[:, :-1] = clip_rows(z, query.radius**2)\n"
        "        psi = divide_by_root(psi, parts, MOMENT_UNIT)\n",
        "        psi[:, :-1] = divide_by_root(clip_rows(z, query.radius**2), parts, MOMENT_UNIT)\n",
        (f"{CONTRIBUTIONS}::test_a_row_is_clipped_before_it_is_divided_among_its_patient_s_rows",),
    ),
)
