"""`faults.py` and `mutate.py` are a command of their own, and name each other; so do the tests here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
