"""A RunPod on one machine: control plane, data plane and job protocol for the SDKs that exist.

Strangers' code is run by worker processes which this package starts; nothing of theirs is imported here, and a job's
input and output are bytes that pass through unread::

    client SDK ── /graphql, /v1 ──▶ control_plane ──▶ catalog ┐
               ── /v2/…/run … ────▶ data_plane ─────▶ queue ──┼─▶ database: one thread, one SQLite file
    worker     ── /v2/…/job-take ─▶ job_api ────────▶ queue ──┘
      ▲ started, watched and ended by ─────────────── workers (decided in scaling)
"""
