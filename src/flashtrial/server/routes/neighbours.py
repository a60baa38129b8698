"""All routes of the neighbours' protocols, over one ledger."""

from fastapi import APIRouter

from flashtrial.core.clock import Clock
from flashtrial.server.files.blobs import BlobStore
from flashtrial.server.neighbours.ledger import Ledger, ledger_beside
from flashtrial.server.neighbours.mlflow.wire import mlflow_wire
from flashtrial.server.neighbours.pluto.wire import pluto_wire
from flashtrial.server.repository import Repository
from flashtrial.server.routes import mlflow, mlflow_artifacts, mlflow_models, pluto, pluto_files, pluto_query
from flashtrial.server.settings import ServerSettings

# Where a token is needed and bodies are limited, beside /api. Files come and go at addresses that are permits.
PREFIXES = ("/ingest", "/files", "/ajax-api", "/get-artifact")
# Bodies that are streamed to the disk, under the blob store's own limits.
STREAMED = mlflow_artifacts.PREFIXES


def router(repository: Repository, store: BlobStore, settings: ServerSettings, clock: Clock) -> APIRouter:
    """The routes; the ledger lies beside the database and is opened by the first request that needs it."""
    ledger = Ledger(ledger_beside(settings.db_path))
    wire = pluto_wire(repository, ledger, store, settings.db_path, clock)
    routes = APIRouter()
    for part in (pluto, pluto_query, pluto_files):
        routes.include_router(part.router(wire))
    tracking = mlflow_wire(repository, ledger, store, settings, clock)
    routes.include_router(mlflow.router(tracking))
    routes.include_router(mlflow_models.router(tracking))
    routes.include_router(mlflow_artifacts.router(tracking))
    routes.include_router(mlflow.unknown())
    return routes
