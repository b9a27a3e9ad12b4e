"""The workspace's key vault: secrets by name."""

from __future__ import annotations

from typing import Any

from runner.emulator.checking import needed, only_known, rows, section, text
from runner.emulator.messages import Request, Response, Route, bad_request, not_found, now, page
from runner.emulator.service import Service

SECRETS = "/credential/v2.0{ws}/secrets"
FIELDS = ("name", "value", "contentType", "createdTime", "modifiedTime")


def put(service: Service, request: Request) -> Response:
    save(service, only_known(request.object(), FIELDS, "the secret"))
    return Response()


def put_many(service: Service, request: Request) -> Response:
    sent = rows(only_known(request.object(), ("secrets",), "the body").get("secrets"), "secrets")
    with service.store.transaction():
        for item in sent:
            save(service, only_known(item, FIELDS, "a secret"))
    return Response()


def save(service: Service, secret: dict[str, Any]) -> None:
    name = needed(secret.get("name"), "the name of a secret")
    if text(secret.get("value"), "the value of a secret") is None:
        raise bad_request(f"secret '{name}' has no value")
    known = service.store.get("secret", "", name) or {"createdTime": now()}
    service.store.put("secret", "", name, {**known, **secret, "modifiedTime": now()})


def get(service: Service, request: Request) -> dict[str, Any]:
    found = service.store.get("secret", "", request.parameters["secret"])
    if found is None:
        raise not_found(f"secret '{request.parameters['secret']}' does not exist", "SecretNotFound")
    return found


def get_many(service: Service, request: Request) -> dict[str, Any]:
    named = [section(item, "a secret") for item in rows(request.object().get("secrets"), "secrets")]
    asked = [needed(item.get("name"), "the name of a secret") for item in named]
    found = {name: service.store.get("secret", "", name) for name in asked}
    return {
        "secrets": [secret for secret in found.values() if secret],
        "notFoundSecrets": [name for name, secret in found.items() if not secret],
    }


def names(service: Service, request: Request) -> dict[str, Any]:
    return page([{"name": secret["name"]} for secret in service.store.all("secret")])


def delete(service: Service, request: Request) -> Response:
    get(service, request)
    service.store.delete("secret", "", request.parameters["secret"])
    return Response()


ROUTES = (
    Route("PUT", SECRETS, put, "`Keyvault.set_secret`"),
    Route("PUT", SECRETS + ":putbatch", put_many, "`Keyvault.set_secrets`"),
    Route("POST", SECRETS + ":getbatch", get_many, "`Keyvault.get_secrets`"),
    Route("GET", SECRETS, names, "`Keyvault.list_secrets`"),
    Route("GET", SECRETS + "/{secret}", get, "`Keyvault.get_secret`, `run.get_secret`"),
    Route("DELETE", SECRETS + "/{secret}", delete, "`Keyvault.delete_secret`"),
)
