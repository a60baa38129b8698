"""The neighbours' protocols, Pluto's and MLflow's, on the server: their words translated into our records and back.

Nothing here stores runs of its own: what a client says becomes records in ``server.db``, and answers are read from
there, so a run that one protocol wrote can be read by the other and by the dashboard. What a neighbour has and we do
not (ids, experiments, MLflow's tags, which line was seen already) lies in ``neighbours.db`` beside it.
"""
