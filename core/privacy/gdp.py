"""mu-GDP: composition, conversion to (epsilon, delta), and what an attacker can reach.

Scalars in, scalars out. Everything follows Dong, Roth and Su (2019), "Gaussian Differential Privacy",
arXiv 1905.02383; Corollaries 1 and 2 bear the numbers 2.13 and 3.3 there. For the Gaussian mechanism mu-GDP
is exact; it is not the central limit approximation that accountants of subsampled gradient descent go by.
"""

import math
from collections.abc import Callable, Iterable

import scipy  # loads `special` and `optimize` at their first use: they take a while

# Below this mu the two terms of Corollary 1 agree in so many digits that their ratio is integrated instead.
_SMALL_MU = 1e-2


def compose(mus: Iterable[float]) -> float:
    """The mu of several releases on the same patients: sqrt(sum mu_i^2) (Corollary 2).

    Parameters
    ----------
    mus : iterable of float
        One mu per release, each >= 0; each release may have been chosen after seeing the former ones.

    Raises
    ------
    ValueError
        If a mu is negative or not finite.

    Examples
    --------
    >>> compose([0.3, 0.4])
    0.5
    """
    return math.hypot(*(_checked_mu(mu) for mu in mus))


def delta_of(mu: float, epsilon: float) -> float:
    """The least delta for which mu-GDP implies (epsilon, delta)-DP (Corollary 1).

    delta_mu(epsilon) = Phi(-epsilon/mu + mu/2) - e^epsilon Phi(-epsilon/mu - mu/2).

    Raises
    ------
    ValueError
        If mu or epsilon is negative or not finite.

    Examples
    --------
    >>> round(delta_of(1.0, 1.0), 4)
    0.1269
    """
    _checked_mu(mu)
    return math.exp(_log_delta(mu, _checked_epsilon(epsilon))) if mu > 0 else 0.0


def epsilon_of(mu: float, delta: float, kappa: float = 0.0) -> float:
    """The least epsilon for which mu-GDP up to `kappa` in total variation implies (epsilon, delta)-DP.

    Solves delta = delta_mu(epsilon) + (1 + e^epsilon) kappa: the largest of 1 - T(alpha) - e^epsilon alpha
    over alpha, for a trade-off function T(alpha) >= G_mu(alpha + kappa) - kappa. With kappa = 0 this
    inverts Corollary 1.

    Parameters
    ----------
    mu : float
        GDP parameter, >= 0.
    delta : float
        Probability in (0, 1).
    kappa : float
        Total variation in [0, 1) between the released law and one that is exactly mu-GDP, on either
        of two neighbours; it adds over answers. See `kappa` for the discrete Gaussian.

    Raises
    ------
    ValueError
        If an argument is out of range, or if no epsilon can bring the right side down to delta.

    Examples
    --------
    >>> round(epsilon_of(1.0, 1e-5), 3)
    4.377
    """
    _checked_mu(mu)
    log_delta = math.log(_checked_delta(delta))
    if not 0 <= kappa < 1:
        raise ValueError(f"kappa must be a total variation in [0, 1); got kappa={kappa}.")

    def excess(epsilon: float) -> float:
        return _log_delta_near(mu, epsilon, kappa) - log_delta

    if excess(0.0) <= 0:
        return 0.0
    upper = _upper_epsilon(mu, delta, kappa)
    if kappa > 0 and (upper <= 0 or excess(upper) > 0):
        raise ValueError(
            f"No epsilon exists for delta={delta}: the discrete law is known to be mu-GDP only up to "
            f"kappa={kappa}; choose a larger delta or a finer lattice."
        )
    return _root(excess, 0.0, upper)


def epsilon_of_discrete(mu: float, delta: float, kappa: float) -> float:
    """The smaller of two epsilons that both hold for discrete Gaussian answers of total mu and kappa.

    From mu and kappa: `epsilon_of`; for a large mu there is none, since e^epsilon kappa outgrows delta. From
    rho = mu^2/2, which is exact for the discrete Gaussian: epsilon = rho + 2 sqrt(rho log(1/delta)) (Bun and
    Steinke 2016, Proposition 1.3).
    """
    rho = zcdp(mu)
    concentrated = rho + 2 * math.sqrt(rho * -math.log(_checked_delta(delta)))
    try:
        return min(concentrated, epsilon_of(mu, delta, kappa))
    except ValueError:
        return concentrated


