"""A source of noise: what a release is handed, and what it says of it. `noise` has the real one."""

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

NOT_PRIVATE: Final = "NOT PRIVATE: test noise"
"""What every output says that rests on a source which gives no privacy."""


class NoiseSource(Protocol):
    """Adds Gaussian noise to a vector of integers."""

    @property
    def name(self) -> str:
        """What outputs say about the noise: "opendp", or "TEST" for a source that gives no privacy."""

    @property
    def private(self) -> bool:
        """Whether a guarantee may rest on this source."""

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        """`values` plus independent noise of scale `sigma` on each; see `OpenDPNoise.add`."""
