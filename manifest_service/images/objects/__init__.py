"""An image's bytes as one kind of store gives them: each module one kind, all with the same face."""
