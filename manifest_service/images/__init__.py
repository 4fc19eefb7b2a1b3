"""Where an image's source bytes live: glance_store as Glance configures it, Glance itself, or a plain file."""
