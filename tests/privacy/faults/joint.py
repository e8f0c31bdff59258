"""Faults of joint studies: steps that count twice, sites that nobody knows, and sums of too little noise."""

from __future__ import annotations

from .fault import Fault

OF_SITE = "tests/client/site/test_joint_site.py"
OF_STUDY = "tests/federation/test_joint_study.py"
OF_REPLIES = "tests/federation/test_joint_replies.py"
OF_NOISE = "tests/privacy/test_joint_noise.py"
SITE, STEPS, SUM = "client/site/site.py", "client/ledger/sum_steps.py", "client/site/joint_sum.py"
COORDINATOR = "server/joint_coordinator.py"

FAULTS = (
    Fault(
        "joint study: nobody has to know the other sites",
        SITE,
        "        self.policy.require_peers(study, self._key.public_hex)\n",
        "",
        (f"{OF_SITE}::test_the_steward_must_know_the_keys_of_all_but_t_sites",),
    ),
    Fault(
        "joint study: a site of the right name counts as known under any key",
        "client/ledger/policy.py",
        "entry.key != own_key and (entry.name, entry.key) not in known",
        "entry.key != own_key and entry.name not in {name for name, _ in known}",
        (f"{OF_SITE}::test_the_steward_must_know_the_keys_of_all_but_t_sites",),
    ),
    Fault(
        "joint study: a plain request is answered, too",
        SITE,
        '        if study.joint is not None:\n            raise Refused(Code.NOT_APPROVED, "The rounds',
        '        if not study.sites:\n            raise Refused(Code.NOT_APPROVED, "The rounds',
        (
            f"{OF_SITE}::test_a_plain_request_in_a_joint_study_and_a_step_in_another_one",
            f"{OF_SITE}::test_after_its_steps_too_a_plain_request_brings_nothing",
        ),
    ),
    Fault(
        "joint study: the last step is not kept",
        STEPS,
        "            if kept is None:\n",
        '            if kept is None and ask.step != "unmask":\n',
        (f"{OF_SITE}::test_a_step_that_comes_back_with_another_content_is_refused_for_good",),
    ),
    Fault(
        "joint study: a step is replied that was not the one kept",
        STEPS,
        "return kept or taken",
        "return taken",
        (f"{OF_SITE}::test_of_two_that_take_a_step_at_once_one_counts",),
    ),
    Fault(
        "joint study: a step's content is not compared with the first one",
        STEPS,
        "if taken is not None and taken.ask != ask:",
        "if taken is not None and taken.ask.step != ask.step:",
        (f"{OF_SITE}::test_a_step_that_comes_back_with_another_content_is_refused_for_good",),
    ),
    Fault(
        "joint study: a step can come before the others",
        STEPS,
        "        if taken is None:\n            raise StepConflict(",
        "        if taken is None and step != 'consent':\n            raise StepConflict(",
        (f"{OF_SITE}::test_a_step_that_comes_too_early_is_refused_and_draws_nothing",),
    ),
    Fault(
        "joint study: a site signs for a sum that it is not in",
        SUM,
        "if not committed or not isinstance(boxes, AskInput):",
        "if not isinstance(boxes, AskInput):",
        (f"{OF_SITE}::test_no_consent_without_an_input_that_was_released",),
    ),
    Fault(
        "joint study: boxes are opened after the records were read",
        SITE,
        "        own.begin_input(ask)\n",
        "        isinstance(reserved, bytes) or self._parts_of_sum(request, plan, reserved)\n"
        "        reserved = self._reserve(request, plan, approved_mu2)\n"
        "        own.begin_input(ask)\n",
        (f"{OF_SITE}::test_boxes_that_do_not_open_stop_the_sum_before_a_record_is_read",),
    ),
    Fault(
        "joint study: a key that keeps no secret shows when the masks are made",
        "protocol/masking/part.py",
        "            require_agreement(keys)\n",
        "            keys.plain()\n",
        (f"{OF_SITE}::test_a_key_that_keeps_no_secret_stops_the_sum_before_a_record_is_read",),
    ),
    Fault(
        "joint study: spare noise is said, and not added",
        "core/privacy/vault.py",
        "Answer(values + spare, *facts",
        "Answer(values, *facts",
        (f"{OF_NOISE}::test_the_same_noise_is_left_whether_a_site_is_missing_or_not",),
    ),
    Fault(
        "joint study: of spare noise a receipt may state anything",
        "protocol/receipts.py",
        "if any(one.spare != ceil_sqrt(terms.spare * one.sigma**2) for one in receipt.statements):",
        "if any(one.spare < 0 for one in receipt.statements):",
        (f"{OF_STUDY}::test_a_receipt_with_too_little_spare_noise_is_refused_though_its_site_signed_it",),
    ),
    Fault(
        "joint study: any spare noise is taken off",
        COORDINATOR,
        "if isinstance(content, Shares) and content.spare is not None:",
        "if isinstance(content, Shares) and content.spare is not None and not content.shares:",
        (f"{OF_REPLIES}::test_spare_noise_that_cannot_be_a_site_s_own_is_not_taken_off",),
    ),
    Fault(
        "joint study: spare noise is taken off where a site is missing",
        "server/sum_round.py",
        "if (content.spare is not None) != self.is_spared:",
        "if content.spare is None and self.is_spared:",
        (f"{OF_REPLIES}::test_spare_noise_is_not_taken_off_where_a_site_is_missing",),
    ),
    Fault(
        "joint study: spare noise counts, whoever has written it into the store",
        "server/sum_round.py",
        "            verify_reply(signed, entry.key)\n        except SignatureError:\n",
        "            signed.plain()\n        except SignatureError:\n",
        (f"{OF_REPLIES}::test_spare_noise_that_no_site_has_signed_is_not_taken_off_what_is_read",),
    ),
    Fault(
        "joint study: whether the sums fit is found out when the budget is reserved",
        "client/site/room.py",
        "    _require_range(plan, common, terms)\n",
        "",
        ("tests/client/site/test_grouping.py::test_sums_beyond_62_bits_are_refused_before_anything_is_paid",),
    ),
    Fault(
        "scores: what a joint study asks depends on who has replied",
        COORDINATOR,
        "patients=patients, scores=self._whole.by_scores)",
        "patients=patients)",
        ("tests/federation/test_scores_study.py::test_what_is_asked_does_not_change_where_a_site_is_missing",),
    ),
    Fault(
        "scores: whichever the coordinator sends are taken",
        "client/site/request.py",
        "if not fit or (by_scores and not common.scores):",
        "if not fit and by_scores and not common.scores:",
        ("tests/federation/test_scores_study.py::test_a_site_takes_no_scores_that_do_not_fit",),
    ),
    Fault(
        "scores: a sum of signed numbers is checked on one side",
        "server/acceptance.py",
        "((values[place] < low - tail) | (values[place] > most + tail))",
        "(values[place] > most + tail)",
        (
            "tests/federation/test_scores_study.py::test_a_sum_beyond_what_patients_can_give_is_noticed_on_either_side",
        ),
    ),
    Fault(
        "joint study: spare noise that is left in a sum is not counted",
        COORDINATOR,
        "int(sites * noise.sigma**2 + (sites - spared) * noise.spare**2) for",
        "int(sites * noise.sigma**2) for",
        (f"{OF_STUDY}::test_a_site_in_the_first_sum_alone_is_made_up_for_in_the_second",),
    ),
    Fault(
        "joint study: a share of the noise is released without masks",
        "protocol/payload.py",
        "if answer.sharers != 1 or answer.spare is not None:",
        "if answer.sharers < 1:",
        (f"{OF_SITE}::test_an_answer_with_a_share_of_the_noise_fits_no_release_but_a_masked_one",),
    ),
    Fault(
        "joint study: room for pairs is judged by the noise that counts",
        "protocol/study.py",
        ", surplus=surplus_of(self.terms))",
        ")",
        (f"{OF_STUDY}::test_a_plan_too_small_for_pairs_has_one_round",),
    ),
    Fault(
        "joint study: its terms know of no overlap",
        "protocol/study.py",
        "overlap = sites_per_patient(self.overlap, sites)",
        "overlap = sites_per_patient('disjoint', sites)",
        (
            f"{OF_STUDY}::test_a_patient_at_two_sites_takes_twice_the_noise",
            f"{OF_NOISE}::test_a_patient_at_two_sites_needs_an_overlap_of_two",
        ),
    ),
    Fault(
        "joint study: a receipt may count any sites",
        "protocol/receipts.py",
        "if any(one.sharers != terms.sharers for one in receipt.statements):",
        "if any(one.sharers < 1 for one in receipt.statements):",
        (f"{OF_STUDY}::test_a_receipt_that_counts_other_sites_is_refused_though_its_site_signed_it",),
    ),
    Fault(
        "joint study: an input counts before its step",
        COORDINATOR,
        'and message.receipt.site == site and stage.step == "input":',
        "and message.receipt.site == site:",
        (f"{OF_STUDY}::test_a_reply_counts_in_its_own_step_alone",),
    ),
    Fault(
        "joint study: a site that came late to a step counts from the next one on",
        COORDINATOR,
        "if entry is None or self._under_way is None or site not in self._asked(stage):",
        "if entry is None:",
        (f"{OF_STUDY}::test_a_site_that_missed_a_step_does_not_come_in_at_the_next_one",),
    ),
    Fault(
        "joint study: a reply to another step counts for this one",
        "server/sum_round.py",
        "if (reply.site, reply.sum, content.step) != (entry.name, sum, step):",
        "if (reply.site, reply.sum) != (entry.name, sum):",
        (
            f"{OF_STUDY}::test_a_reply_counts_in_its_own_step_alone",
            f"{OF_STUDY}::test_a_reply_that_comes_after_its_step_does_not_count",
        ),
    ),
    Fault(
        "joint study: who is in a sum is not settled when its step ends",
        COORDINATOR,
        "return self._sums[stage.round].ended(order[order.index(stage) - 1].step)",
        'return self._sums[stage.round].ended("keys")',
        (f"{OF_STUDY}::test_a_site_that_drops_out_is_in_the_sum_if_its_input_came",),
    ),
    Fault(
        "joint study: fewer than T sites are enough to go on",
        COORDINATOR,
        "if len(replied) < self.spec.terms.threshold:",
        "if len(replied) < self.spec.terms.threshold - 1:",
        (f"{OF_STUDY}::test_with_fewer_than_t_nothing_is_read_until_a_site_comes_back",),
    ),
    Fault(
        "joint study: a sum that no patients can give is used",
        COORDINATOR,
        "                check_total(values, self._parts(round), variances, patients)\n",
        "                assert variances and patients\n",
        (f"{OF_REPLIES}::test_an_input_that_no_patients_could_give_spoils_the_sum_and_is_noticed",),
    ),
)
