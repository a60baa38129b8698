"""Which endpoints, templates and volumes there are: in memory for every look, in the database for the next start."""

import json
import sqlite3
from collections.abc import Mapping, Sequence

from flashtrial.local_runpod.database import Database
from flashtrial.local_runpod.endpoints import Endpoint, Fields, Json, Template, derived_id, is_own_id, is_usable_id
from flashtrial.local_runpod.errors import BadRequest


class Catalog:
    """All endpoints, templates and volumes. Used from one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._endpoints: dict[str, Endpoint] = {}
        self._deleted: set[str] = set()
        self._templates: dict[str, Template] = {}
        self._volumes: dict[str, Fields] = {}

    async def load(self) -> None:
        """Remember what the database holds."""
        endpoints, templates, volumes = await self._database.rows(_read_all)
        self._deleted = {row[0] for row in endpoints if row[3]}
        self._endpoints = {row[0]: Endpoint(row[0], json.loads(row[1]), row[2]) for row in endpoints if not row[3]}
        self._templates = {row[0]: Template(row[0], json.loads(row[1])) for row in templates}
        self._volumes = {row[0]: json.loads(row[1]) for row in volumes}

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """All that exist."""
        return tuple(self._endpoints.values())

    @property
    def volumes(self) -> Sequence[Fields]:
        """All that were made."""
        return tuple(self._volumes.values())

    async def find(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint; one with an id of our own form that we do not know is adopted with default settings.

        A client remembers ids in files of its own, which outlive ours. What was deleted on purpose stays unknown.
        """
        known = self._endpoints.get(endpoint_id)
        if known is not None or endpoint_id in self._deleted or not is_own_id(endpoint_id):
            return known
        adopted = Endpoint(endpoint_id, {})
        await self._keep_endpoint(adopted)
        return adopted

    async def save_endpoint(self, given: Fields) -> Endpoint:
        """The endpoint made or updated: by its id where one is given, else by its name.

        Raises `BadRequest` when there is neither, or a field has the wrong type.
        """
        endpoint_id = given.get("id") or derived_id(_name(given))
        if not (isinstance(endpoint_id, str) and is_usable_id(endpoint_id)):
            raise BadRequest("id must be a string of letters, digits, hyphens and underscores")
        endpoint = (self._endpoints.get(endpoint_id) or Endpoint(endpoint_id, {})).updated(given)
        match given.get("template"):
            case dict(template):
                await self.save_template({**template, "id": endpoint.template_id})
            case None:
                pass
            case _:
                raise BadRequest("template must be an object")
        await self._keep_endpoint(endpoint)
        return endpoint

    async def delete_endpoint(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint that was taken away; None where there was none."""
        endpoint = self._endpoints.pop(endpoint_id, None)
        if endpoint is not None:
            self._deleted.add(endpoint_id)
            await self._database.rows(
                lambda rows: rows.execute("UPDATE endpoints SET is_deleted = 1 WHERE id = ?", (endpoint_id,))
            )
        return endpoint

    def template(self, template_id: str) -> Template | None:
        """The template, None where there is none."""
        return self._templates.get(template_id)

    def environment(self, endpoint: Endpoint) -> dict[str, str]:
        """The variables that the endpoint's template sets in its workers."""
        template = self._templates.get(endpoint.template_id)
        return {} if template is None else template.environment

    def environments(self) -> Mapping[str, Mapping[str, str]]:
        """`environment` of every endpoint, by the endpoint's id."""
        return {endpoint.id: self.environment(endpoint) for endpoint in self._endpoints.values()}

    async def save_template(self, given: Fields) -> Template:
        """The template made or updated. Raises `BadRequest` when it has neither id nor name, or an unusable env."""
        template_id = given.get("id") or f"{derived_id(_name(given))}-template"
        if not isinstance(template_id, str):
            raise BadRequest("id must be a string")
        template = (self._templates.get(template_id) or Template(template_id, {})).updated(given)
        self._templates[template_id] = template
        await self._keep("templates", template_id, template.given)
        return template

    async def save_volume(self, given: Fields) -> Fields:
        """The network volume made, or the one of that name and data center which there is already."""
        volume_id = derived_id(f"{_name(given)}@{given.get('dataCenterId')}")
        volume = self._volumes.get(volume_id) or {**given, "id": volume_id}
        self._volumes[volume_id] = volume
        await self._keep("volumes", volume_id, volume)
        return volume

    async def _keep_endpoint(self, endpoint: Endpoint) -> None:
        self._endpoints[endpoint.id] = endpoint
        self._deleted.discard(endpoint.id)
        row = (endpoint.id, json.dumps(endpoint.given), endpoint.version)
        await self._database.rows(
            lambda rows: rows.execute("INSERT OR REPLACE INTO endpoints (id, given, version) VALUES (?, ?, ?)", row)
        )

    async def _keep(self, table: str, identity: str, given: Fields) -> None:
        statement = f"INSERT OR REPLACE INTO {table} (id, given) VALUES (?, ?)"  # noqa: S608 - our own table's name
        await self._database.rows(lambda rows: rows.execute(statement, (identity, json.dumps(given))))


def _name(given: Fields) -> str:
    name: Json = given.get("name")
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise BadRequest("name must be a string of printable characters that is not empty")
    return name


def _read_all(
    rows: sqlite3.Connection,
) -> tuple[list[tuple[str, str, int, int]], list[tuple[str, str]], list[tuple[str, str]]]:
    endpoints = rows.execute("SELECT id, given, version, is_deleted FROM endpoints").fetchall()
    templates = rows.execute("SELECT id, given FROM templates").fetchall()
    return endpoints, templates, rows.execute("SELECT id, given FROM volumes").fetchall()
