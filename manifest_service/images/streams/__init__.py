"""From what a store gives, in order and with breaks, to a source that a disk can be read from."""
