"""Faults that would break the guarantee, each a small edit of one file, and the tests that have to catch it.

`mutate.py` plants them one at a time in a copy of the code. The old text must occur exactly once in the file: a
fault that no longer fits the code is reported, never skipped.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes
    ----------
    name : the fault in words.
    file : where it is planted.
    old, new : the edit.
    tests : node ids of pytest; at least one must fail.
    fast : whether `make test` plants it, too.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    fast: bool = False


NOISE, VAULT = "tests/core/test_noise.py", "tests/core/test_vault.py"
LATTICE, METER, QUERY = "tests/core/test_lattice.py", "tests/core/test_meter.py", "tests/core/test_query.py"
SENSITIVITY, LEVELS = "tests/privacy/test_sensitivity.py", "tests/privacy/test_sensitivity_levels.py"
BAD_INPUT, RELEASE = "tests/privacy/test_bad_input.py", "tests/privacy/test_release.py"
AUDIT, SIDE_CHANNELS = "tests/privacy/test_audit.py", "tests/privacy/test_side_channels.py"
PIPELINE, SYNTHESIS = "tests/core/test_pipeline.py", "tests/core/test_synthesis.py"
BUDGET, GDP = "tests/core/test_budget.py", "tests/core/test_gdp.py"
RECEIPTS, MESSAGES = "tests/protocol/test_receipts.py", "tests/protocol/test_messages.py"
LEDGER, RESERVATION = "tests/client/test_ledger.py", "tests/client/test_reservation.py"
ACT, MARK = "tests/client/test_act.py", "tests/client/test_mark.py"
DAYS = "tests/client/test_ledger_days.py"
POLICY, SNAPSHOT = "tests/client/test_policy.py", "tests/client/test_snapshot.py"
SITE, REFUSALS = "tests/client/test_site.py", "tests/client/test_site_refusals.py"
TICKS = "tests/client/test_daemon_ticks.py"
DAMAGE, STORE = "tests/client/test_damage.py", "tests/federation/test_damaged_store.py"

FAULTS = (
    # The noise
    Fault(
        "noise at 2/3 of sigma",
        "core/noise.py",
        "scale=float(sigma))(values",
        "scale=float(sigma) * 2 / 3)(values",
        (f"{NOISE}::test_law_is_accepted_and_other_scales_are_rejected",),
        fast=True,
    ),
    Fault(
        "noise at 2/3 of the sigma that is paid for",
        "core/vault.py",
        '            noised = self._noise.add(self._exact(query) << shift, sigma, f"{question}:{index}")\n',
        "            exact = self._exact(query) << shift\n"
        '            noised = exact + 2 * (self._noise.add(exact, sigma, f"{question}:{index}") - exact) // 3\n',
        (f"{VAULT}::test_the_noise_is_what_the_answer_says",),
    ),
    Fault(
        "noise from a seeded generator in production",
        "core/noise.py",
        "return np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)",
        "draws = np.random.default_rng(1).standard_normal(values.size)\n"
        "        return values + np.rint(sigma * draws).astype(np.int64)",
        (f"{NOISE}::test_opendp_never_repeats",),
    ),
    Fault(
        "the keyed source is the default",
        "core/synthesis.py",
        "    noise = noise or OpenDPNoise()",
        "    from cohortmix.core.noise_keyed import KeyedNoise\n\n    noise = noise or KeyedNoise(0)",
        (f"{SYNTHESIS}::test_real_noise_is_new_each_time",),
    ),
    Fault(
        "noise drawn on zero and added in floating point",
        "core/noise.py",
        "return np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)",
        "noise = dp.m.make_gaussian(*space, scale=float(sigma))([0] * len(values))\n"
        "        return (values + np.array(noise, dtype=np.float64)).astype(np.int64)",
        (f"{NOISE}::test_opendp_draws_every_bit",),
    ),
    Fault(
        "a lattice of 2^10 steps, so that kappa counts",
        "core/noise.py",
        "MIN_SIGMA: Final = 2**32",
        "MIN_SIGMA: Final = 2**10",
        (f"{NOISE}::test_the_lattice_makes_kappa_negligible",),
    ),
    Fault(
        "sigma rounded down, so that mu^2 passes what was allowed",
        "core/noise.py",
        "return -(-sigma >> excess_bits) << excess_bits",
        "return sigma >> excess_bits << excess_bits",
        (f"{NOISE}::test_ceil_sqrt_at_whole_roots",),
    ),
    # The vault: what one patient can move
    Fault(
        "sensitivity of the class sums sqrt(2) too small",
        "core/vault.py",
        "query.unit, 2 * query.bound2, largest",
        "query.unit, query.bound2, largest",
        (f"{SENSITIVITY}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
        fast=True,
    ),
    Fault(
        "sensitivity of the second moments sqrt(2) too small",
        "core/vault.py",
        "q * (q - 1) * unit**2",
        "q * (q - 1) // 2 * unit**2",
        (f"{SENSITIVITY}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "pairs within one feature are counted as well",
        "core/query.py",
        "feature[:, None] < feature[None, :]",
        "feature[:, None] <= feature[None, :]",
        (f"{SENSITIVITY}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "sensitivity of the level sums 2 too small",
        "core/vault.py",
        "max(4 * query.radius**2 + cut**2,",
        "max(query.radius**2 + cut**2,",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "what division cuts off a label entry is forgotten",
        "core/vault.py",
        "max(4 * query.radius**2 + cut**2,",
        "max(4 * query.radius**2,",
        (f"{LEVELS}::test_the_label_entry_of_many_rows_is_short_by_what_division_cuts_off",),
    ),
    Fault(
        "sensitivity of the level moments sqrt(2) too small",
        "core/vault.py",
        "query.radius**2\n        return self._answer(query, DIAGONAL * query.unit**2, 2 * largest**2",
        "query.radius**2\n        return self._answer(query, DIAGONAL * query.unit**2, largest**2",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "entries above the diagonal weigh more than sqrt(2)",
        "core/query.py",
        "DIAGONAL, OFF_DIAGONAL = 29, 41",
        "DIAGONAL, OFF_DIAGONAL = 29, 42",
        (f"{LEVELS}::test_the_weights_of_a_moment_keep_its_frobenius_norm",),
    ),
    Fault(
        "the vault's clip removed from the level sums",
        "core/contributions.py",
        "clip_rows(_levels(codes, query.coordinates), query.radius**2)",
        "_levels(codes, query.coordinates)",
        (f"{LEVELS}::test_sensitivity_of_noisy_level_sum",),
    ),
    Fault(
        "the vault's clip removed from the level moments",
        "core/contributions.py",
        "clip_rows(_levels(codes, query.coordinates), bound2)",
        "_levels(codes, query.coordinates)",
        (f"{LEVELS}::test_sensitivity_of_noisy_level_moment",),
    ),
    Fault(
        "sensitivity of the class moments sqrt(2) too small",
        "core/vault.py",
        "query.bound2\n        return self._answer(query, DIAGONAL * query.unit**2, 2 * largest**2",
        "query.bound2\n        return self._answer(query, DIAGONAL * query.unit**2, largest**2",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "the label entry of the class moments is not counted in their bound",
        "core/vault.py",
        "largest = DIAGONAL * query.bound2\n",
        "largest = DIAGONAL * query.radius**2\n",
        (f"{LEVELS}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "class moments clip what is projected, and not the projection",
        "core/contributions.py",
        "        z = project(_levels(codes, query.coordinates), directions, query.divisor)\n"
        "        psi[:, :-1] = clip_rows(z, query.radius**2)\n",
        "        x = clip_rows(_levels(codes, query.coordinates), query.radius**2)\n"
        "        psi[:, :-1] = project(x, directions, query.divisor)\n",
        (f"{LEVELS}::test_sensitivity_of_noisy_class_moment",),
    ),
    Fault(
        "the clip rounds up",
        "core/lattice.py",
        "(np.abs(z[over]) * isqrt(bound2) // length)",
        "-(-np.abs(z[over]) * isqrt(bound2) // length)",
        (f"{LATTICE}::test_clipped_rows_keep_the_bound_in_integers",),
    ),
    Fault(
        "psi psi^T quantised instead of psi",
        "core/contributions.py",
        "        psi = clip_rows(_levels(codes, query.coordinates), bound2)\n"
        "        reals = divide_by_root(psi, parts, MOMENT_UNIT).astype(np.float64)\n"
        "        total += (reals.T @ reals).astype(np.int64)",
        "        psi = _levels(codes, query.coordinates) / np.sqrt(parts)[:, None]\n"
        "        norms = np.linalg.norm(psi, axis=1) * np.sqrt(parts)\n"
        "        reals = psi * np.minimum(1, query.radius / np.maximum(norms, 1))[:, None]\n"
        "        total += np.rint(reals.T @ reals).astype(np.int64)",
        (f"{VAULT}::test_batches_do_not_change_an_answer", f"{LEVELS}::test_sensitivity_of_noisy_level_moment"),
    ),
    Fault(
        "a batch is reduced in floating point before it is quantised",
        "core/contributions.py",
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
        "core/lattice.py",
        "return np.sign(z) * (np.abs(z) // parts[:, None])",
        "return z // parts[:, None]",
        (f"{LATTICE}::test_shares_of_a_row_are_truncated_towards_zero",),
    ),
    Fault(
        "each row of a patient weighs 1",
        "core/vault.py",
        "parts[row] = m",
        "parts[row] = 1",
        (f"{SENSITIVITY}::test_the_bound_is_reached_however_many_rows_a_patient_has",),
    ),
    Fault(
        "a patient's weight ignores rows of another label",
        "core/vault.py",
        "            parts = self._parts(batch, seen)\n",
        "            parts = self._parts(batch, seen)\n"
        "            if self._rows_of is not None:\n"
        "                owners = list(zip(_keys(batch, self._schema), label.tolist(), strict=True))\n"
        "                parts = np.minimum(parts, [owners.count(each) for each in owners])\n",
        (f"{VAULT}::test_the_answers_are_the_sums_of_the_records",),
    ),
    Fault(
        "rows over the cap are read",
        "core/vault.py",
        "if seen[key] < m:",
        "if m:",
        (f"{SENSITIVITY}::test_rows_over_the_cap_are_not_read",),
    ),
    Fault(
        "N counts rows, and Describe says it",
        "core/vault.py",
        "else len(self._rows_of)",
        "else self._rows_of.total()",
        (f"{SITE}::test_public_facts",),
    ),
    Fault(
        "sums may overflow",
        "core/vault.py",
        "if self.patients * largest << shift >= LIMIT:",
        "if shift >= 62:",
        (f"{VAULT}::test_just_below_the_limits_it_answers",),
    ),
    Fault(
        "the label counts are released without noise",
        "core/vault.py",
        "            self._meter.store(index, Answer(",
        "            if isinstance(query, SumQuery):\n"
        "                true = (self._exact(query) << shift).reshape(-1, query.width)\n"
        "                noised.reshape(-1, query.width)[:, -1] = true[:, -1]\n"
        "            self._meter.store(index, Answer(",
        (f"{VAULT}::test_the_noise_is_what_the_answer_says",),
        fast=True,
    ),
    Fault(
        "a refusal that depends on a cell",
        "core/vault.py",
        "            keep = (label != UNKNOWN) & (parts > 0)\n",
        "            if (label == UNKNOWN).any():\n"
        '                raise ValueError("a record has no label")\n'
        "            keep = (label != UNKNOWN) & (parts > 0)\n",
        (f"{REFUSALS}::test_no_code_depends_on_a_cell",),
        fast=True,
    ),
    Fault(
        "the number of rows in a log line",
        "core/vault.py",
        "            parts = self._parts(batch, seen)\n",
        "            parts = self._parts(batch, seen)\n"
        "            import logging\n\n"
        '            logging.getLogger("cohortmix.vault").info("%d rows read", batch.num_rows)\n',
        (f"{SIDE_CHANNELS}::test_neighbours_with_the_same_answers_look_the_same",),
    ),
    # Cells
    Fault(
        "bounds from the data",
        "core/encoding.py",
        '        found = np.searchsorted(np.asarray(self.edges), values, side="right")\n',
        "        seen = values[~np.isnan(values)]\n"
        "        edges = np.linspace(seen.min(), seen.max(), len(self.edges)) if seen.size else self.edges\n"
        '        found = np.searchsorted(np.asarray(edges), values, side="right")\n',
        (f"{VAULT}::test_batches_do_not_change_an_answer",),
        fast=True,
    ),
    Fault(
        "one record changes how a column reads",
        "core/table.py",
        "[None if null else _text(value) for",
        "[None if null else str(value) for",
        (f"{BAD_INPUT}::test_a_column_that_changes_its_type_reads_the_same",),
    ),
    # Paying
    Fault(
        "paid for after the draw",
        "core/vault.py",
        "            self._meter.debit(index, question, cost)\n"
        '            noised = self._noise.add(self._exact(query) << shift, sigma, f"{question}:{index}")\n',
        '            noised = self._noise.add(self._exact(query) << shift, sigma, f"{question}:{index}")\n'
        "            self._meter.debit(index, question, cost)\n",
        (f"{METER}::test_over_the_limit_nothing_is_drawn",),
    ),
    Fault(
        "an answer is read before it is stored",
        "core/vault.py",
        "            self._meter.store(index, Answer(noised, sigma, unit << shift, paid, cost, question))\n"
        "            stored = self._meter.load(index)\n",
        "            stored = Answer(noised, sigma, unit << shift, paid, cost, question)\n"
        "            self._meter.store(index, stored)\n",
        (f"{METER}::test_what_is_given_is_what_was_stored",),
    ),
    Fault(
        "a second draw for the price of one",
        "core/vault.py",
        "        stored = self._meter.load(index)\n        if stored is None:",
        "        stored = None\n        if stored is None:",
        (f"{METER}::test_a_stored_answer_is_not_drawn_again",),
    ),
    Fault(
        "an answer given to another question",
        "core/vault.py",
        "if stored is None or stored.question != question:",
        "if stored is None:",
        (f"{METER}::test_another_question_under_the_same_index_is_refused",),
    ),
    Fault(
        "the hash of a question leaves out its weights",
        "core/query.py",
        "[NAMES[type(query)], *parts(query)]",
        "[NAMES[type(query)], parts(query)[0]]",
        (f"{QUERY}::test_the_question_is_the_query_and_the_schema",),
    ),
    Fault(
        "a site says how noisy its centroids are, and is believed",
        "server/acceptance.py",
        "True, isclose(float(centroids.noise_std), noise, rel_tol=ROUNDING))",
        "True, float(centroids.noise_std) == float(centroids.noise_std))",
        ("tests/server/test_acceptance.py::test_the_noise_of_centroids_is_the_plans",),
    ),
    Fault(
        "a reservation names no key",
        "client/ledger.py",
        "for step, key in reserved if key is not None",
        "for step, key in reserved if key is not None and not reserved",
        (f"{ACT}::test_a_reservation_says_whose_ledger_it_is_before_anything_is_signed",),
    ),
    Fault(
        "another question on the budget of the first",
        "core/meter.py",
        "self._paid[index] != (question, mu2)",
        "self._paid[index][1] < mu2",
        (f"{METER}::test_a_question_that_was_paid_for_is_drawn_once_and_for_that_price",),
    ),
    Fault(
        "another question on the budget of the first, in the ledger",
        "client/reservation.py",
        "if paid[index] != asked:",
        "if paid[index].mu2 != mu2:",
        (f"{RESERVATION}::test_debit_is_idempotent_for_one_question_only",),
    ),
    Fault(
        "a second draw replaces the stored answer",
        "client/reservation.py",
        "!= asked or index in self._answers():",
        "!= asked:",
        (f"{RESERVATION}::test_an_answer_is_stored_once",),
    ),
    Fault(
        "the cap ignores open reservations",
        "client/ledger.py",
        "total_mu2(each.mu2 for each in entries), mu2",
        "total_mu2(each.mu2 for each in entries if each.committed), mu2",
        (f"{LEDGER}::test_over_the_cap_is_refused_with_the_parts_apart",),
        fast=True,
    ),
    Fault(
        "a study's approval counts for each request anew",
        "client/ledger.py",
        "total_mu2(each.mu2 for each in entries if each.study == study)",
        "Fraction(0)",
        (f"{LEDGER}::test_the_approved_budget_covers_all_requests_of_a_study",),
    ),
    Fault(
        "one request id, two contents",
        "client/ledger.py",
        "if known[0].request != request_hash:",
        "if not known[0].request:",
        (f"{SITE}::test_one_id_has_one_content",),
    ),
    Fault(
        "a signature that raised the cap once raises it again",
        "client/act.py",
        'canonical(plain | {"previous": previous})',
        "canonical(plain)",
        (f"{ACT}::test_a_signed_cap_is_good_at_its_place_only",),
    ),
    Fault(
        "the day of an act is not under its signature",
        "client/act.py",
        "        if self.day is None:",
        "        if self.day is None or plain:",
        (f"{DAYS}::test_the_day_of_an_act_is_signed",),
    ),
    Fault(
        "a revocation of an older ledger is read as an approval",
        "client/act.py",
        'decision="revoked" if content == b"revoked" else "approved"',
        'decision="approved" if content == b"revoked" else "approved"',
        (f"{DAYS}::test_a_ledger_from_before_days_opens_and_holds",),
    ),
    Fault(
        "a key that was replaced by hand goes on in a ledger of receipts",
        "client/act.py",
        "        if not under(signer, entry):",
        "        if isinstance(entry, Act) and not under(signer, entry):",
        (f"{ACT}::test_receipts_alone_say_whose_ledger_it_is",),
    ),
    Fault(
        "an earlier key signs after its successor",
        "client/ledger.py",
        "if self._key is not None and keys and keys[-1] != self._key:",
        "if self._key is not None and keys and keys[0] == self._key:",
        (f"{ACT}::test_an_earlier_key_signs_nothing_after_its_successor",),
    ),
    Fault(
        "a ledger opens although an index of it hides rows",
        "protocol/database.py",
        'if found != "ok":',
        "if not found:",
        (f"{DAMAGE}::test_an_index_that_hides_rows_is_not_believed",),
    ),
    Fault(
        "a ledger's decisions ask an index of the file",
        "protocol/journal.py",
        "            return [self._whole(number) for number in self._numbers.get(key, ())]",
        '            names = ("kind", "study", "id")[: len(key)]\n'
        '            where = " AND ".join(f"{name} = ?" for name in names)\n'
        '            query = f"SELECT {_COLUMNS} FROM steps WHERE {where} ORDER BY number"\n'
        "            return [Step(*row) for row in self._database.each(query, *key)]",
        (f"{DAMAGE}::test_an_index_that_hides_rows_is_not_believed",),
    ),
    Fault(
        "a release is read again from the ledger without its hash",
        "protocol/journal.py",
        "if found is None or found.hash != step.hash or not found.follows(before):",
        "if found is None:",
        (f"{DAMAGE}::test_a_release_that_changed_under_an_open_ledger_is_not_sent",),
    ),
    Fault(
        "a trigger that was slipped into an open ledger acts",
        "protocol/database.py",
        '            self._connection.execute("BEGIN IMMEDIATE")\n            self._require_tables()\n',
        '            self._connection.execute("BEGIN IMMEDIATE")\n',
        (f"{DAMAGE}::test_what_does_not_belong_into_a_ledger_is_refused",),
    ),
    Fault(
        "a step counts before it is read back",
        "protocol/journal.py",
        "if self._read(step.number) != step:",
        "if not step.hash:",
        (f"{RESERVATION}::test_a_step_is_read_back_before_it_counts",),
    ),
    Fault(
        "a step is written that cannot be read again",
        "client/journal.py",
        "same = type(message).model_validate_json(content) == message",
        "same = bool(content)",
        (f"{RESERVATION}::test_a_step_that_could_not_be_read_again_is_not_written",),
    ),
    Fault(
        "a release is committed that no message can hold",
        "client/journal.py",
        "if len(content) > limit:",
        "if not content:",
        (f"{RESERVATION}::test_a_release_that_no_message_can_hold_is_not_committed",),
    ),
    Fault(
        "a release is reserved that could not be sent",
        "client/site.py",
        "        require_room(plan, request.common)\n",
        "",
        (f"{REFUSALS}::test_a_release_that_could_not_be_sent_is_refused_before_it_is_paid_for",),
    ),
    Fault(
        "a clock that is set back revives a study",
        "client/ledger.py",
        "return max([today(), *(day for day in days if day is not None)])",
        "return today()",
        (f"{REFUSALS}::test_a_clock_that_is_set_back_revives_no_study",),
    ),
    Fault(
        "a store that was set back is read as far as it goes",
        "server/store.py",
        'mark = None if str(path) == ":memory:" else Path(path).with_suffix(".mark")',
        "mark = None",
        ("tests/server/test_store.py::test_a_store_that_was_set_back_is_refused",),
    ),
    Fault(
        "a release of the store counts without its site's signature",
        "server/kept.py",
        "        verify_signed(signed.signed_receipt, study)\n",
        "",
        (f"{STORE}::test_a_release_counts_by_its_sites_signature",),
    ),
    Fault(
        "a release of the store counts whatever its receipt says of it",
        "server/kept.py",
        "if receipt.release_hash != signed.release.hash:",
        "if not receipt.release_hash:",
        (f"{STORE}::test_a_release_counts_by_its_sites_signature",),
    ),
    Fault(
        "common facts of the store count without a signature",
        "server/kept.py",
        '        verify(study.coordinator_key, signed_bytes("common", signed.frozen), signed.signature)\n',
        "",
        (f"{STORE}::test_common_facts_count_by_the_coordinators_signature",),
    ),
    Fault(
        "an earlier publication is put away before the new one takes its place",
        "protocol/folder.py",
        "                _exchange(folder, out)\n",
        '                out.rename(Path(scratch) / "old")\n                folder.rename(out)\n',
        ("tests/protocol/test_folder.py::test_killed_at_any_line_a_whole_folder_stands_there",),
    ),
    Fault(
        "a ledger that was set back opens",
        "protocol/mark.py",
        "        if mark is not None:\n"
        "            self._require_history(mark, place, hash_of)\n            if self",
        "        if mark is not None and place.steps >= mark.steps:\n"
        "            self._require_history(mark, place, hash_of)\n            if self",
        (f"{MARK}::test_a_restored_backup_is_refused",),
    ),
    Fault(
        "the hash of a request leaves out the common groups",
        "protocol/messages.py",
        "return hashlib.sha256(self.canonical).hexdigest()",
        'return sha256(self.model_copy(update={"common": None}).plain())',
        (f"{MESSAGES}::test_every_part_of_a_request_is_in_its_hash",),
    ),
    # The three steps
    Fault(
        "groups chosen from true margins",
        "core/synthesis.py",
        "    common = pipeline.common([plan], [own])\n",
        "    from dataclasses import replace\n\n"
        "    from cohortmix.core.anonymize import sum_query\n"
        "    from cohortmix.core.encoding import Encoding\n\n"
        "    query = sum_query(Encoding.of(plan.schema))\n"
        "    true = replace(own, values=vault._exact(query), unit=query.unit)\n"
        "    common = pipeline.common([plan], [true])\n",
        (f"{AUDIT}::test_an_audit_of_the_mechanism_finds_no_violation",),
    ),
    Fault(
        "the Gaussian variant is centred at the true mean",
        "core/gaussian_answers.py",
        "levels = replace(levels, centre=_centre(levels, _first(vault, levels, plan).estimate, plan.patients))",
        "_first(vault, levels, plan)\n"
        "    query = LevelSum(levels.coordinates(SUM_UNIT), _steps(FIRST_RADIUS, levels, SUM_UNIT), 0, SUM_UNIT)\n"
        "    true = vault._exact(query) / SUM_UNIT\n"
        "    levels = replace(levels, centre=_centre(levels, true, plan.patients))",
        ("tests/core/test_gaussian.py::test_nothing_but_the_answers_depends_on_the_records",),
    ),
    Fault(
        "a number of components that depends on the records",
        "core/pipeline.py",
        "    answer = anonymize.answer_b(vault, common.groups, plan.mu2_moments)\n",
        "    answer = anonymize.answer_b(vault, common.groups, plan.mu2_moments)\n"
        "    from dataclasses import replace\n\n"
        "    ill = int(vault._exact(anonymize.sum_query(Encoding.of(plan.schema))).reshape(2, -1)[0, -1])\n"
        "    plan = replace(plan, mu2=plan.mu2 * (1 + ill % 7))  # and with it l_min\n",
        (f"{RELEASE}::test_nothing_but_the_answers_depends_on_the_records",),
    ),
    Fault(
        "the second answer may cost the whole budget again",
        "core/pipeline.py",
        "return self.mu2 - self.mu2_sums",
        "return self.mu2 if self.fits_mixture else self.mu2 - self.mu2_sums",
        (f"{PIPELINE}::test_the_parts_of_a_plan_make_its_budget",),
    ),
    # What is stated
    Fault(
        "kappa dropped from a release's receipt",
        "core/synthesis.py",
        "kappa = sum(gdp.kappa(len(answer.values), answer.sigma) for answer in self.answers)",
        "kappa = 0.0",
        (f"{SYNTHESIS}::test_the_receipt_says_what_it_cost",),
    ),
    Fault(
        "kappa of half the numbers",
        "core/gdp.py",
        "return int(d) / (24 * int(sigma) ** 2)",
        "return int(d) / (48 * int(sigma) ** 2)",
        (f"{GDP}::test_kappa_rests_on_a_pointwise_bound_whose_constant_is_sharp",),
    ),
    Fault(
        "mu of several releases is the largest of them",
        "core/gdp.py",
        "return math.hypot(*(_checked_mu(mu) for mu in mus))",
        "return max(map(_checked_mu, mus), default=0.0)",
        (f"{GDP}::test_composition_is_the_root_of_the_sum_of_squares",),
    ),
    Fault(
        "the default delta is 1e-5 for any number of patients",
        "core/budget.py",
        "delta = min(DEFAULT_DELTA, largest) if",
        "delta = DEFAULT_DELTA if",
        (f"{BUDGET}::test_default_delta_never_permits_publishing_a_patient",),
    ),
    Fault(
        "a study may have a delta of 1/N",
        "protocol/study.py",
        "> 1 / (10 * largest) and",
        "> 1 / largest and",
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
        "Fraction(each.sensitivity2, each.sigma**2)",
        "Fraction(each.sensitivity2, statements[0].sigma ** 2)",
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
    # What crosses the wire
    Fault(
        "an exception's text crosses the wire",
        "client/site.py",
        'sentence = "The site could not answer; its own log says why."',
        "sentence = str(error)[:300]",
        (f"{REFUSALS}::test_an_exception_leaves_only_its_type",),
    ),
    Fault(
        "an exception's text in the log",
        "client/site.py",
        'logger.error("no answer: %s", type(error).__name__)',
        'logger.error("no answer: %s", error)',
        (f"{REFUSALS}::test_an_exception_leaves_only_its_type",),
    ),
    Fault(
        "an exception's text crosses the socket",
        "client/daemon.py",
        'return _refusal("The site could not answer; its own log says why.")',
        "return _refusal(str(error))",
        (f"{TICKS}::test_no_text_of_an_exception_leaves",),
    ),
    Fault(
        "a reply leaves when it is ready, not on a tick",
        "client/daemon.py",
        "await asyncio.sleep(until_tick(monotonic() - began, self._interval))",
        "await asyncio.sleep(0)",
        (f"{TICKS}::test_replies_leave_on_ticks",),
    ),
    Fault(
        "who hangs up ends the call, and the next one learns when it was ready",
        "client/daemon.py",
        "return await asyncio.shield(asyncio.create_task(self._for_whole_intervals(request)))",
        "return await self._for_whole_intervals(request)",
        (f"{TICKS}::test_calls_that_wait_learn_nothing_of_the_one_before",),
    ),
    Fault(
        "a round of a study can be asked under any id",
        "client/site.py",
        "if request.request_id != request_id(study.hash, self.name, request.round):",
        "if False:",
        (f"{SITE}::test_a_round_of_a_study_is_one_request",),
    ),
    Fault(
        "a table is checked when the site opens, and not when it is read",
        "client/snapshot.py",
        "return _Pinned(open_table(folder / pin.file, schema), folder, pin)",
        "return open_table(folder / pin.file, schema)",
        (f"{SNAPSHOT}::test_a_file_that_is_exchanged_under_an_open_site_is_not_read",),
    ),
    Fault(
        "a table that is exchanged while it is read is answered from",
        "client/snapshot.py",
        "        _require_pinned(self.folder, self.pin)  # what was exchanged meanwhile has been read, and is not "
        "answered\n",
        "",
        (f"{SNAPSHOT}::test_a_file_that_is_exchanged_under_an_open_site_is_not_read",),
    ),
    Fault(
        "a table that changed since its check is served",
        "client/snapshot.py",
        "if digest != pin.sha256:",
        "if not digest:",
        (f"{SNAPSHOT}::test_a_table_that_was_not_checked_is_not_served",),
    ),
    Fault(
        "an exception's text leaves the relay",
        "client/app.py",
        'sentence="The site is not available; its own log says why."',
        "sentence=str(error)",
        ("tests/federation/test_flower.py::test_no_exceptions_text_leaves_the_relay",),
    ),
    Fault(
        "a reader's message quotes a record",
        "client/data.py",
        'return "a line has another number of cells than the header"',
        'return str(error).replace("\\n", " ")',
        ("tests/client/test_data.py::test_a_file_that_cannot_be_read_gets_a_sentence_without_its_values",),
    ),
    Fault(
        "an empty list of coordinators admits everyone",
        "client/policy.py",
        "if study.coordinator_key not in self.coordinators:",
        "if self.coordinators and study.coordinator_key not in self.coordinators:",
        (f"{POLICY}::test_an_approval_is_not_enough",),
    ),
    Fault(
        "a site answers with another noise than the study declares",
        "client/site.py",
        'if study.noise != self._noise.name or self._noise.private == (study.noise == "TEST"):',
        'if study.noise not in ("opendp", "TEST"):',
        (f"{REFUSALS}::test_the_noise_source_must_be_the_declared_one",),
    ),
    Fault(
        "the site can import the keyed noise",
        "client/site.py",
        "from cohortmix.core.noise import NoiseSource\n",
        "from cohortmix.core.noise import NoiseSource\nfrom cohortmix.core.noise_keyed import KeyedNoise as _\n",
        ("tests/test_layout.py::test_the_reply_path_cannot_import_what_is_not_private",),
    ),
)
