"""Runs in the process that opens them: how they begin, what they take, and how they end."""
