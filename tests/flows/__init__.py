"""What becomes of images in a real Glance, by each way that leads into it."""
