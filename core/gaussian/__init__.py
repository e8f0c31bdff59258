"""The variant for wide tables of numbers: a Gaussian for each class, in place of a mixture over cells.

`learn` asks the vault, `denoise` and `shrinkage` read the answers, `model` is what is released, and `levels` turns
records into standardized values and back. May import `core.steps`, `core.privacy` and `core.data`.
"""
