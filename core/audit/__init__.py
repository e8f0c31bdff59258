"""Does the guarantee hold? For public tables only; no other part of the system imports it but the commands."""
