"""How a hospital's table is read: files, databases, and the snapshot that is served."""
