"""From "uploaded" to "ready": the queue, its leases, and the worker that computes manifests."""
