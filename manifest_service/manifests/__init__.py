"""What is known of each image's disk, and the database that keeps it."""
