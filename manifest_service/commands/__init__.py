"""The command line, one small module a command; the only place that wires the doors to the core."""
