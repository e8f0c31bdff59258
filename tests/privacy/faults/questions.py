"""Faults of what a question is and states: the closed set, plain data, dimension, and the scale of its noise."""

from __future__ import annotations

from .fault import LEVELS, PLAIN_DATA, QUESTION, SCALE, TRUSTED_BASE, Fault

ACCEPTANCE = "tests/server/test_acceptance.py"

FAULTS = (
    Fault(
        "the closed set of questions is open to subclasses",
        "core/privacy/questions/question.py",
        "if type(question) not in QUESTIONS:",
        "if not isinstance(question, QUESTIONS):",
        (f"{PLAIN_DATA}::test_a_subclass_of_a_question_is_none",),
    ),
    Fault(
        "a question has room for a method of its own",
        "core/privacy/questions/pair_tables.py",
        "@dataclass(frozen=True, slots=True)\nclass PairTables:",
        "@dataclass(frozen=True)\nclass PairTables:",
        (f"{PLAIN_DATA}::test_a_question_has_no_method_of_its_own",),
    ),
    Fault(
        "a truth value passes for a whole number",
        "core/privacy/questions/plain_data.py",
        "return type(value) is int",
        "return isinstance(value, int)",
        (f"{PLAIN_DATA}::test_a_sum_is_asked_for_by_plain_data_that_fits_the_schema",),
    ),
    Fault(
        "a block of class marginals may be a subclass",
        "core/privacy/questions/plain_data.py",
        "return type(value) is kind and all(",
        "return isinstance(value, kind) and all(",
        (f"{PLAIN_DATA}::test_a_sum_is_asked_for_by_plain_data_that_fits_the_schema",),
    ),
    Fault(
        "class marginals need not be plain data",
        "core/privacy/questions/class_marginals.py",
        "        require_plain(self)\n",
        "",
        (f"{PLAIN_DATA}::test_a_sum_is_asked_for_by_plain_data_that_fits_the_schema",),
    ),
    Fault(
        "a sign may be any whole number",
        "core/privacy/questions/sign_products.py",
        "if any(sign not in (-1, 0, 1) for",
        "if any(sign == 0.5 for",
        (f"{PLAIN_DATA}::test_products_are_asked_for_by_plain_data_that_fits_the_schema",),
    ),
    Fault(
        "value counts may read a feature on two grids",
        "core/privacy/questions/value_counts.py",
        "sorted(columns) != sorted(set(columns).intersection(range(len(sizes)))):",
        "not set(columns) <= set(range(len(sizes))):",
        (f"{PLAIN_DATA}::test_values_are_asked_for_by_plain_data_on_edges_that_ascend",),
    ),
    Fault(
        "a question about other cells than the schema has",
        "core/privacy/questions/plain_data.py",
        " or len(images) != sizes[column]",
        "",
        (f"{PLAIN_DATA}::test_a_second_moment_is_asked_for_by_plain_data_that_fits_the_schema",),
    ),
    Fault(
        "a question is not checked before it is paid",
        "core/privacy/vault.py",
        "        question.check(self._reader.sizes)\n",
        "",
        (f"{PLAIN_DATA}::test_levels_are_asked_for_by_plain_data_that_fits_the_schema",),
    ),
    Fault(
        "a question is told that a patient has one row",
        "core/privacy/scale.py",
        "question.sensitivity2(cap)",
        "question.sensitivity2(1)",
        (f"{LEVELS}::test_the_label_entry_of_many_rows_is_short_by_what_division_cuts_off",),
    ),
    Fault(
        "the one scale of noise rounds sigma down",
        "core/privacy/scale.py",
        "sigma = ceil_sqrt(Fraction(finer) / (mu2 * terms.sharers))",
        "sigma = ceil_sqrt(Fraction(finer) / (mu2 * terms.sharers)) - 1",
        (f"{SCALE}::test_an_answer_costs_what_was_allowed_or_a_little_less",),
    ),
    Fault(
        "a lattice is halved once too little",
        "core/privacy/scale.py",
        "while least * (moved2 << 2 * shift) < MIN_SIGMA**2 * mu2 * terms.sharers:",
        "while least * (moved2 << 2 * shift + 2) < MIN_SIGMA**2 * mu2 * terms.sharers:",
        (f"{SCALE}::test_an_answer_costs_what_was_allowed_or_a_little_less",),
    ),
    Fault(
        "the cost of an answer is that of a lattice which was not halved",
        "core/privacy/scale.py",
        "Fraction(finer, terms.sharers * sigma**2))",
        "Fraction(sensitivity2, terms.sharers * sigma**2))",
        (f"{SCALE}::test_an_answer_costs_what_was_allowed_or_a_little_less",),
    ),
    Fault(
        "the numbers of pair tables are miscounted by one",
        "core/privacy/questions/pair_tables.py",
        "sum(size**2 for size in self.sizes)) // 2",
        "sum(size**2 for size in self.sizes)) // 2 - 1",
        (f"{QUESTION}::test_an_answer_has_the_numbers_and_the_size_that_its_question_states",),
    ),
    Fault(
        "class marginals are held against entries of the wrong block",
        "core/privacy/questions/class_marginals.py",
        "return (*(block.weight for block in self.blocks for _ in range(block.size)), self.label_weight)",
        "return (self.label_weight, *(block.weight for block in self.blocks for _ in range(block.size)))",
        (f"{QUESTION}::test_the_entries_of_class_marginals_bound_them_one_by_one",),
    ),
    Fault(
        "the name of a question changes its hash",
        "core/privacy/questions/level_sum.py",
        'NAME: ClassVar = "level sum"',
        'NAME: ClassVar = "levels"',
        (f"{QUESTION}::test_the_hash_of_a_question_stays",),
    ),
    Fault(
        "the coordinator expects one number too many",
        "server/acceptance.py",
        '"dimension": question.dimension(len(plan.schema.classes)),',
        '"dimension": question.dimension(len(plan.schema.classes)) + 1,',
        (f"{ACCEPTANCE}::test_what_the_vault_answers_is_accepted_and_so_is_one_rounding_less",),
    ),
    Fault(
        "the coordinator believes a site how many numbers an answer has",
        "server/acceptance.py",
        '"dimension": question.dimension(len(plan.schema.classes)),',
        '"dimension": receipt.statements[0].dimension if receipt.statements else 0,',
        (f"{ACCEPTANCE}::test_centroids_without_the_one_answer_that_they_rest_on_are_refused",),
    ),
    Fault(
        "the coordinator believes a site how sensitive an answer is",
        "server/acceptance.py",
        '"sensitivity2": noise.sensitivity2,',
        '"sensitivity2": receipt.statements[0].sensitivity2 if receipt.statements else 0,',
        (f"{ACCEPTANCE}::test_centroids_without_the_one_answer_that_they_rest_on_are_refused",),
    ),
    Fault(
        "a grid whose edges do not ascend is read",
        "core/data/reading.py",
        "if any(not low < high for low, high in pairwise(self.edges)):",
        "if any(low > high for low, high in pairwise(self.edges)):",
        (f"{TRUSTED_BASE}::test_a_grid_on_which_a_search_is_no_comparison_is_refused",),
    ),
    Fault(
        "the public grid is handed the records",
        "core/privacy/vault.py",
        "self._reader = Encoding.of(schema).reader\n",
        "self._reader = Encoding.of(schema)  # type: ignore[assignment]\n",
        (f"{TRUSTED_BASE}::test_what_is_public_never_sees_a_record",),
    ),
)
