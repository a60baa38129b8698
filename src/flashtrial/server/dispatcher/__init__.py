"""The words of the documented dispatcher interface over experiments, trials and commands (docs/decisions/017)."""