def mu_of(epsilon: float, delta: float) -> float:
    """The largest mu for which mu-GDP implies (epsilon, delta)-DP: the inverse of `epsilon_of` in mu.

    Raises
    ------
    ValueError
        If epsilon is negative or not finite, or delta is not in (0, 1).

    Examples
    --------
    >>> round(mu_of(1.0, 1e-5), 3)
    0.268
    """
    _checked_epsilon(epsilon)
    log_delta = math.log(_checked_delta(delta))
    z = float(scipy.special.ndtri(delta))
    root = math.hypot(z, math.sqrt(2) * math.sqrt(epsilon))
    # Two lower bounds: delta_mu(epsilon) is at most delta_mu(0), and at most its first term.
    from_first_term = epsilon / ((root - z) / 2) if z < 0 else z + root
    lower = max(2 * math.sqrt(2) * float(scipy.special.erfinv(delta)), from_first_term)
    upper = lower
    while _log_delta(upper, epsilon) < log_delta:
        upper *= 2

    def excess(mu: float) -> float:
        return _log_delta(mu, epsilon) - log_delta

    return _root(excess, 0.999 * lower, upper)


def mu_of_discrete(epsilon: float, delta: float, kappa: float) -> float:
    """The largest mu for which discrete Gaussian answers of this kappa imply (epsilon, delta)-DP.

    The inverse of `epsilon_of_discrete` in mu, on the safe side: epsilon_of_discrete(mu, delta, kappa) <= epsilon.

    Raises
    ------
    ValueError
        As `mu_of`.

    Examples
    --------
    >>> round(mu_of_discrete(1.0, 1e-5, 1e-15), 3), round(mu_of_discrete(30.0, 1e-5, 1e-15), 3)
    (0.268, 4.313)
    """
    log_delta = -math.log(_checked_delta(delta))
    root_of_rho = _checked_epsilon(epsilon) / (math.sqrt(log_delta + epsilon) + math.sqrt(log_delta))
    mu, step = max(_mu_near(epsilon, delta, kappa), math.sqrt(2) * root_of_rho), 2.0**-53
    while epsilon_of_discrete(mu, delta, kappa) > epsilon:  # by the last digits of a float
        mu, step = mu * (1 - step), 2 * step
    return mu


def trade_off(mu: float, alpha: float) -> float:
    """G_mu(alpha) = Phi(Phi^-1(1 - alpha) - mu), the least share of members that are missed (Equation 6).

    No test of "this patient took part" against "another one did" with a share `alpha` of false alarms misses
    fewer of the members; for the discrete Gaussian, up to `kappa`.
    """
    return float(scipy.special.ndtr(-scipy.special.ndtri(_checked_share(alpha)) - _checked_mu(mu)))


def detection_rate(mu: float, false_alarms: float) -> float:
    """Phi(Phi^-1(a) + mu): the share of members that an attacker with a share `a` of false alarms can find.

    Equal to 1 - G_mu(a). It holds for an attacker who knows every other record.

    Examples
    --------
    >>> round(detection_rate(0.268, 0.01), 4)
    0.0198
    """
    return float(scipy.special.ndtr(scipy.special.ndtri(_checked_share(false_alarms)) + _checked_mu(mu)))


def advantage(mu: float) -> float:
    """2 Phi(mu/2) - 1: the most by which any attacker's detection rate can exceed the false alarms."""
    return math.erf(_checked_mu(mu) / (2 * math.sqrt(2)))


def zcdp(mu: float) -> float:
    """The rho of zero-concentrated differential privacy: mu^2 / 2 for Gaussian noise.

    It holds as it stands for the discrete Gaussian too, with mu = sensitivity / sigma (Canonne, Kamath and
    Steinke 2020, arXiv 2004.00010).
    """
    return _checked_mu(mu) ** 2 / 2


def kappa(d: int, sigma: int) -> float:
    """Total variation between `d` discrete and `d` rounded Gaussians is at most d / (24 sigma^2).

    With D the discrete and R the rounded law, Jensen's inequality over one lattice cell bounds R(k) below
    by e^(-1/(24 sigma^2)) times the density at k, and Poisson summation bounds D(k) above by that density:
    D <= e^(d/(24 sigma^2)) R over d numbers. Rounding is post-processing of exact Gaussian noise, so
    discrete noise is mu-GDP up to kappa: T(alpha) >= G_mu(alpha + kappa) - kappa.

    Parameters
    ----------
    d : int
        How many numbers the answer has.
    sigma : int
        Scale of the noise in steps of the lattice, > 0.

    Raises
    ------
    ValueError
        If d is negative or sigma is not positive.
    """
    if d < 0 or sigma <= 0:
        raise ValueError(f"kappa needs d >= 0 numbers and sigma > 0 lattice steps; got d={d}, sigma={sigma}.")
    return int(d) / (24 * int(sigma) ** 2)  # a numpy integer would overflow


