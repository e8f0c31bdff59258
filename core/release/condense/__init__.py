"""A few weighted rows on which a classical model comes near to what it reaches on all records of a release.

By evaluations of the model alone, since a tree has no gradient: an idea of "Democratising Clinical AI through
Dataset Condensation for Classical Clinical Models" (Thakur et al.), here on released records, at no budget.
Imports `core.data`, and of `core.steps` `progress` alone; never the vault.
"""
