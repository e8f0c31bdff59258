"""Faults of joint noise: masks that hide nothing, shares that say too much, and sums with too little noise."""

from __future__ import annotations

from .fault import Fault

SUMS = "tests/protocol/masking/test_sums_through_masks.py"
BELOW = "tests/protocol/masking/test_below_threshold.py"
ROSTER = "tests/protocol/masking/test_roster_refusals.py"
CONSENT = "tests/protocol/masking/test_consent_refusals.py"
SETS = "tests/protocol/masking/test_two_survivor_sets.py"
READING = "tests/protocol/masking/test_reading_checks.py"
SECRETS = "tests/protocol/masking/test_masking_secrets.py"
TERMS = "tests/core/privacy/test_joint_terms.py"
PART = "protocol/masking/part.py"

FAULTS = (
    Fault(
        "masks: a site has none of its own",
        "protocol/masking/masks.py",
        'return _expanded(derived(bytes.fromhex(own), f"own mask {roster}"), size)',
        "return np.zeros(size, dtype=np.uint64)",
        (f"{BELOW}::test_a_masked_vector_is_uniform",),
    ),
    Fault(
        "masks: one expands to the same word again and again",
        "protocol/masking/masks.py",
        'return np.frombuffer(stream.update(bytes(8 * size)), dtype="<u8").astype(np.uint64)',
        'return np.repeat(np.frombuffer(stream.update(bytes(8)), dtype="<u8").astype(np.uint64), size)',
        (f"{BELOW}::test_a_masked_vector_is_uniform",),
    ),
    Fault(
        "masks: a copied key gives the same mask twice",
        "protocol/masking/masks.py",
        "sha256([roster, *sorted((site, other))])",
        "roster",
        (f"{SUMS}::test_a_site_that_copies_a_key_takes_no_mask_off",),
    ),
    Fault(
        "masks: those that two sites share have one sign",
        "protocol/masking/masks.py",
        "total = total + shared if site < other else total - shared",
        "total = total + shared",
        (f"{SUMS}::test_two_masks_of_one_pair_are_opposite_under_one_roster_only",),
    ),
    Fault(
        "masks: sites that were shown different rosters share them",
        "protocol/masking/masks.py",
        'private, total = private_of(mask, "mask"), np.zeros(size, dtype=np.uint64)',
        'roster, private, total = "", private_of(mask, "mask"), np.zeros(size, dtype=np.uint64)',
        (f"{SUMS}::test_two_masks_of_one_pair_are_opposite_under_one_roster_only",),
    ),
    Fault(
        "masks: the mask follows from the check value that is announced",
        "protocol/masking/seeds.py",
        'return derived(bytes.fromhex(own), "check").hex()',
        "return (bytes.fromhex(own) * 2).hex()",
        (f"{SECRETS}::test_no_public_message_of_a_site_holds_a_secret",),
    ),
    Fault(
        "masks: their secrets are not random",
        "protocol/masking/seeds.py",
        "return secrets.token_bytes(SEED_BYTES)",
        "return purpose.encode().ljust(SEED_BYTES)[:SEED_BYTES]",
        (f"{SECRETS}::test_secrets_are_three_seeds_that_are_drawn_one_by_one",),
    ),
    Fault(
        "masks: a key of small order is taken",
        "protocol/masking/seeds.py",
        '        raise MaskingError("a key of another site is no X25519 key that keeps a secret") from None',
        "        secret = bytes(32)",
        (f"{ROSTER}::test_a_key_with_which_everybody_knows_the_secret_is_refused",),
    ),
    Fault(
        "shares: T - 1 of them have the secrets",
        PART,
        "keys, threshold = roster.keys, self.study.terms.threshold",
        "keys, threshold = roster.keys, self.study.terms.threshold - 1",
        (f"{BELOW}::test_a_site_shares_its_secrets_among_t",),
    ),
    Fault(
        "shares: a sharing with no randomness in it",
        "protocol/masking/sharing.py",
        'drawn = b"".join(new_seed("coefficient") for _ in range(threshold - 1))',
        "drawn = bytes(SEED_BYTES * (threshold - 1))",
        (f"{BELOW}::test_a_site_shares_its_secrets_among_t",),
    ),
    Fault(
        "shares: a box opens under any roster and in either direction",
        "protocol/masking/boxes.py",
        'f"box {sha256(list(way))}"',
        '"box"',
        (f"{ROSTER}::test_a_box_that_was_sealed_for_something_else_does_not_open",),
    ),
    Fault(
        "shares: given to a roster of fewer than T sites",
        PART,
        "        sites.add(reply.site)\n    require_enough(sites, study)",
        "        sites.add(reply.site)\n    if kind is Consent:\n        require_enough(sites, study)",
        (f"{ROSTER}::test_a_roster_that_does_not_hold_gets_no_share_and_no_input",),
    ),
    Fault(
        "shares: boxes of fewer than T sites are enough",
        PART,
        "        require_enough(set(senders), self.study)\n",
        "",
        (f"{ROSTER}::test_boxes_that_do_not_hold",),
    ),
    Fault(
        "shares: keys are taken that their site has not signed",
        PART,
        "            _require_signed(signed, entry.key)\n",
        "            _require_signed(signed, entry.key) if kind is Consent else None\n",
        (f"{ROSTER}::test_a_roster_that_does_not_hold_gets_no_share_and_no_input",),
    ),
    Fault(
        "shares: one site counts as two",
        PART,
        "entry is None or reply.site in sites or",
        "entry is None or",
        (f"{CONSENT}::test_consents_that_do_not_hold_get_no_share",),
    ),
    Fault(
        "shares: messages of another sum are taken",
        PART,
        "or reply.sum != sum or",
        "or",
        (f"{CONSENT}::test_consents_that_do_not_hold_get_no_share",),
    ),
    Fault(
        "shares: a site's own keys may be missing, or others in their place",
        PART,
        "if self.keys() not in told.keys:",
        "if not told.keys:",
        (f"{ROSTER}::test_a_roster_that_does_not_hold_gets_no_share_and_no_input",),
    ),
    Fault(
        "survivors: fewer than T are signed for",
        PART,
        "        require_enough(survivors, self.study)\n",
        "",
        (f"{CONSENT}::test_a_site_signs_no_other_set",),
    ),
    Fault(
        "survivors: a site signs a set without itself",
        PART,
        "not survivors <= senders or self.site not in survivors:",
        "not survivors <= senders:",
        (f"{CONSENT}::test_a_site_signs_no_other_set",),
    ),
    Fault(
        "survivors: fewer than T consents are enough",
        PART,
        "        sites.add(reply.site)\n    require_enough(sites, study)",
        "        sites.add(reply.site)\n    if kind is Keys:\n        require_enough(sites, study)",
        (
            f"{CONSENT}::test_consents_that_do_not_hold_get_no_share",
            f"{SETS}::test_no_two_sets_of_survivors_are_both_unmasked",
        ),
    ),
    Fault(
        "survivors: what the others have signed is not compared",
        PART,
        "one.reply.site not in asked.survivors or one.reply.content != expected:",
        "one.reply.site not in asked.survivors:",
        (f"{CONSENT}::test_consents_that_do_not_hold_get_no_share",),
    ),
    Fault(
        "survivors: a consent names no roster",
        "protocol/steps.py",
        "return sha256([roster, sorted(names)])",
        "return sha256(sorted(names))",
        (f"{CONSENT}::test_consents_that_do_not_hold_get_no_share",),
    ),
    Fault(
        "survivors: consents are taken that their site has not signed",
        PART,
        "            _require_signed(signed, entry.key)\n",
        "            _require_signed(signed, entry.key) if kind is Keys else None\n",
        (f"{CONSENT}::test_consents_that_do_not_hold_get_no_share",),
    ),
    Fault(
        "unmasking: both shares of a site are given",
        PART,
        "            Share(site=site, share=own if site in survivors else mask)\n"
        "            for site, (mask, own) in self.opened(told, boxes).items()\n",
        "            Share(site=site, share=share)\n"
        "            for site, both in self.opened(told, boxes).items()\n"
        "            for share in both\n",
        (f"{CONSENT}::test_never_both_shares_of_one_site_are_given",),
    ),
    Fault(
        "unmasking: the share of the own mask of a site that dropped out is given",
        PART,
        "share=own if site in survivors else mask)",
        "share=own)",
        (f"{CONSENT}::test_t_consents_get_a_share_for_each_site_that_sent_boxes",),
    ),
    Fault(
        "unmasking: the shares of the mask key of a site in the sum are given",
        PART,
        "share=own if site in survivors else mask)",
        "share=mask)",
        (f"{CONSENT}::test_t_consents_get_a_share_for_each_site_that_sent_boxes",),
    ),
    Fault(
        "unmasking: a false secret of a site's own mask is used",
        "protocol/masking/reading.py",
        "if site in replies and check_of(replies[site].own) == self._keys[site].check:",
        "if site in replies:",
        (f"{READING}::test_a_false_secret_of_an_own_mask_is_not_used",),
    ),
    Fault(
        "unmasking: false shares of an own mask are used",
        "protocol/masking/reading.py",
        "if check_of(secret) != self._keys[site].check:",
        "if not secret:",
        (f"{READING}::test_a_false_share_of_a_survivor_s_secret_is_noticed",),
    ),
    Fault(
        "unmasking: false shares of a mask key are used",
        "protocol/masking/reading.py",
        'if public_of(private_of(secret, "mask")) != self._keys[site].mask:',
        "if not secret:",
        (f"{READING}::test_a_false_share_of_the_secret_of_a_site_that_dropped_out_is_noticed",),
    ),
    Fault(
        "terms: T is one less",
        "core/privacy/joint.py",
        "return self.sites - self.dropouts",
        "return max(1, self.sites - self.dropouts - 1)",
        (f"{TERMS}::test_terms_are_accepted_exactly_where_2_t_is_above_s_plus_t",),
    ),
    Fault(
        "terms: 2 T = S + t is enough",
        "core/privacy/joint.py",
        "if 2 * self.threshold <= self.sites + self.conspirators:",
        "if 2 * self.threshold < self.sites + self.conspirators:",
        (
            f"{TERMS}::test_two_quorums_have_an_honest_site_in_common_exactly_under_these_terms",
            f"{SETS}::test_the_bound_is_tight",
        ),
    ),
    Fault(
        "terms: the noise of all S sites counts",
        "core/privacy/joint.py",
        "return self.sites - self.conspirators",
        "return self.sites",
        (f"{TERMS}::test_threshold_and_sharers",),
    ),
    Fault(
        "terms: the noise of the conspirators counts",
        "core/privacy/joint.py",
        "return self.sites - self.conspirators",
        "return self.threshold",
        (f"{TERMS}::test_threshold_and_sharers",),
    ),
    Fault(
        "spare noise: too little for the sites that may be missing",
        "core/privacy/joint.py",
        "return Fraction(self.dropouts, self.threshold - self.conspirators)",
        "return Fraction(self.dropouts, self.sites)",
        (f"{TERMS}::test_with_spare_noise_t_minus_t_sites_add_what_s_minus_t_do_without",),
    ),
    Fault(
        "spare noise: finer than 2^32 steps",
        "core/privacy/scale.py",
        "least = min(terms.spare or Fraction(1), Fraction(1))",
        "least = Fraction(1)",
        (f"{TERMS}::test_each_share_is_noise_of_2_to_the_32_steps",),
    ),
    Fault(
        "spare noise: given away though a site is missing",
        PART,
        "complete = survivors == {entry.name for entry in self.study.sites}",
        "complete = len(survivors) >= self.study.terms.threshold",
        (f"{CONSENT}::test_spare_noise_is_given_if_all_sites_of_the_study_are_in_the_sum_and_only_then",),
    ),
    Fault(
        "spare noise: given away where all that have sent boxes are in the sum",
        PART,
        "complete = survivors == {entry.name for entry in self.study.sites}",
        "complete = survivors == {box.site for box in boxes.boxes}",
        (f"{CONSENT}::test_spare_noise_is_given_if_all_sites_of_the_study_are_in_the_sum_and_only_then",),
    ),
    Fault(
        "terms: k contributions of a patient add up like noise",
        "core/privacy/scale.py",
        "sensitivity2 * terms.overlap**2, 0",
        "sensitivity2 * terms.overlap, 0",
        (f"{TERMS}::test_the_noise_of_the_sharers_pays_for_a_patient_at_k_sites",),
    ),
    Fault(
        "terms: a share of the noise is finer than 2^32 steps",
        "core/privacy/scale.py",
        "while least * (moved2 << 2 * shift) < MIN_SIGMA**2 * mu2 * terms.sharers:",
        "while least * (moved2 << 2 * shift) < MIN_SIGMA**2 * mu2:",
        (f"{TERMS}::test_each_share_is_noise_of_2_to_the_32_steps",),
    ),
    Fault(
        "terms: the noise of all sites leaves 62 bits",
        "core/privacy/scale.py",
        "if (sigma**2 + spare**2) * terms.sites > MAX_SIGMA**2:",
        "if sigma > MAX_SIGMA:",
        (f"{TERMS}::test_the_noise_of_all_sites_together_has_to_fit_in_62_bits",),
    ),
)
