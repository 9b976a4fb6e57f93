"""The queue: jobs in SQLite, worked off by child processes."""
