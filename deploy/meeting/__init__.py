"""Where coordinator and hospitals meet over a network: Flower's SuperLink, who is there, what is submitted."""
