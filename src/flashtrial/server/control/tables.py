"""The tables of control, as one step of ``flashtrial.server.schema``. Maps are kept as JSON."""

CONTROL_TABLES = """
CREATE TABLE experiments (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL DEFAULT 0,
    controller_id TEXT,
    status TEXT NOT NULL DEFAULT 'new',
    error TEXT,
    mode TEXT,
    config_options TEXT,
    metric_experiment_id TEXT,
    tracked_run TEXT,
    told_epoch INTEGER NOT NULL DEFAULT -1,
    told_version INTEGER NOT NULL DEFAULT -1,
    created_ms INTEGER NOT NULL,
    begun_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
);
CREATE TABLE trials (
    experiment INTEGER NOT NULL REFERENCES experiments (number),
    run_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    tracked_run TEXT NOT NULL,
    reason TEXT,
    parent_run_id INTEGER,
    warm_start INTEGER NOT NULL,
    config_leaf TEXT,
    progress TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (experiment, run_id)
) WITHOUT ROWID;
CREATE INDEX trials_by_run_id ON trials (run_id);
CREATE TABLE commands (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    experiment INTEGER NOT NULL REFERENCES experiments (number),
    run_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    seen_version INTEGER,
    config TEXT,
    warm_start INTEGER NOT NULL,
    state TEXT NOT NULL,
    refusal TEXT,
    reason TEXT,
    new_run_id INTEGER,
    epoch INTEGER,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    settled_ms INTEGER
);
CREATE INDEX commands_of_experiment ON commands (experiment, number);
CREATE INDEX commands_waiting ON commands (experiment, number) WHERE state = 'pending';
CREATE TABLE run_ids (next INTEGER NOT NULL);
INSERT INTO run_ids (next) VALUES (1)
"""
