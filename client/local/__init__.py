"""The commands at one's own terminal, without a server. No site's reply may reach it."""
