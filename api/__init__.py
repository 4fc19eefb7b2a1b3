"""Front door 2: the HTTP API that nodes, auditors and operators ask."""
