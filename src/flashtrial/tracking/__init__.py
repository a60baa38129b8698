"""The tracking client: runs, the journal that is on disk before `log` returns, and the process that sends it."""
