"""What a finished study becomes: pooled records, and a folder of files with a report and a signed manifest.

May import from `server` itself, but not from `server/commands`.
"""
