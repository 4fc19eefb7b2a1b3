"""Signed statements: in-toto Statements about disks, in DSSE envelopes, with Ed25519. Nodes can use this room alone."""
