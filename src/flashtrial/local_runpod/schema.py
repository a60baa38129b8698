"""The tables of ``local_runpod.db``. A released step is never edited: the next one is appended."""

MIGRATIONS = (
    """
    CREATE TABLE endpoints (
        id TEXT PRIMARY KEY,
        given TEXT NOT NULL,
        version INTEGER NOT NULL,
        is_deleted INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE templates (id TEXT PRIMARY KEY, given TEXT NOT NULL);
    CREATE TABLE volumes (id TEXT PRIMARY KEY, given TEXT NOT NULL);
    CREATE TABLE jobs (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        endpoint_id TEXT NOT NULL,
        status TEXT NOT NULL,
        queued_ms INTEGER NOT NULL,
        started_ms INTEGER,
        finished_ms INTEGER,
        worker_id TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        timeout_ms INTEGER,
        expires_ms INTEGER NOT NULL,
        keep_ms INTEGER NOT NULL,
        error TEXT,
        input BLOB NOT NULL,
        output BLOB
    );
    CREATE INDEX jobs_by_state ON jobs (endpoint_id, status, queued_ms, place);
    CREATE INDEX jobs_in_hand ON jobs (worker_id) WHERE status = 'IN_PROGRESS';
    CREATE INDEX jobs_by_end ON jobs (finished_ms) WHERE finished_ms IS NOT NULL;
    CREATE TABLE chunks (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        chunk BLOB NOT NULL
    );
    CREATE INDEX chunks_of_job ON chunks (job_id, place);
    """,
)
