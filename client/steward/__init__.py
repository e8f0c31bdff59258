"""The commands of the data steward. May import the site, the ledger and the table."""
