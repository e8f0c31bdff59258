"""Left over: what measured pair tables have beyond a mixture's, as far as it is more than noise.

Where patients are many, or epsilon is large, a mixture of a bounded number of components says less than was
measured. Of the difference, the table of each two columns keeps Wiener's share, signal / (signal + noise): nothing
where the mixture is within the noise, nearly all of it where noise is small. Released values only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.steps.approximate import Mixture, Moments

Array = NDArray[np.float64]


def left_over(moments: Moments, mixture: Mixture) -> Array:
    """(C, G, G) symmetric, as shares of a class's patients; zero within a column, and where values are not known.

    Parameters
    ----------
    moments : answers A and B, of the C classes of the mixture.
    """
    weight = mixture.weights[:, None] * mixture.labels
    weight = (weight / np.maximum(weight.sum(axis=0), 1e-300)).T
    said = np.stack([(mixture.means * share[:, None]).T @ mixture.means for share in weight])
    off = moments.pairs / moments.masses[:, None, None] - said
    feature = np.repeat(np.arange(len(moments.sizes)), moments.sizes)
    member = (feature[:, None] == np.arange(len(moments.sizes))).astype(np.float64)
    observed = member.T @ off**2 @ member / np.outer(moments.sizes, moments.sizes)
    noise = (moments.s_b / moments.masses) ** 2
    kept = np.maximum(1 - noise[:, None, None] / np.maximum(observed, 1e-300), 0) * (1 - np.eye(len(member.T)))
    if moments.known is not None:
        kept = kept * (moments.known == 1)
    return np.asarray(off * (member @ kept @ member.T))
