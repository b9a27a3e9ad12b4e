"""The model registry: assets (which artifacts) and models (a name and a version over an asset)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from runner.emulator import artifacts
from runner.emulator.checking import count, only_known, rows, section, text, text_pairs
from runner.emulator.messages import Request, Response, Route, bad_request, not_found, now
from runner.emulator.service import Service

REGISTRY = "/modelmanagement/v1.0{ws}"
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-._]{0,254}")
ASSET_FIELDS = (
    "id",
    "name",
    "type",
    "description",
    "artifacts",
    "kvTags",
    "properties",
    "runid",
    "meta",
    "createdTime",
)
MODEL_FIELDS = (
    "id",
    "name",
    "framework",
    "frameworkVersion",
    "version",
    "datasets",
    "url",
    "mimeType",
    "description",
    "createdTime",
    "modifiedTime",
    "unpack",
    "parentModelId",
    "runId",
    "experimentName",
    "kvTags",
    "tags",
    "properties",
    "derivedModelIds",
    "sampleInputData",
    "sampleOutputData",
    "resourceRequirements",
    "createdBy",
    "inferenceSchema",
    "modelFormat",
    "stage",
)
TEXTS = ("framework", "frameworkVersion", "url", "mimeType", "description", "runId", "runid", "experimentName", "type")
# What a patch changes, and what must be there then.
CHANGEABLE: Mapping[str, Callable[[Any, str], Any]] = {
    "description": text,
    "kvTags": text_pairs,
    "properties": text_pairs,
    "datasets": rows,
    "sampleInputData": text,
    "sampleOutputData": text,
    "resourceRequirements": section,
}


def create_asset(service: Service, request: Request) -> dict[str, Any]:
    return kept_asset(service, texts_of(only_known(request.object(), ASSET_FIELDS, "the asset")))


def kept_asset(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    """An asset names artifacts that must be there."""
    for item in rows(body.get("artifacts"), "artifacts"):
        named = section(item, "an artifact")
        name = str(named.get("prefix") or named.get("id") or "")
        origin, _, rest = name.partition("/")
        container, _, path = rest.partition("/")
        if not artifacts.listed(service, container, path, origin):
            raise bad_request(f"there is no artifact at '{origin}/{container}/{path}'")
    identifier = uuid.uuid4().hex
    return service.store.put("asset", "", identifier, {**body, "id": identifier, "createdTime": now()})


def texts_of(body: dict[str, Any]) -> dict[str, Any]:
    """The same body. Raises ServiceError (400) where a text is none."""
    for field in TEXTS:
        text(body.get(field), field)
    return body


def get_asset(service: Service, request: Request) -> dict[str, Any]:
    return require(service, "asset", request.parameters["asset"])


def require(service: Service, kind: str, key: str) -> dict[str, Any]:
    found = service.store.get(kind, "", key)
    if found is None:
        raise not_found(f"{kind} '{key}' does not exist", f"{kind.capitalize()}NotFound")
    return found


def list_assets(service: Service, request: Request) -> dict[str, Any]:
    run = request.query.get("runId")
    found = [asset for asset in service.store.all("asset") if run in (None, asset.get("runid"))]
    return {"value": found, "nextLink": None}


def create(service: Service, request: Request) -> dict[str, Any]:
    return kept(service, texts_of(only_known(request.object(), MODEL_FIELDS, "the model")))


def kept(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    """The next version of a name."""
    name = checked_name(body.get("name"))
    asset = (body.get("url") or "").removeprefix("aml://asset/")
    require(service, "asset", asset)
    with service.store.transaction():
        version = 1 + max((model["version"] for model in versions(service, name)), default=0)
        document = {
            **dict.fromkeys(MODEL_FIELDS),
            **body,
            "id": f"{name}:{version}",
            "version": version,
            "createdTime": now(),
            "modifiedTime": now(),
            "kvTags": text_pairs(body.get("kvTags"), "kvTags"),
            "properties": text_pairs(body.get("properties"), "properties"),
            "datasets": rows(body.get("datasets"), "datasets"),
            "derivedModelIds": [],
        }
        return service.store.put("model", "", document["id"], document)


def checked_name(name: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise bad_request(f"model name '{name}' is invalid; letters, digits, '-', '.' and '_', at most 255")
    return name


def versions(service: Service, name: str) -> list[dict[str, Any]]:
    return [model for model in service.store.all("model") if model["name"] == name]


def get(service: Service, request: Request) -> dict[str, Any]:
    return require(service, "model", request.parameters["model"])


def list_all(service: Service, request: Request) -> dict[str, Any]:
    """Newest first, by name, run, framework, tags and properties."""
    asked = {name.lower(): value for name, value in request.query.items()}
    found = [model for model in reversed(service.store.all("model")) if passes(model, asked)]
    return {"value": found[: count(asked.get("count"), "count", len(found))], "nextLink": None}


def passes(model: dict[str, Any], asked: dict[str, str]) -> bool:
    plain = {"name": "name", "runid": "runId", "framework": "framework", "version": "version"}
    for parameter, field in plain.items():
        if parameter in asked and str(model[field]) != asked[parameter]:
            return False
    pairs = {"tag": "kvTags", "tags": "kvTags", "properties": "properties"}
    return all(holds(model[field], asked[parameter]) for parameter, field in pairs.items() if asked.get(parameter))


def holds(pairs: dict[str, str], asked: str) -> bool:
    """`asked` is `name` or `name=value`, several of them divided by commas."""
    for item in asked.split(","):
        name, equals, value = item.partition("=")
        if name not in pairs or (equals and pairs[name] != value):
            return False
    return True


def change(service: Service, request: Request) -> dict[str, Any]:
    """A JSON patch: tags, properties, description."""
    with service.store.transaction():
        model = get(service, request)
        for step in rows(request.json() or None, "the patch"):
            patch(model, section(step, "a step of the patch"))
        return service.store.put("model", "", model["id"], {**model, "modifiedTime": now()})


def patch(model: dict[str, Any], step: dict[str, Any]) -> None:
    """One step: a field as a whole, or one name of a field of pairs."""
    field, _, key = str(step.get("path", "")).strip("/").partition("/")
    check = CHANGEABLE.get(field)
    if check is None or step.get("op") not in ("add", "replace", "remove") or (key and check is not text_pairs):
        raise bad_request(f"cannot apply '{step}' to a model; it changes {', '.join(CHANGEABLE)}")
    value = None if step["op"] == "remove" else step.get("value")
    if not key:
        model[field] = check(value, field)
    elif step["op"] == "remove":
        model[field].pop(key, None)
    else:
        model[field] = {**model[field], key: str(step.get("value", ""))}


def delete(service: Service, request: Request) -> Response:
    get(service, request)
    service.store.delete("model", "", request.parameters["model"])
    return Response()


ROUTES = (
    Route("POST", REGISTRY + "/assets", create_asset, "`run.register_model`, `Model.register`"),
    Route("GET", REGISTRY + "/assets", list_assets, "assets of a run"),
    Route("GET", REGISTRY + "/assets/{asset}", get_asset, "`Model.download`"),
    Route("POST", REGISTRY + "/models", create, "`run.register_model`, `Model.register`"),
    Route("GET", REGISTRY + "/models", list_all, "`Model.list`, `Model(ws, name)`"),
    Route("GET", REGISTRY + "/models/{model}", get, "`Model(ws, id=)`"),
    Route("PATCH", REGISTRY + "/models/{model}", change, "`Model.update`, `.add_tags`"),
    Route("DELETE", REGISTRY + "/models/{model}", delete, "`Model.delete`"),
)
