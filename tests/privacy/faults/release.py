"""Faults of a release: the three steps, and what is stated of them."""

from __future__ import annotations

from .fault import (
    AUDIT,
    BUDGET,
    DIMENSIONS,
    DISCRETE,
    GDP,
    MESSAGES,
    PIPELINE,
    POINT_MASSES,
    RECEIPTS,
    RELEASE,
    SITE,
    SYNTHESIS,
    Fault,
)

FAULTS = (
    Fault(
        "groups chosen from true margins",
        "core/synthesis.py",
        "    common = pipeline.common([plan], [own], pairs=plan.fits_mixture)\n",
        "    from dataclasses import replace\n\n"
        "    from cohortmix.core.steps.anonymize import sum_query\n"
        "    from cohortmix.core.data.encoding import Encoding\n\n"
        "    query = sum_query(Encoding.of(plan.schema))\n"
        "    true = replace(own, values=vault._exact(query), unit=query.unit)\n"
        "    common = pipeline.common([plan], [true], pairs=plan.fits_mixture)\n",
        (f"{AUDIT}::test_an_audit_of_the_mechanism_finds_no_violation",),
    ),
    Fault(
        "the Gaussian variant is centred at the true mean",
        "core/gaussian/learn.py",
        "levels = replace(levels, centre=_centre(levels, _first(vault, levels, plan).estimate, plan.patients))",
        "_first(vault, levels, plan)\n"
        "    query = LevelSum(levels.coordinates(SUM_UNIT), _steps(FIRST_RADIUS, levels, SUM_UNIT), 0, SUM_UNIT)\n"
        "    true = vault._exact(query) / SUM_UNIT\n"
        "    levels = replace(levels, centre=_centre(levels, true, plan.patients))",
        ("tests/core/gaussian/test_model.py::test_nothing_but_the_answers_depends_on_the_records",),
    ),
    Fault(
        "a number of components that depends on the records",
        "core/steps/pipeline.py",
        "    answer_b = anonymize.answer_b(vault, plan, common)\n",
        "    answer_b = anonymize.answer_b(vault, plan, common)\n"
        "    from dataclasses import replace\n\n"
        "    ill = int(vault._exact(anonymize.sum_query(Encoding.of(plan.schema))).reshape(2, -1)[0, -1])\n"
        "    plan = replace(plan, mu2=plan.mu2 / (1 + ill % 7))  # and with it l_min\n",
        (f"{RELEASE}::test_nothing_but_the_answers_depends_on_the_records",),
    ),
    Fault(
        "the second answer may cost the whole budget again",
        "core/steps/plan.py",
        "return self.mu2 - self.mu2_sums",
        "return self.mu2 if self.fits_mixture else self.mu2 - self.mu2_sums",
        (f"{PIPELINE}::test_the_parts_of_a_plan_make_its_budget",),
    ),
    Fault(
        "kappa dropped from a release's receipt",
        "core/single_release.py",
        "kappa = sum(gdp.kappa(len(answer.values), answer.sigma) for answer in self.answers)",
        "kappa = 0.0",
        (f"{SYNTHESIS}::test_the_receipt_says_what_it_cost",),
    ),
    Fault(
        "mu of a release without the kappa of its answers",
        "core/synthesis.py",
        "resolved = budget.resolve(vault.patients, _most_kappa(plan, chosen, high_order, point_masses))",
        "resolved = budget.resolve(vault.patients)",
        (f"{DIMENSIONS}::test_a_receipt_costs_what_was_asked_for_and_hardly_less",),
    ),
    Fault(
        "kappa of a release without its products of signs",
        "core/dimensions.py",
        "numbers(encoding) + products * encoding.label.size",
        "numbers(encoding)",
        (f"{DIMENSIONS}::test_products_of_signs_count_in_each_class",),
    ),
    Fault(
        "kappa of a release without the values that it counts",
        "core/synthesis.py",
        "    return most_kappa(plan.schema, chosen, products, values)\n",
        "    return most_kappa(plan.schema, chosen, products)\n",
        (f"{POINT_MASSES}::test_kappa_covers_the_values",),
    ),
    Fault(
        "mu of a study rounded down, but not to what its receipts will say",
        "server/commands/draft.py",
        "while mu > step and most and Total(Fraction(mu) ** 2, Fraction(kappa)).epsilon(delta) > most:",
        "while False:",
        (
            "tests/server/commands/test_draft.py::test_no_receipt_of_a_study_can_say_more_than_the_epsilon_that_was_asked_for",
        ),
    ),
    Fault(
        "half the pairs of groups counted, for the most that kappa can be",
        "core/privacy/questions/pair_tables.py",
        "sum(size**2 for size in self.sizes)) // 2",
        "sum(size**2 for size in self.sizes)) // 4",
        (f"{DIMENSIONS}::test_with_a_group_for_each_cell_the_bound_is_what_is_asked",),
    ),
    Fault(
        "kappa of half the numbers",
        "core/privacy/gdp.py",
        "return int(d) / (24 * int(sigma) ** 2)",
        "return int(d) / (48 * int(sigma) ** 2)",
        (f"{GDP}::test_kappa_rests_on_a_pointwise_bound_whose_constant_is_sharp",),
    ),
    Fault(
        "mu of several releases is the largest of them",
        "core/privacy/gdp.py",
        "return math.hypot(*(_checked_mu(mu) for mu in mus))",
        "return max(map(_checked_mu, mus), default=0.0)",
        (f"{GDP}::test_composition_is_the_root_of_the_sum_of_squares",),
    ),
    Fault(
        "the default delta is 1e-5 for any number of patients",
        "core/privacy/budget.py",
        "delta = min(DEFAULT_DELTA, largest) if",
        "delta = DEFAULT_DELTA if",
        (f"{BUDGET}::test_default_delta_never_permits_publishing_a_patient",),
    ),
    Fault(
        "a study may have a delta of 1/N",
        "protocol/study.py",
        "> 1 / (10 * self.largest_cohort) and",
        "> 1 / self.largest_cohort and",
        (f"{MESSAGES}::test_impossible_studies_are_refused",),
    ),
    Fault(
        "a receipt that states half the cost",
        "protocol/receipts.py",
        "mu2=cost.mu2,",
        "mu2=cost.mu2 / 2,",
        (f"{RECEIPTS}::test_a_good_release_is_verified",),
    ),
    Fault(
        "a receipt that states half the cost is accepted",
        "protocol/receipts.py",
        "if receipt.mu2 != cost.mu2:",
        "if receipt.mu2 > cost.mu2:",
        (f"{RECEIPTS}::test_arithmetic_of_a_signed_receipt",),
    ),
    Fault(
        "mu from the sigma of another answer",
        "protocol/receipts.py",
        "Fraction(one.sensitivity2, one.sharers * one.sigma**2)",
        "Fraction(one.sensitivity2, one.sharers * statements[0].sigma ** 2)",
        (f"{RECEIPTS}::test_each_answer_counts_with_its_own_sigma",),
    ),
    Fault(
        "epsilon and kappa are rounded down",
        "protocol/fields.py",
        "return _rounded(value, places, ROUND_CEILING)",
        "return _rounded(value, places, ROUND_FLOOR)",
        (f"{RECEIPTS}::test_numbers_are_rounded_up",),
    ),
    Fault(
        "a ledger that was set back goes unnoticed",
        "protocol/receipts.py",
        "if count > 1]",
        "if count > 2]",
        (f"{RECEIPTS}::test_fork",),
    ),
    Fault(
        "the smallest mu of the sites instead of the largest",
        "server/budget.py",
        "sorted(site_mus, reverse=True)",
        "sorted(site_mus)",
        ("tests/server/test_budget.py::test_the_three_overlaps_of_a_known_study",),
    ),
    Fault(
        "the epsilon of discrete noise ignores kappa",
        "core/privacy/gdp.py",
        "return min(concentrated, epsilon_of(mu, delta, kappa))",
        "return min(concentrated, epsilon_of(mu, delta))",
        (f"{DISCRETE}::test_it_agrees_with_fifty_digits",),
    ),
    Fault(
        "the concentrated bound without its factor of 2",
        "core/privacy/gdp.py",
        "concentrated = rho + 2 * math.sqrt(",
        "concentrated = rho + math.sqrt(",
        (f"{DISCRETE}::test_without_kappa_it_is_that_of_continuous_noise",),
    ),
    Fault(
        "where kappa has all of delta, it is forgotten",
        "core/privacy/gdp.py",
        "        return concentrated\n",
        "        return min(concentrated, epsilon_of(mu, delta))\n",
        (f"{DISCRETE}::test_it_is_the_smaller_of_two_bounds_and_there_always_is_one",),
    ),
    Fault(
        "kappa counts once, not on both neighbours",
        "core/privacy/gdp.py",
        "    log_kappa = math.log(kappa) + epsilon + math.log1p(math.exp(-epsilon))\n",
        "    log_kappa = math.log(kappa)\n",
        (f"{DISCRETE}::test_it_agrees_with_fifty_digits",),
    ),
    Fault(
        "the hash of a schema forgets the order of its columns",
        "core/data/schema.py",
        '        plain["columns"] = list(plain["columns"].items())',
        "        pass",
        ("tests/core/data/test_schema.py::test_the_hash_depends_on_whatever_numbers_cells",),
    ),
    Fault(
        "the hash of a schema forgets the order of a category's values",
        "core/data/schema.py",
        "        return [_as_texts(value) for value in plain]",
        "        return sorted((_as_texts(value) for value in plain), key=str)",
        ("tests/core/data/test_schema.py::test_the_hash_depends_on_whatever_numbers_cells",),
    ),
    Fault(
        "a second answer of a round is off its receipt",
        "client/site/site.py",
        "reserved.answers(), strict=True))",
        "reserved.answers(), strict=False))",
        (f"{SITE}::test_an_answer_without_a_name_on_the_receipt_is_not_released",),
    ),
    Fault(
        "class sums on a receipt without a statement",
        "protocol/receipts.py",
        "        if stated != [_facts(release.answer)]:",
        "        if stated and stated != [_facts(release.answer)]:",
        (f"{RECEIPTS}::test_class_sums_are_one_answer_of_one_statement",),
    ),
    Fault(
        "patients are dealt out by their target, and each site's number is published",
        "deploy/commands.py",
        '    if skew is not None:\n        raise InputError(\n            "--skew deals',
        "    if skew is not None and site_column is not None:\n"
        "        raise InputError(\n"
        '            "--skew deals',
        ("tests/deploy/test_cli.py::test_a_split_by_records_is_for_public_data_and_tests",),
    ),
    Fault(
        "a column of the schema names the sites of a simulation",
        "deploy/commands.py",
        "site_column in (*schema.columns, schema.patient_key):",
        "site_column == schema.target_name:",
        ("tests/deploy/test_cli.py::test_a_split_by_records_is_for_public_data_and_tests",),
    ),
    Fault(
        "rows of nobody are dealt out as patients",
        "deploy/simulation/split.py",
        "            table = table.filter(pa.array([key is not None for key in keys], pa.bool_()))\n",
        "            table = table.filter(table.column(schema.patient_key).is_valid())\n",
        ("tests/deploy/simulation/test_split.py::test_rows_of_nobody_move_no_number_of_patients",),
    ),
    Fault(
        "a simulation names its sites in the order of the table",
        "deploy/simulation/simulation.py",
        "for name in sorted(set(names.tolist()))}",
        "for name in dict.fromkeys(names.tolist())}",
        ("tests/deploy/test_cli.py::test_the_order_of_sites_does_not_follow_the_order_of_records",),
    ),
)
