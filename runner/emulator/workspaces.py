"""Sign-in, clouds, subscriptions, the workspace itself and where its services are."""

from __future__ import annotations

import time
from typing import Any

from runner.emulator.identity import TOKEN_SECONDS
from runner.emulator.messages import Request, Route, ServiceError, bad_request, not_found, page
from runner.emulator.service import ACCOUNT, LOCATION, NAME, SUBSCRIPTION, TENANT, Service

# The SDK v1 asks for "AzureCloud" by default; the second is for clients that ignore the list for the known names.
CLOUDS = ("AzureCloud", "EmulatorCloud")
SERVICES = (
    "api",
    "experimentation",
    "history",
    "hyperdrive",
    "modelmanagement",
    "studio",
    "pipelines",
    "notebooks",
    "inference",
)
USER = {"oid": "00000000-0000-0000-0000-00000000000b", "name": "emulator", "upn": "emulator@localhost"}


def clouds(service: Service, request: Request) -> list[dict[str, Any]]:
    return [cloud(service, name) for name in CLOUDS]


def cloud(service: Service, name: str) -> dict[str, Any]:
    here = service.origin
    # MSAL drops the last segment, and skips instance discovery (a host in the internet) where the first is "adfs".
    sign_in = {"loginEndpoint": f"{here}/adfs/x", "audiences": [here, f"{here}/"], "tenant": TENANT}
    suffixes = {
        "storage": f"emu@{service.host}",
        "keyVaultDns": "vault.emu",
        "sqlServerHostname": "sql.emu",
        "azureDataLakeStoreFileSystem": "datalake.emu",
        "azureDataLakeAnalyticsCatalogAndJob": "analytics.emu",
        "acrLoginServer": "acr.emu",
    }
    return {
        "name": name,
        "portal": here,
        "resourceManager": here,
        "gallery": here,
        "graph": here,
        "graphAudience": here,
        "batch": here,
        "media": here,
        "sqlManagement": here,
        "vmImageAliasDoc": here,
        "activeDirectoryDataLake": here,
        "microsoftGraphResourceId": here,
        "authentication": {**sign_in, "identityProvider": "AAD"},
        "suffixes": suffixes,
    }


def token(service: Service, request: Request) -> dict[str, Any]:
    """An access token for whoever knows the secret in the path. Asked for by POST (v1) and GET (azure-identity)."""
    if not service.identity.is_path_secret(request.parameters["secret"]):
        raise not_found("there is no such identity endpoint")
    resource = {**request.query, **request.form()}.get("resource", service.origin)
    issued = service.identity.token({"aud": resource, "tid": TENANT, "appid": NAME, **USER})
    expires = str(int(time.time()) + TOKEN_SECONDS)
    return {
        "access_token": issued,
        "token_type": "Bearer",
        "expires_on": expires,
        "expires_in": str(TOKEN_SECONDS),
        "not_before": str(int(time.time())),
        "resource": resource,
    }


def openid(service: Service, request: Request) -> dict[str, str]:
    """Where a service principal gets its tokens. MSAL asks, and keeps the port, as the first segment is "adfs"."""
    here = f"{service.origin}/adfs/{request.parameters['tenant']}"
    return {"authorization_endpoint": f"{here}/authorize", "token_endpoint": f"{here}/token", "issuer": here}


def principal_token(service: Service, request: Request) -> dict[str, Any]:
    """A service principal's secret is the secret of the token address: anybody else on this machine is refused."""
    form = request.form()
    if form.get("grant_type") != "client_credentials":
        raise bad_request("only client_credentials are supported", "unsupported_grant_type")
    if not service.identity.is_path_secret(form.get("client_secret", "")):
        raise ServiceError(
            401, "invalid_client", "the client secret is wrong; it is the last word but one of MSI_ENDPOINT"
        )
    audience = form.get("scope", service.origin).removesuffix("/.default")
    issued = service.identity.token({"aud": audience, "tid": TENANT, "appid": form.get("client_id", NAME), **USER})
    return {
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
        "ext_expires_in": TOKEN_SECONDS,
        "access_token": issued,
    }


def subscriptions(service: Service, request: Request) -> dict[str, Any]:
    known = dict.fromkeys(names["subscription"] for names in service.workspace()["names"])
    return page([subscription(name) for name in known])


