"""How messages are carried: inside Flower's records (`codec`), and between two processes of one machine (`frames`)."""