def _mu_near(epsilon: float, delta: float, kappa: float) -> float:
    """The largest mu that `epsilon_of` turns into this epsilon or a smaller one; 0 where there is none."""

    def at(smaller: float) -> float:
        left = delta - (1 + math.exp(smaller)) * kappa
        return mu_of(smaller, left) if left > 0 else 0.0

    if kappa == 0:
        return mu_of(epsilon, delta)
    most = math.log(delta / kappa)
    if epsilon < most - math.log(10):
        return at(epsilon)
    if most <= 0:
        return 0.0
    # Beyond, e^epsilon kappa grows faster than delta_mu(epsilon) falls: a smaller epsilon permits more.
    found = scipy.optimize.minimize_scalar(
        lambda smaller: -at(smaller), bounds=(0.0, min(epsilon, most)), method="bounded"
    )
    return -float(found.fun)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function` crosses zero between `low` and `high`, to the last digits of a float."""
    return float(scipy.optimize.brentq(function, low, high, xtol=1e-300, rtol=1e-14))


def _log_delta(mu: float, epsilon: float) -> float:
    """log delta_mu(epsilon) for mu > 0; -inf where delta is below the smallest double."""
    t = epsilon / mu
    log_first = float(scipy.special.log_ndtr(mu / 2 - t))
    if log_first < -745.0:
        return -math.inf
    if mu < _SMALL_MU:
        # log of (first / second term) = integral of h(x) - x over [t - mu/2, t + mu/2]; Simpson's rule.
        log_ratio = mu * (_excess_hazard(t - mu / 2) + 4 * _excess_hazard(t) + _excess_hazard(t + mu / 2)) / 6
    else:
        log_ratio = log_first - epsilon - float(scipy.special.log_ndtr(-mu / 2 - t))
    return log_first + math.log(-math.expm1(-log_ratio))


def _excess_hazard(x: float) -> float:
    """h(x) - x, with h = phi / (1 - Phi) the hazard of the standard normal; positive for every x."""
    return math.sqrt(2 / math.pi) / float(scipy.special.erfcx(x / math.sqrt(2))) - x


def _log_delta_near(mu: float, epsilon: float, kappa: float) -> float:
    """log of delta_mu(epsilon) + (1 + e^epsilon) kappa; e^epsilon alone may overflow."""
    gaussian = _log_delta(mu, epsilon) if mu > 0 else -math.inf
    if kappa == 0:
        return gaussian
    log_kappa = math.log(kappa) + epsilon + math.log1p(math.exp(-epsilon))
    larger, smaller = max(gaussian, log_kappa), min(gaussian, log_kappa)
    return larger + math.log1p(math.exp(smaller - larger))


def _upper_epsilon(mu: float, delta: float, kappa: float) -> float:
    """Where to stop looking for epsilon: the right side of `epsilon_of` falls up to here, at least."""
    if kappa > 0:  # its derivative, e^epsilon (kappa - Phi(-epsilon/mu - mu/2)), vanishes here and only here
        return mu * (-float(scipy.special.ndtri(kappa)) - mu / 2)
    first_term_alone = mu * (mu / 2 - float(scipy.special.ndtri(delta)))
    return first_term_alone * (1 + 1e-9)  # a margin for rounding, where the second term adds too little


def _checked_mu(mu: float) -> float:
    if not 0 <= mu < math.inf:
        raise ValueError(f"mu must be a finite number, zero or above; got mu={mu}.")
    return mu


def _checked_epsilon(epsilon: float) -> float:
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon must be a finite number, zero or above; got epsilon={epsilon}.")
    return epsilon


def _checked_delta(delta: float) -> float:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be a probability strictly between 0 and 1; got delta={delta}.")
    return delta


def _checked_share(share: float) -> float:
    if not 0 <= share <= 1:
        raise ValueError(f"The share of false alarms must lie in [0, 1]; got {share}.")
    return share