def get_subscription(service: Service, request: Request) -> dict[str, Any]:
    asked = request.parameters["subscription"]
    if asked.lower() not in {names["subscription"].lower() for names in service.workspace()["names"]}:
        raise not_found(f"subscription '{asked}' was not found", "SubscriptionNotFound")
    return subscription(asked)


def subscription(name: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{name}",
        "subscriptionId": name,
        "displayName": "emulator" if name == SUBSCRIPTION else f"emulator (for {name})",
        "state": "Enabled",
        "tenantId": TENANT,
        "subscriptionPolicies": {},
    }


def tenants(service: Service, request: Request) -> dict[str, Any]:
    return page([{"id": f"/tenants/{TENANT}", "tenantId": TENANT}])


def workspace(service: Service, request: Request) -> dict[str, Any]:
    return described(service, request.parameters)


def described(service: Service, parameters: Any) -> dict[str, Any]:
    identifier = service.workspace()["id"]
    scope = service.scope(parameters)
    providers = f"/subscriptions/{parameters['subscription']}/resourceGroups/{parameters['group']}/providers"
    return {
        "id": scope,
        "name": parameters["workspace"],
        "type": "Microsoft.MachineLearningServices/workspaces",
        "location": LOCATION,
        "tags": {},
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": {"type": "SystemAssigned", "principalId": identifier, "tenantId": TENANT},
        "properties": {
            "friendlyName": parameters["workspace"],
            "description": "an emulator on this machine",
            "workspaceId": identifier,
            "workspaceIdInternal": identifier,
            "tenantId": TENANT,
            "discoveryUrl": f"{service.origin}/discovery",
            "mlFlowTrackingUri": f"azureml://{service.host}/mlflow/v1.0{scope}",
            "storageAccount": f"{providers}/Microsoft.Storage/storageAccounts/{ACCOUNT}",
            "keyVault": f"{providers}/Microsoft.Keyvault/vaults/{NAME}",
            "applicationInsights": f"{providers}/Microsoft.insights/components/{NAME}",
            "containerRegistry": None,
            "provisioningState": "Succeeded",
            "creationTime": "2026-01-01T00:00:00Z",
            "v1LegacyMode": False,
        },
    }


def workspace_list(service: Service, request: Request) -> dict[str, Any]:
    asked = {name: value.lower() for name, value in request.parameters.items()}
    found = []
    for names in service.workspace()["names"]:
        matches = all(names[key].lower() == value for key, value in asked.items())
        if matches:
            parameters = {"subscription": names["subscription"], "group": names["group"], "workspace": names["name"]}
            found.append(described(service, parameters))
    return page(found)


def discovery(service: Service, request: Request) -> dict[str, str]:
    return {**dict.fromkeys(SERVICES, service.origin), "studio": service.page}


PRINCIPAL = "`ServicePrincipalAuthentication`"
ROUTES = (
    Route("GET", "/metadata/endpoints", clouds, "`import azureml.core`", open=True),
    Route("POST", "/msi/{secret}/token", token, "any authentication (managed identity)", open=True),
    Route("GET", "/msi/{secret}/token", token, "azure-identity", open=True),
    Route("GET", "/adfs/{tenant}/.well-known/openid-configuration", openid, PRINCIPAL, open=True),
    Route("POST", "/adfs/{tenant}/token", principal_token, PRINCIPAL, open=True),
    Route("GET", "/tenants", tenants, "`InteractiveLoginAuthentication`"),
    Route("GET", "/subscriptions", subscriptions, "`Workspace(...)`"),
    Route("GET", "/subscriptions/{subscription}", get_subscription, "`Workspace(...)`"),
    Route("GET", "/subscriptions/{subscription}/resources", workspace_list, "`Workspace.list`"),
    Route("GET", "/subscriptions/{subscription}/resourceGroups/{group}/resources", workspace_list, "`Workspace.list`"),
    Route(
        "GET",
        "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/workspaces",
        workspace_list,
        "`Workspace.list`",
    ),
    Route(
        "GET",
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces",
        workspace_list,
        "`Workspace.list(resource_group=)`",
    ),
    Route("GET", "{ws}", workspace, "`Workspace(...)`, `.get`, `.from_config`"),
    Route("GET", "/rp/workspaces{ws}", workspace, "`Run.get_context()` in a job"),
    Route("GET", "/discovery", discovery, "the first call to any service", open=True),
    Route("GET", "/discovery/workspaces{ws}", discovery, "the first call to any service", open=True),
)
