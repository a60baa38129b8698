"""Values that cross a process or a network, and their encodings. No I/O, no state."""
