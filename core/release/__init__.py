"""What is made of released centroids: the pooled support, the maximum-entropy model, records.

Never imports the vault.
"""
