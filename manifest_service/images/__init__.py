"""Where an image's source bytes live: glance_store as Glance configures it, or a plain file."""
