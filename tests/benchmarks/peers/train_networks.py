"""One network written here with torch and opacus, on one table of codes (`make bench-peers`).

    python tests/benchmarks/peers/train_networks.py METHOD IN.parquet DOMAIN.json OUT.parquet EPSILON DELTA SEED
    LIMIT

As `synthesize.py`. The federated ones read `sites.npy` and write `traffic.json` in the folder that they run in.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from federated_gans import asyndgan, flgan
from peer_frame import main
from private_autoencoder import dpvae

METHODS: dict[str, Callable[..., pd.DataFrame]] = {"dp-vae": dpvae, "fl-gan": flgan, "asyndgan": asyndgan}

if __name__ == "__main__":
    main(METHODS)
