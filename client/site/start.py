"""The daemon's program, `python -m cohortmix.client.site.start site.yaml`: loads what it needs, then serves."""

from __future__ import annotations

import sys
from pathlib import Path

from cohortmix.protocol.local.interrupt import STATUS, loading, release


def main(config: Path) -> int:
    """Serve the site of a configuration file; returns an exit status, as the commands have them."""
    try:
        with loading():
            release()
            from cohortmix.client.site.daemon import main as serve  # brings in JAX
        return serve(config)
    except KeyboardInterrupt:  # only before it listens: from then on the signal ends it in order, without this
        print("cohortmix: interrupted; nothing was served", file=sys.stderr)
        return STATUS


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
