"""The site: what answers a study's requests, and the daemon that serves it.

Everything a reply depends on is here or below.
"""
