"""Runs out of the database and into another: records as they came, tables for other programs, whole backups."""
