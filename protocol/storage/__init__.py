"""Journals that a crash cannot tear and a damage cannot change unseen; client and server keep theirs in them."""
