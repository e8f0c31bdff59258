"""Faults of answer D in a study: which cells a site counts, who has permitted it, and who pays for it."""

from __future__ import annotations

from .fault import DIMENSIONS, MESSAGES, Fault

OF_STUDY = "tests/federation/test_counted_values.py"
OF_SUM = "tests/core/steps/test_point_masses_study.py"
ACCEPTANCE = "server/acceptance.py"

FAULTS = (
    Fault(
        "values are counted in a study that does not permit it",
        "protocol/study.py",
        "        if not self.point_masses:\n",
        "        if not self.sites:\n",
        (f"{OF_STUDY}::test_a_study_that_does_not_permit_it_is_never_counted",),
    ),
    Fault(
        "a study's counts come on top of its budget",
        "core/steps/plan.py",
        "return self.mu2 - self.mu2_sums - self.mu2_products - self.mu2_looks",
        "return self.mu2 - self.mu2_sums - self.mu2_products",
        (f"{OF_SUM}::test_sites_too_small_for_pairs_count_nothing_and_nobody_counts_on_them",),
        fast=True,
    ),
    Fault(
        "a site reserves for its pairs alone, and counts values all the same",
        "client/site/site.py",
        "cost = plan.mu2_sums if request.round == 1 else plan.mu2_second",
        "cost = plan.mu2_sums if request.round == 1 else plan.mu2_moments",
        (f"{OF_STUDY}::test_the_counts_are_paid_from_round_2_and_nothing_is_spent_beyond_the_study",),
    ),
    Fault(
        "a site counts whatever a coordinator's margins make heavy, however little it is",
        "core/steps/point_masses.py",
        "LEAST_NOISES = 12.0  #",
        "LEAST_NOISES = 0.0  #",
        (f"{OF_SUM}::test_the_noise_of_each_site_is_in_the_sum",),
        fast=True,
    ),
    Fault(
        "a coordinator's margins make a site count any number of values",
        "core/steps/point_masses.py",
        "look.mass >= least and counted <= MOST_COUNTED:",
        "look.mass >= least and counted:",
        (f"{OF_SUM}::test_no_more_values_are_counted_than_the_kappa_of_a_study_is_for",),
    ),
    Fault(
        "the sum of a study's counts is read as if it had the noise of one site",
        "core/steps/pipeline.py",
        "mu2 = fitting[0].mu2 / sum(plan.surplus for plan in fitting)",
        "mu2 = fitting[0].mu2",
        (f"{OF_SUM}::test_the_noise_of_each_site_is_in_the_sum",),
    ),
    Fault(
        "counts with a share of the noise leave a site",
        "protocol/payload.py",
        "            _require_whole_noise(self.counts)\n",
        "            _require_dtype('<i8', self.counts.values)\n",
        (f"{MESSAGES}::test_counts_of_values_leave_a_site_with_all_of_their_noise",),
    ),
    Fault(
        "counts that no patients could give spoil those of the other sites",
        ACCEPTANCE,
        "        _check_counts(signed.release, plan)\n",
        "",
        (f"{OF_STUDY}::test_counts_that_a_site_cannot_have_are_not_taken",),
    ),
    Fault(
        "what a site's counts cost too much its pairs may save",
        ACCEPTANCE,
        '        _expect("sigma of the counts of values", noise.sigma, statement.sigma)\n',
        "        assert noise.sigma and statement.sigma\n",
        (f"{OF_STUDY}::test_what_one_answer_saves_is_not_another_s",),
    ),
    Fault(
        "counts are released without a statement of their own",
        "protocol/receipts.py",
        "        if stated[1:] != counts:\n",
        "        if stated[1:] and stated[1:] != counts:\n",
        (f"{OF_STUDY}::test_a_receipt_states_the_counts_that_are_released",),
    ),
    Fault(
        "mu of a study without the kappa of the values that it may count",
        "core/dimensions.py",
        "values=MOST_COUNTED if point_masses and possible(Encoding.of(schema)) else 0)",
        "values=0 if point_masses and possible(Encoding.of(schema)) else 0)",
        (f"{DIMENSIONS}::test_a_study_that_may_count_values_has_their_kappa_too",),
    ),
    Fault(
        "joint study: the spare noise of the counts is not taken off",
        "client/ledger/sum_steps.py",
        "for answer in answers if answer.spare is not None]",
        "for answer in answers[:1] if answer.spare is not None]",
        (f"{OF_STUDY}::test_in_a_joint_study_the_counts_are_in_the_second_sum",),
    ),
    Fault(
        "joint study: the counts are added with the noise of a site that nobody is to read alone",
        "core/steps/pipeline.py",
        "anonymize.answer_d(vault, plan, terms)) if plan.looks",
        "anonymize.answer_d(vault, plan)) if plan.looks",
        (f"{OF_STUDY}::test_in_a_joint_study_the_counts_are_in_the_second_sum",),
    ),
)
