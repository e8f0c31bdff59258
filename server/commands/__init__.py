"""What the coordinator types: create a study, look at it, publish it. May import all of the server."""
