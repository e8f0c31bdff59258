"""Adapting: how the inducing points move, and the constraints under which they do.

`constraint` and `subgroup` are what a person declares; `lagrangian` has the figures, their surrogates and the
multipliers; `descent` is projected Adam on the kernel's predictions. `core/steps/adapt.py` puts them together.
Released values only.
"""
