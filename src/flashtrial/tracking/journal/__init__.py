"""The records of a run on disk: written before `log` returns, read by the sync process, counted per destination."""
