"""How messages are carried: inside Flower's records (`codec`), between two processes of a machine (`frames`)."""
