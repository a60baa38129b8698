"""The `flashtrial` command; composes the one-port app."""
