"""The sync process's own parts: where records go, how far they have come, and what else is to do for an outbox."""
