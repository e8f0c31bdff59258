"""What is made of released centroids: the pool of all sites, the maximum-entropy model, records.

Never imports the vault. May import `core.gaussian`, `core.steps`, `core.privacy` and `core.data`.
"""
