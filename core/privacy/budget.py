"""A privacy budget: as a person writes it, and as it stands once the number of patients is known."""

import math
from dataclasses import dataclass
from numbers import Real

from cohortmix.core.privacy import gdp

DEFAULT_DELTA = 1e-5
MIN_PATIENTS = 50
"""Public threshold: a site with fewer patients makes no release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedBudget:
    """A budget in full: mu-GDP, and the (epsilon, delta) that it implies.

    Attributes
    ----------
    mu : float
        The guarantee; what composes and what noise is scaled by.
    epsilon, delta : float
        One point of the curve that mu implies, for discrete Gaussian noise of the kappa that it was resolved for
        (`gdp.epsilon_of_discrete`); a receipt states that of the answers that were really given.
    loose : bool
        True where delta is above 1 / (10 N): then every output must say so.
    """

    mu: float
    epsilon: float
    delta: float
    loose: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent on each patient, as mu or as epsilon; exactly one of the two is given.

    Attributes
    ----------
    mu, epsilon : float or None
        The one that was given is finite and > 0. An epsilon determines mu only together with a delta.
    delta : float or None
        In (0, 1); None stands for min(1e-5, 1 / (10 N)).
    loose_delta : bool
        Permits a delta above 1 / (10 N), for comparisons with published figures.

    Raises
    ------
    ValueError
        If no, or more than one, of mu and epsilon is given, or a value is no number or out of range.

    Examples
    --------
    >>> budget = Budget.from_epsilon(1.0).resolve(patients=5_000)
    >>> f"mu {budget.mu:.3f}, delta {budget.delta:.0e}"
    'mu 0.268, delta 1e-05'
    """

    mu: float | None = None
    epsilon: float | None = None
    delta: float | None = None
    loose_delta: bool = False

    def __post_init__(self) -> None:
        if (self.mu is None) == (self.epsilon is None):
            raise ValueError(
                f"A budget is either a mu or an epsilon; got mu={self.mu} and epsilon={self.epsilon}. "
                "Give exactly one of the two."
            )
        for name in ("mu", "epsilon", "delta"):
            _require_number(name, getattr(self, name))
        if not isinstance(self.loose_delta, bool):
            raise ValueError(f"loose_delta must be True or False; got {type(self.loose_delta).__name__}.")
        name, value = ("mu", self.mu) if self.mu is not None else ("epsilon", self.epsilon)
        if value is None or not 0 < value < math.inf:
            raise ValueError(f"A budget needs a finite {name} above zero; got {name}={value}.")
        if self.delta is not None and not 0 < self.delta < 1:
            raise ValueError(
                f"delta must be a probability strictly between 0 and 1; got delta={self.delta}. "
                "Leave it out for the default, min(1e-5, 1/(10 N)) for N patients."
            )

    @classmethod
    def from_epsilon(cls, epsilon: float, delta: float | None = None, *, loose_delta: bool = False) -> "Budget":
        """The largest mu that implies (epsilon, delta)-DP, once delta is fixed."""
        return cls(epsilon=epsilon, delta=delta, loose_delta=loose_delta)

    @classmethod
    def from_mu(cls, mu: float, delta: float | None = None, *, loose_delta: bool = False) -> "Budget":
        """mu itself; delta only says at which point its epsilon is printed."""
        return cls(mu=mu, delta=delta, loose_delta=loose_delta)

    def resolve(self, patients: int, kappa: float = 0.0) -> ResolvedBudget:
        """Fix delta, and with it the one of mu and epsilon that was not given.

        Parameters
        ----------
        patients : int
            N, the public number of patients; in a study the number at its largest site, so that the one
            delta suits every site.
        kappa : float
            The most that the answers can have (`dimensions.most_kappa`): mu is so small that a release costs the
            epsilon that was asked for, or less. 0 stands for exact Gaussian noise.

        Raises
        ------
        ValueError
            If `patients` < 1, or if delta is above 1 / (10 N) and `loose_delta` is not set: a delta of 1 / N
            would permit publishing one patient at random.
        """
        if patients < 1:
            raise ValueError(f"A budget is resolved for at least one patient; got patients={patients}.")
        largest = 1 / (10 * patients)
        delta = min(DEFAULT_DELTA, largest) if self.delta is None else self.delta
        if delta > largest and not self.loose_delta:
            raise ValueError(
                f"delta must be at most 1/(10 N) = {largest:.3g} for N = {patients} patients; got "
                f"delta={delta}. Choose a smaller one or leave it out; only to compare with published "
                "figures, pass --loose-delta (loose_delta=True)."
            )
        mu, epsilon = self._both(delta, kappa)
        return ResolvedBudget(mu=mu, epsilon=epsilon, delta=delta, loose=bool(delta > largest))

    def _both(self, delta: float, kappa: float) -> tuple[float, float]:
        if self.epsilon is not None:
            return gdp.mu_of_discrete(self.epsilon, delta, kappa), self.epsilon
        assert self.mu is not None
        return self.mu, gdp.epsilon_of_discrete(self.mu, delta, kappa)


def _require_number(name: str, value: object) -> None:
    """Raise ValueError unless it is a number, or None for what is not given."""
    if value is not None and (not isinstance(value, Real) or isinstance(value, bool)):
        raise ValueError(f"{name} must be a number, such as {name}={_SUCH_AS[name]}; got {type(value).__name__}.")


_SUCH_AS = {"mu": "0.3", "epsilon": "1.0", "delta": "1e-6"}
