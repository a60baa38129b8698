"""Experiments, their trials and the commands to them: rows, and whoever waits for them (docs/decisions/017)."""
