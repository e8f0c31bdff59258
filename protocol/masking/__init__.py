"""Masks: how sites add up vectors so that only the sum can be read (Bonawitz et al. 2017, eprint 2017/281).

Each site hides its vector under a mask of its own and one for every other site, which that site takes off again.
Shares of the secrets of these masks lie with all sites: for each site in the sum its own mask can be taken off,
for each one that dropped out the masks that it shared with others, and never both.

    seeds        the three secrets of a site for one sum, and the public keys that follow
    sharing      Shamir's sharing of a secret: T shares give it back, fewer say nothing
    boxes        shares, sealed by one site for another one
    masks        the masks of a site, and what takes them off the sum
    part         what a site does in each step, and what it refuses
    reading      what the coordinator does with the sites' replies

Pure functions over keys and messages, and no state: a site keeps that in its ledger. Primitives are those of
`cryptography` (X25519, HKDF, ChaCha20-Poly1305, AES in counter mode); Shamir's sharing is ours, and compared with
that of `pycryptodome` in the tests.
"""
