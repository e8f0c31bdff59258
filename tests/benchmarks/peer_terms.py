"""Which peers there are: synthesizers of others, and small ones written here from papers; what each promises.

`peer_synthesizers.py` runs them; tables show `note`. A peer is measured at the (epsilon, delta) of the table for
the neighbours of its own guarantee, and those in REPLACED once more for a record replaced, as this project
promises it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp

LIMIT = 1_800  # seconds of the processor for one run; a run that takes longer is stopped, and stored as such
ADDED, REPLACED, NONE = "a record added or removed", "a record replaced", "no valid guarantee"


@dataclass(frozen=True)
class Peer:
    """One way to make records in another process.

    Attributes
    ----------
    title : as tables name it.
    environment : the folder of its virtual environment.
    neighbours : the tables between which its guarantee holds; NONE if it does not hold as coded.
    method : of `peers/synthesize.py` or `peers/train_networks.py`, as `script` says.
    halved : it protects a record added or removed, at a budget that suffices for one replaced.
    remark : what a reader must know besides.
    """

    title: str
    environment: str
    neighbours: str
    method: str
    script: str = "synthesize.py"
    halved: bool = False
    remark: str = ""

    @property
    def note(self) -> str:
        """The neighbours and the remark, for a table."""
        return "; ".join(filter(None, [self.neighbours, self.remark]))

    def budget(self, epsilon: float, delta: float) -> tuple[float, float]:
        """What its code is asked for.

        To replace is to remove one and to add one. A mechanism with (e, d) for either has (2 e, d + e^e d) for
        both, since P <= e^e Q + d and Q <= e^e R + d; so e = epsilon / 2, and d = delta / (1 + e^e). This is
        what can be said of any mechanism; who looks into one may do with less.
        """
        return (epsilon / 2, delta / (1 + exp(epsilon / 2))) if self.halved else (epsilon, delta)


def _halved(peer: Peer) -> Peer:
    """The same code, asked for a budget that suffices for a record replaced."""
    remark = "; ".join(filter(None, ["at half the epsilon", peer.remark]))
    return replace(peer, title=f"{peer.title}, replace", neighbours=REPLACED, halved=True, remark=remark)


_OWN, _OTHERS, _OPACUS, _CITY = ".venv", ".venv-peers", ".venv-opacus", ".venv-synthcity"
_TORCH = "train_networks.py"
PLAIN: Mapping[str, Peer] = {
    "mst": Peer("MST", _OTHERS, ADDED, "mst"),
    "aim": Peer("AIM", _OTHERS, ADDED, "aim"),
    "privbayes": Peer(
        "PrivBayes",
        _OTHERS,
        ADDED,
        "privbayes",
        remark="as stated: it scores normalised mutual information with the sensitivity of the plain one",
    ),
    "mst-mbi": Peer("MST, mbi 2", ".venv-mbi", ADDED, "mst-mbi"),
    "privsyn": Peer("PrivSyn", ".venv-privsyn", ADDED, "privsyn"),
    "dpctgan": Peer(
        "DP-CTGAN", _OTHERS, NONE, "dpctgan", remark="conditions by exact frequencies, which it does not count"
    ),
    "patectgan": Peer(
        "PATE-CTGAN", _OTHERS, NONE, "patectgan", remark="its teachers and its student are one network as coded"
    ),
    "pategan": Peer("PATE-GAN", _OTHERS, ADDED, "pategan"),
    "synthcity-adsgan": Peer("ADS-GAN", _CITY, NONE, "synthcity-adsgan", remark="it has no epsilon"),
    "synthcity-dpgan": Peer(
        "DPGAN", _CITY, NONE, "synthcity-dpgan", remark="its coding looks at records, and is not counted"
    ),
    "synthcity-pategan": Peer(
        "PATE-GAN, synthcity",
        _CITY,
        NONE,
        "synthcity-pategan",
        remark="its coding looks at records, and is not counted",
    ),
    "dpmix": Peer("DPMix", _OWN, REPLACED, "dpmix"),
    "dp-merf": Peer("DP-MERF", _OWN, REPLACED, "dp-merf"),
    "dp-em": Peer("DP-EM", _OWN, REPLACED, "dp-em"),
    "dp-vae": Peer("DP-VAE", _OPACUS, ADDED, "dp-vae", _TORCH),
}
HALVED = ("mst", "aim", "privbayes")
PEERS: Mapping[str, Peer] = {**PLAIN, **{f"{name}-replace": _halved(PLAIN[name]) for name in HALVED}}
FEDERATED: Mapping[str, Peer] = {
    "fl-gan": Peer("FL-GAN, serial", _OPACUS, ADDED, "fl-gan", _TORCH),
    "asyndgan": Peer("AsynDGAN, central generator", _OPACUS, ADDED, "asyndgan", _TORCH),
}
