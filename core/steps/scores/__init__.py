"""Scores: dependence in wide tables, from a second moment in place of pair tables.

A score is a real function on the cells of one column. `functions` chooses them from released margins, `moments`
reads the answer about them, `class_means` says what it knows of a class beside answer A, and `couplings` fits the
maximum-entropy model that has these moments and the margins of both answers, on columns that `layout` puts side by
side. The mixture is then fitted to the
pair tables of this `model`, as it is to measured ones. Imports `core.data` and `core.privacy` alone; released
values only.
"""
