"""Faults of the noise: its law, its scale, its source, and what its lattice costs."""

from __future__ import annotations

from .fault import LAYOUT, NOISE, SITE, SPY, SYNTHESIS, VAULT, Fault

FAULTS = (
    Fault(
        "noise at 2/3 of sigma",
        "core/privacy/noise.py",
        "scale=float(sigma))(values",
        "scale=float(sigma) * 2 / 3)(values",
        (f"{NOISE}::test_law_is_accepted_and_other_scales_are_rejected",),
        fast=True,
    ),
    Fault(
        "noise at 2/3 of the sigma that is paid for",
        "core/privacy/vault.py",
        "            values = self._add_noise(self._exact(question, reader) << noise.shift, noise.sigma, "
        'f"{asked}:{index}")\n',
        "            exact = self._exact(question, reader) << noise.shift\n"
        '            values = self._add_noise(exact, noise.sigma, f"{asked}:{index}")\n'
        "            values = exact + 2 * (values - exact) // 3\n",
        (f"{VAULT}::test_the_noise_is_what_the_answer_says",),
    ),
    Fault(
        "noise from a seeded generator in production",
        "core/privacy/noise.py",
        "return np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)",
        "draws = np.random.default_rng(1).standard_normal(values.size)\n"
        "        return values + np.rint(sigma * draws).astype(np.int64)",
        (f"{NOISE}::test_opendp_never_repeats",),
    ),
    Fault(
        "the keyed source is the default",
        "core/synthesis.py",
        "    noise = noise or OpenDPNoise()",
        "    from cohortmix.core.audit.noise_keyed import KeyedNoise\n\n    noise = noise or KeyedNoise(0)",
        (f"{SYNTHESIS}::test_real_noise_is_new_each_time",),
    ),
    Fault(
        "noise drawn on zero and added in floating point",
        "core/privacy/noise.py",
        "return np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)",
        "noise = dp.m.make_gaussian(*space, scale=float(sigma))([0] * len(values))\n"
        "        return (values + np.array(noise, dtype=np.float64)).astype(np.int64)",
        (f"{NOISE}::test_opendp_draws_every_bit",),
    ),
    Fault(
        "a lattice of 2^10 steps, so that kappa counts",
        "core/privacy/noise.py",
        "MIN_SIGMA: Final = 2**32",
        "MIN_SIGMA: Final = 2**10",
        (f"{NOISE}::test_the_lattice_makes_kappa_negligible",),
    ),
    Fault(
        "sigma rounded down, so that mu^2 passes what was allowed",
        "core/privacy/noise.py",
        "return -(-sigma >> excess_bits) << excess_bits",
        "return sigma >> excess_bits << excess_bits",
        (f"{NOISE}::test_ceil_sqrt_at_whole_roots",),
    ),
    Fault(
        "noise cut at 4 sigma",
        "core/privacy/noise.py",
        "return np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)",
        "noised = np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)\n"
        "        return values + np.clip(noised - values, -4 * int(sigma), 4 * int(sigma))",
        (f"{SPY}::test_a_source_gives_what_opendp_draws",),
    ),
    Fault(
        "noise beyond 4 sigma is drawn again",
        "core/privacy/noise.py",
        "return np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)",
        "noised = np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)\n"
        "        far = np.abs(noised - values) > 4 * int(sigma)\n"
        "        if far.any():\n"
        "            noised[far] = self.add(values[far], sigma, purpose)\n"
        "        return noised",
        (f"{SPY}::test_a_source_gives_what_opendp_draws",),
    ),
    Fault(
        "noise repeated after 4,096 numbers",
        "core/privacy/noise.py",
        "return np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)",
        "noised = np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)\n"
        "        return values + np.resize((noised - values)[:4096], values.size)",
        (f"{SPY}::test_a_source_gives_what_opendp_draws",),
    ),
    Fault(
        "noise scaled through float32",
        "core/privacy/noise.py",
        "return np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)",
        "noised = np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)\n"
        "        scaled = ((noised - values) / sigma).astype(np.float32).astype(np.float64)\n"
        "        return values + (scaled * sigma).astype(np.int64)",
        (f"{SPY}::test_a_source_gives_what_opendp_draws",),
    ),
    Fault(
        "the scale that OpenDP is given goes through float32",
        "core/privacy/noise.py",
        "scale=float(sigma))(values",
        "scale=float(np.float32(sigma)))(values",
        (f"{SPY}::test_a_source_gives_what_opendp_draws",),
    ),
    Fault(
        "the vault cuts the noise at 4 sigma",
        "core/privacy/vault.py",
        "            self._meter.store(index, Answer(",
        "            exact = self._exact(question, reader) << noise.shift\n"
        "            noised = exact + np.clip(noised - exact, -4 * noise.sigma, 4 * noise.sigma)\n"
        "            self._meter.store(index, Answer(",
        (f"{SPY}::test_an_answer_is_the_exact_sum_and_what_opendp_drew_on_it",),
    ),
    Fault(
        "the vault repeats the noise after 4,096 numbers",
        "core/privacy/vault.py",
        "            self._meter.store(index, Answer(",
        "            exact = self._exact(question, reader) << noise.shift\n"
        "            noised = exact + np.resize((noised - exact)[:4096], exact.size)\n"
        "            self._meter.store(index, Answer(",
        (f"{SPY}::test_an_answer_is_the_exact_sum_and_what_opendp_drew_on_it",),
    ),
    Fault(
        "the vault halves the noise of the real source",
        "core/privacy/vault.py",
        "            self._meter.store(index, Answer(",
        '            if getattr(getattr(self._add_noise, "__self__", None), "private", False):\n'
        "                exact = self._exact(question, reader) << noise.shift\n"
        "                noised = exact + (noised - exact) // 2\n"
        "            self._meter.store(index, Answer(",
        (f"{LAYOUT}::test_the_vault_cannot_tell_the_real_noise_from_a_test_s",),
    ),
    Fault(
        "a release halves the noise of the real source",
        "core/synthesis.py",
        "    vault = Vault(source, schema, noise.add, meter)\n",
        "    add = noise.add\n"
        "    if noise.private:\n"
        "        add = lambda values, sigma, purpose: values + (noise.add(values, sigma, purpose) - "
        "values) // 2\n"
        "    vault = Vault(source, schema, add, meter)\n",
        (
            f"{SPY}::test_a_release_holds_what_opendp_drew",
            f"{SPY}::test_what_a_source_says_of_itself_changes_nothing_but_the_words",
        ),
    ),
    Fault(
        "a site halves the noise of the real source",
        "client/site/site.py",
        "        return Vault(self._source, self._schema, self._noise.add, reserved)\n",
        "        noise = self._noise\n"
        "        if noise.private:\n"
        "            half = lambda values, sigma, purpose: values + (noise.add(values, sigma, purpose) "
        "- values) // 2\n"
        "            return Vault(self._source, self._schema, half, reserved)\n"
        "        return Vault(self._source, self._schema, noise.add, reserved)\n",
        (f"{SITE}::test_what_a_source_says_of_itself_changes_no_number",),
    ),
)
