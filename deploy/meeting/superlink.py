"""The coordinator's SuperLink, reached through Flower's own command `flwr`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortmix.core.data.table import InputError
from cohortmix.server.commands.outcome import EngineError

BUNDLE = Path(__file__).parents[1] / "bundle"
FLOWER_SECONDS = 120  # until a command of Flower's counts as stuck; starting its Python takes a few


@dataclass(frozen=True)
class SuperLink:
    """A SuperLink, by its name in Flower's configuration; None for the default one."""

    name: str | None = None

    def require_configured(self) -> None:
        """Raise InputError if Flower's configuration names no SuperLink: Flower would silently start its own."""
        try:
            known = tomllib.loads(self._config.read_text(encoding="utf-8")).get("superlink", {})
        except OSError as error:
            raise self._unconfigured(f"{str(self._config)!r}: {error.strerror}") from None
        except ValueError:
            raise self._unconfigured(f"{str(self._config)!r} is not TOML") from None
        name = self.name or known.get("default")
        entry = known.get(name) if isinstance(name, str) else None
        if entry is None and self.name is None:
            raise self._unconfigured(f"{str(self._config)!r} names no default SuperLink")
        address = entry.get("address") if isinstance(entry, dict) else None
        if entry is not None and not (isinstance(address, str) and address and not address.startswith(":")):
            raise self._unconfigured(f"{name!r} in {str(self._config)!r} has no address of a SuperLink")

    def _unconfigured(self, reason: str) -> InputError:
        return InputError(
            f"no consortium is configured ({reason}); nothing was started. Write the coordinator's SuperLink into "
            "config.toml in the folder FLWR_HOME, as docs/deploy.md says in section 2"
        )

    @property
    def _config(self) -> Path:
        """Where Flower looks for its configuration."""
        home = os.environ.get("FLWR_HOME")
        return (Path(home) if home else Path.home() / ".flwr") / "config.toml"

    def start(self, socket: Path, token: str) -> str:
        """Submit the bundle, whose ServerApp will connect to the socket; gives the id of the run."""
        with tempfile.TemporaryDirectory(prefix="cohortmix-") as scratch:
            config = Path(scratch) / "run.toml"  # in a file of our own, since all users can read a command line
            lines = [f"socket = {json.dumps(str(socket), ensure_ascii=False)}", f"token = {json.dumps(token)}"]
            config.write_text("\n".join(lines), encoding="utf-8")
            return str(self._flwr("run", str(BUNDLE), *self._named, "--run-config", str(config))["run-id"])

    def status(self, run: str) -> str:
        """What Flower says of a run: pending, starting, running, finished:completed, finished:failed, ..."""
        return str(self._flwr("list", *self._named, "--run-id", run)["runs"][0]["status"])

    @property
    def _named(self) -> tuple[str, ...]:
        return () if self.name is None else (self.name,)

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "flwr.cli.app", *arguments, "--format", "json"]
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        try:
            with tempfile.TemporaryDirectory(prefix="cohortmix-") as home:  # Flower writes into it
                shutil.copyfile(self._config, Path(home) / "config.toml")
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    env=quiet | dict(os.environ) | {"FLWR_HOME": home},
                    timeout=FLOWER_SECONDS,
                )
            answer = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise EngineError(f"Flower's command {arguments[0]!r} did not end in {FLOWER_SECONDS} s") from None
        except ValueError:
            answer = {}
        if not isinstance(answer, dict) or not answer.get("success"):
            message = (str(answer.get("error-message") or done.stderr).strip().splitlines() or ["nothing"])[-1]
            raise EngineError(f"Flower's command {arguments[0]!r} failed; it says: {message.rstrip('.')}")
        return answer
