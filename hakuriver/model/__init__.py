"""Words and rules: pure data and decisions, without I/O, clock or threads."""
