"""The documentation: it is complete, it builds, and every command in it does what it says."""
