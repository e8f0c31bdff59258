"""Faults of the noise: its law, its scale, its source, and what its lattice costs."""

from __future__ import annotations

from .fault import NOISE, SYNTHESIS, VAULT, Fault

FAULTS = (
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
        '            noised = self._add_noise(self._exact(query) << shift, sigma, f"{question}:{index}")\n',
        "            exact = self._exact(query) << shift\n"
        '            noised = exact + 2 * (self._add_noise(exact, sigma, f"{question}:{index}") - exact) // 3\n',
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
)
