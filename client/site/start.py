"""The start of the daemon's process, `python -m cohortmix.client.site.start site.yaml`: loads it, then serves."""

from __future__ import annotations

import sys
from pathlib import Path

from cohortmix.protocol.local.interrupt import STATUS, loading, release


def main(config: Path) -> int:
    """Serve the site of a configuration file; the exit status, as those of the commands."""
    try:
        with loading():
            release()
            from cohortmix.client.site.daemon import main as serve  # brings in JAX
        return serve(config)
    except KeyboardInterrupt:  # before it listens; from then on it is told to stop, and does
        print("cohortmix: interrupted; nothing was served", file=sys.stderr)
        return STATUS


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
