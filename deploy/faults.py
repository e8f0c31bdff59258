"""Faults of a simulation that the command line words; light to import."""


class EngineError(RuntimeError):
    """Flower's simulation engine stopped before the study was over."""
