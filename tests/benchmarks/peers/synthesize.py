"""One synthesizer of others, or one written here without torch, on one table of codes (`make bench-peers`).

    python tests/benchmarks/peers/synthesize.py METHOD IN.parquet DOMAIN.json OUT.parquet EPSILON DELTA SEED LIMIT

It runs in the environment of its method, for LIMIT seconds of the processor at most; see `peer_frame`. The seed
repeats the parts that a package lets one repeat. `peer_terms.py` says between which tables each guarantee holds.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from adversarial_networks import adsgan, dpctgan, dpgan, patectgan, pategan, pategan_synthcity
from graphical_models import aim, mst, mst_mbi, privbayes, privsyn
from mean_embedding import merf
from noisy_em import dpem
from peer_frame import main
from random_mixing import dpmix

METHODS: dict[str, Callable[..., pd.DataFrame]] = {
    "mst": mst,
    "aim": aim,
    "privbayes": privbayes,
    "privsyn": privsyn,
    "mst-mbi": mst_mbi,
    "dpctgan": dpctgan,
    "patectgan": patectgan,
    "pategan": pategan,
    "synthcity-adsgan": adsgan,
    "synthcity-dpgan": dpgan,
    "synthcity-pategan": pategan_synthcity,
    "dpmix": dpmix,
    "dp-merf": merf,
    "dp-em": dpem,
}

if __name__ == "__main__":
    main(METHODS)
