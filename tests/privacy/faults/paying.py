"""Faults of paying: meters, the ledger, and who may spend."""

from __future__ import annotations

from .fault import ACT, AGAIN, DAYS, LEDGER, MARK, MESSAGES, METER, QUESTION, RESERVATION, Fault

FAULTS = (
    Fault(
        "common groups are more than the sites accept",
        "core/steps/bins.py",
        "most = most_groups_together(encoding) if most is None else most",
        "most = 10**9 if most is None else most",
        ("tests/client/site/test_grouping.py::test_what_the_coordinator_chooses_every_site_accepts",),
    ),
    Fault(
        "a site is paid for columns whose pairs it refuses",
        "client/site/room.py",
        "if plan.fits_mixture and not fits_pairs(encoding):",
        "if not plan.schema.columns:",
        ("tests/client/site/test_grouping.py::test_a_site_refuses_them_in_round_1_where_it_would_measure_pairs",),
    ),
    Fault(
        "paid for after the draw",
        "core/privacy/vault.py",
        "            self._meter.debit(index, asked, noise.cost)\n"
        "            values = self._add_noise(self._exact(question, reader) << noise.shift, noise.sigma, "
        'f"{asked}:{index}")\n',
        "            values = self._add_noise(self._exact(question, reader) << noise.shift, noise.sigma, "
        'f"{asked}:{index}")\n'
        "            self._meter.debit(index, asked, noise.cost)\n",
        (f"{METER}::test_over_the_limit_nothing_is_drawn",),
    ),
    Fault(
        "an answer is read before it is stored",
        "core/privacy/vault.py",
        "            self._meter.store(index, Answer(values + spare, *facts, spare if noise.spare else None, "
        "noise.spare))\n"
        "            stored = self._meter.load(index)\n",
        "            stored = Answer(values + spare, *facts, spare if noise.spare else None, noise.spare)\n"
        "            self._meter.store(index, stored)\n",
        (f"{METER}::test_what_is_given_is_what_was_stored",),
    ),
    Fault(
        "a second draw for the price of one",
        "core/privacy/vault.py",
        "        stored = self._meter.load(index)\n        if stored is None:",
        "        stored = None\n        if stored is None:",
        (f"{METER}::test_a_stored_answer_is_not_drawn_again",),
    ),
    Fault(
        "an answer given to another question",
        "core/privacy/vault.py",
        "if stored is None or (stored.question, stored.sharers, stored.spare_sigma) != terms:",
        "if stored is None:",
        (f"{METER}::test_another_question_under_the_same_index_is_refused",),
    ),
    Fault(
        "the hash of a question leaves out its weights",
        "core/privacy/questions/question.py",
        "[question.NAME, *parts(question)]",
        "[question.NAME, parts(question)[0]]",
        (f"{QUESTION}::test_the_question_is_the_query_and_the_schema",),
    ),
    Fault(
        "a reservation names no key",
        "client/ledger/history.py",
        "for step, key in reserved if key is not None",
        "for step, key in reserved if key is not None and not reserved",
        (f"{ACT}::test_a_reservation_says_whose_ledger_it_is_before_anything_is_signed",),
    ),
    Fault(
        "another question on the budget of the first",
        "core/privacy/memory_meter.py",
        "self._paid[index] != (question, mu2)",
        "self._paid[index][1] < mu2",
        (f"{METER}::test_a_question_that_was_paid_for_is_drawn_once_and_for_that_price",),
    ),
    Fault(
        "another question on the budget of the first, in the ledger",
        "client/ledger/reservation.py",
        "if paid[index] != payment:",
        "if paid[index].mu2 != mu2:",
        (f"{RESERVATION}::test_debit_is_idempotent_for_one_question_only",),
    ),
    Fault(
        "a second draw replaces the stored answer",
        "client/ledger/reservation.py",
        "!= payment or index in self._answers():",
        "!= payment:",
        (f"{RESERVATION}::test_an_answer_is_stored_once",),
    ),
    Fault(
        "the cap ignores open reservations",
        "client/ledger/ledger.py",
        "total_mu2(entry.mu2 for entry in entries), mu2",
        "total_mu2(entry.mu2 for entry in entries if entry.committed), mu2",
        (f"{LEDGER}::test_over_the_cap_is_refused_with_the_parts_apart",),
        fast=True,
    ),
    Fault(
        "a study's approval counts for each request anew",
        "client/ledger/ledger.py",
        "total_mu2(entry.mu2 for entry in entries if entry.study == study)",
        "Fraction(0)",
        (f"{LEDGER}::test_the_approved_budget_covers_all_requests_of_a_study",),
    ),
    Fault(
        "one request id, two contents",
        "client/ledger/ledger.py",
        "if costs[0].request != request_hash:",
        "if not costs[0].request:",
        (f"{AGAIN}::test_one_id_has_one_content",),
    ),
    Fault(
        "a signature that raised the cap once raises it again",
        "client/ledger/signed_act.py",
        'canonical(plain | {"previous": previous})',
        "canonical(plain)",
        (f"{ACT}::test_a_signed_cap_is_good_at_its_place_only",),
    ),
    Fault(
        "a key that was replaced by hand goes on in a ledger of receipts",
        "client/ledger/signed_act.py",
        "        if not under(signer, entry):",
        "        if isinstance(entry, Act) and not under(signer, entry):",
        (f"{ACT}::test_receipts_alone_say_whose_ledger_it_is",),
    ),
    Fault(
        "an earlier key signs after its successor",
        "client/ledger/ledger.py",
        "if self._key is not None and keys and keys[-1] != self._key:",
        "if self._key is not None and keys and keys[0] == self._key:",
        (f"{ACT}::test_an_earlier_key_signs_nothing_after_its_successor",),
    ),
    Fault(
        "a ledger that was set back opens",
        "protocol/storage/mark.py",
        "        if mark is not None:\n"
        "            self._require_history(mark, place, hash_of)\n            if self",
        "        if mark is not None and place.steps >= mark.steps:\n"
        "            self._require_history(mark, place, hash_of)\n            if self",
        (f"{MARK}::test_a_restored_backup_is_refused",),
    ),
    Fault(
        "the day of an act is not under its signature",
        "client/ledger/signed_act.py",
        "        if self.day is None:",
        "        if self.day is None or plain:",
        (f"{DAYS}::test_the_day_of_an_act_is_signed",),
    ),
    Fault(
        "a revocation of an older ledger is read as an approval",
        "client/ledger/signed_act.py",
        'decision="revoked" if content == b"revoked" else "approved"',
        'decision="approved" if content == b"revoked" else "approved"',
        (f"{DAYS}::test_a_ledger_from_before_days_opens_and_holds",),
    ),
    Fault(
        "the hash of a request leaves out the common groups",
        "protocol/messages.py",
        "return hashlib.sha256(self.canonical).hexdigest()",
        'return sha256(self.model_copy(update={"common": None}).plain())',
        (f"{MESSAGES}::test_every_part_of_a_request_is_in_its_hash",),
    ),
)
