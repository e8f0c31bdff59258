"""What a finished study publishes: pooled tables, receipts' costs, manifest and report."""
