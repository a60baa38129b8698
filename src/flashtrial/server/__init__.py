"""The tracking server: ingest, queries and the dashboard, on SQLite, in one process."""
