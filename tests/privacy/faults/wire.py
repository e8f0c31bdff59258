"""Faults of what crosses the wire: texts, times, and who is answered."""

from __future__ import annotations

from .fault import AGAIN, POLICY, REFUSALS, SNAPSHOT, TICKS, Fault

FAULTS = (
    Fault(
        "a byte now and then holds a study beyond its deadline",
        "deploy/meeting/meeting.py",
        "receive(self._connection, seconds=self._end - time.monotonic())",
        "receive(self._connection)",
        ("tests/federation/test_meeting.py::test_a_byte_now_and_then_does_not_hold_a_call_beyond_its_deadline",),
    ),
    Fault(
        "replies come that nobody has asked for",
        "deploy/meeting/meeting.py",
        "if not 0 <= count <= len(ids):",
        "if count is None:",
        ("tests/federation/test_meeting.py::test_a_wrong_number_of_replies_too",),
    ),
    Fault(
        "one signature under a key of small order holds for any receipt",
        "protocol/signing.py",
        "if is_weak(key) or is_weak(made[:32]):",
        "if not key:",
        ("tests/protocol/test_points.py::test_without_the_check_one_signature_would_hold_for_any_message",),
    ),
    Fault(
        "a receipt is computed with before its signature is checked",
        "protocol/receipts.py",
        "    try:\n        verify_receipt(signed, entry.key)",
        "    check(receipt)\n    try:\n        verify_receipt(signed, entry.key)",
        ("tests/server/test_hostile_replies.py::test_nothing_is_computed_before_the_signature_is_checked",),
    ),
    Fault(
        "a hostile coordinator's margins are reserved for before they are checked",
        "client/site/request.py",
        "or not _are_margins(common, study, sizes):",
        "or not sizes:",
        (
            "tests/client/site/test_hostile_requests.py::"
            "test_margins_at_their_bounds_are_answered_or_refused_before_they_cost",
        ),
    ),
    Fault(
        "a site answers a study of another version",
        "client/site/site.py",
        'if study.version != (installed := version("cohortmix")):',
        'if not (installed := version("cohortmix")):',
        ("tests/client/site/test_hostile_requests.py::test_a_study_of_another_version_is_refused",),
    ),
    Fault(
        "a site's mixture may have any number of centroids",
        "server/acceptance.py",
        "max(0, mixed - most_components(plan))",
        "0 * most_components(plan) * mixed",
        ("tests/server/test_hostile_replies.py::test_a_site_has_no_more_centroids_than_its_plan",),
    ),
    Fault(
        "a site answers a study whose constraints do not fit its schema",
        "client/site/site.py",
        "        require_constraints(study, self._schema)\n",
        "",
        (f"{REFUSALS}::test_constraints_that_do_not_fit_the_schema_are_refused_before_they_cost",),
    ),
    Fault(
        "a site may leave out what became of a constraint",
        "server/acceptance.py",
        "[str(one) for one in asked], [reached",
        "[one.constraint for one in centroids.constraints], [reached",
        ("tests/server/test_accepted_constraints.py::test_what_is_not_said_of_the_studys_constraints_is_refused",),
    ),
    Fault(
        "a constraint is met because its site says so",
        "server/acceptance.py",
        "reached.met and not one.holds(float(reached.value))",
        "reached.met and one is None",
        ("tests/server/test_accepted_constraints.py::test_what_is_not_said_of_the_studys_constraints_is_refused",),
    ),
    Fault(
        "an exception's text crosses the wire",
        "client/site/site.py",
        'sentence = "The site could not answer; its own log says why."',
        "sentence = str(error)[:300]",
        (f"{REFUSALS}::test_an_exception_leaves_only_its_type",),
    ),
    Fault(
        "an exception's text in the log",
        "client/site/site.py",
        'logger.error("no answer: %s", type(error).__name__)',
        'logger.error("no answer: %s", error)',
        (f"{REFUSALS}::test_an_exception_leaves_only_its_type",),
    ),
    Fault(
        "an exception's text crosses the socket",
        "client/site/daemon.py",
        'return _refusal("The site could not answer; its own log says why.")',
        "return _refusal(str(error))",
        (f"{TICKS}::test_no_text_of_an_exception_leaves",),
    ),
    Fault(
        "a reply leaves when it is ready, not on a tick",
        "client/site/daemon.py",
        "await asyncio.sleep(until_tick(monotonic() - began, self._interval))",
        "await asyncio.sleep(0)",
        (f"{TICKS}::test_replies_leave_on_ticks",),
    ),
    Fault(
        "who hangs up ends the call, and the next one learns when it was ready",
        "client/site/daemon.py",
        "return await asyncio.shield(asyncio.create_task(self._for_whole_intervals(request)))",
        "return await self._for_whole_intervals(request)",
        (f"{TICKS}::test_calls_that_wait_learn_nothing_of_the_one_before",),
    ),
    Fault(
        "a round of a study can be asked under any id",
        "client/site/site.py",
        "if request.request_id != request_id(study.hash, self.name, request.round):",
        "if False:",
        (f"{AGAIN}::test_a_round_of_a_study_is_one_request",),
    ),
    Fault(
        "a table that changed since its check is served",
        "client/table/snapshot.py",
        "if digest != sha256:",
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
        "client/table/file.py",
        'return "a line has another number of cells than the header"',
        'return str(error).replace("\\n", " ")',
        ("tests/client/table/test_data.py::test_a_file_that_cannot_be_read_gets_a_sentence_without_its_values",),
    ),
    Fault(
        "an empty list of coordinators admits everyone",
        "client/ledger/policy.py",
        "if study.coordinator_key not in self.coordinators:",
        "if self.coordinators and study.coordinator_key not in self.coordinators:",
        (f"{POLICY}::test_an_approval_is_not_enough",),
    ),
    Fault(
        "a site answers with another noise than the study declares",
        "client/site/site.py",
        'if study.noise != self._noise.name or self._noise.private == (study.noise == "TEST"):',
        'if study.noise not in ("opendp", "TEST"):',
        (f"{REFUSALS}::test_the_noise_source_must_be_the_declared_one",),
    ),
    Fault(
        "the site can import the keyed noise",
        "client/site/site.py",
        "from cohortmix.core.privacy.noise_source import NoiseSource\n",
        "from cohortmix.core.privacy.noise_source import NoiseSource\n"
        "from cohortmix.core.audit.noise_keyed import KeyedNoise as _\n",
        ("tests/test_layout.py::test_the_reply_path_cannot_import_what_is_not_private",),
    ),
    Fault(
        "a site says how noisy its centroids are, and is believed",
        "server/acceptance.py",
        "noise if isclose(std, noise, rel_tol=ROUNDING) else std)",
        "noise)",
        ("tests/server/test_acceptance.py::test_the_noise_of_centroids_is_the_plans",),
    ),
    Fault(
        "a turn ends with the work, before its reply has left",
        "client/site/daemon.py",
        "            await asyncio.sleep(until_tick(monotonic() - began, self._interval))\n"
        "        finally:\n"
        "            self._turn.release()\n"
        "        return reply\n",
        "        finally:\n"
        "            self._turn.release()\n"
        "        await asyncio.sleep(until_tick(monotonic() - began, self._interval))\n"
        "        return reply\n",
        (f"{TICKS}::test_calls_that_wait_learn_nothing_of_the_one_before",),
    ),
    Fault(
        "a description is answered beside the work",
        "client/site/daemon.py",
        "        async with self._turn:  # nothing is computed while the caller counts the time\n"
        "            return self._description\n",
        "        return self._description\n",
        (f"{TICKS}::test_a_description_is_no_clock_for_the_work",),
    ),
)
