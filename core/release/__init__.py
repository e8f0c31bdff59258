"""What is made of released centroids: the pooled support set, the maximum-entropy model, records.

Never imports the vault. May import `core.gaussian`, `core.steps`, `core.privacy` and `core.data`.
"""
