"""Where client and server meet: the command line, the network between them, simulations and the demo.

May import everything; nothing imports it.
"""

import os

# Flower and Ray read these when they are first imported: they then report nothing to anybody, and need no network.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # Ray leaves the environment's choice of accelerators alone
