"""Where hospital and coordinator meet on one machine: the command line, simulations and the demo."""

import os

# Flower and Ray read these when they are first imported. Nothing is reported to anyone, and no network is needed.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # Ray leaves the variables of accelerators alone
