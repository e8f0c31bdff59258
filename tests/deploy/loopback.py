"""What `deploy/loopback.sh --keep` leaves running: three hospitals and a coordinator on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SITES = {"UK": 6252, "NETH": 713, "POLA": 755}
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
PATIENCE = 240.0


@dataclass(frozen=True)
class Consortium:
    """What `loopback.sh --keep` has left running, in `folder`, and what it printed."""

    folder: Path
    script: subprocess.Popen[bytes]

    @property
    def printed(self) -> str:
        return self.folder.with_suffix(".log").read_text()

    @property
    def key(self) -> str:
        return str(self.folder / "coordinator/coordinator.key")

    @property
    def python(self) -> str:
        """One that the roles' own users can run."""
        copy = self.folder / "home/bin/python"
        return str(copy if copy.exists() else sys.executable)

    @property
    def own_users(self) -> bool:
        """Whether each role has a user of its own; the script says so where it has not."""
        return os.getuid() == 0 and "all roles run as" not in self.printed

    @property
    def public_port(self) -> int:
        """That of nginx."""
        conf = self.folder / "coordinator/nginx/cohortmix.conf"
        if not conf.exists():
            pytest.skip("nginx is not installed here: the relays reach the SuperLink itself")
        found = re.search(r"listen 127\.0\.0\.1:(\d+) ssl", conf.read_text())
        assert found
        return int(found[1])

    def command(self, *arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of the programs beside this Python, as the coordinator."""
        command, own = [str(BIN / arguments[0]), *arguments[1:]], self.environment(home)
        return subprocess.run(command, env=own, capture_output=True, text=True, check=False, timeout=900)

    def environment(self, home: Path | None = None) -> dict[str, str]:
        """That of the coordinator, or of someone whose Flower is configured in `home`."""
        own = {"FLWR_HOME": str(home or self.folder / "coordinator/flower"), "PATH": f"{BIN}:{os.environ['PATH']}"}
        return os.environ | QUIET | own

    def done(self, *arguments: str) -> str:
        """As `command`, for one that has to succeed."""
        found = self.command(*arguments)
        assert found.returncode == 0, (arguments, found.stdout, found.stderr)
        return found.stdout

    def number(self, process: str) -> int:
        return int((self.folder / f"processes/{process}.pid").read_text())

    def start(self, process: str) -> None:
        """Start a process again. A SuperNode is refused for up to a minute, and tried until it is admitted."""
        script, log = self.folder / "processes" / process, self.folder / f"logs/{process}.log"
        if not process.startswith("relay"):
            subprocess.run([script], check=True)
            return
        before, end = log.read_text().count("SuperNode ID"), time.monotonic() + PATIENCE
        while log.read_text().count("SuperNode ID") == before:
            assert time.monotonic() < end, log.read_text()[-2000:]
            if not alive(self.number(process)):
                subprocess.run([script], check=True)
            time.sleep(2)

    def end(self) -> None:
        self.script.send_signal(signal.SIGTERM)
        self.script.wait(120)


def alive(number: int) -> bool:
    status = Path(f"/proc/{number}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def await_(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first value of `what` that is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.05)
    return found


def processes_of(folder: Path) -> list[str]:
    """Every process that names the folder in its command or in its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is not ours
            texts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
            if any(os.fsencode(folder) in text for text in texts):
                found.append(os.fsdecode(texts[0].replace(b"\0", b" ")))
    return found
