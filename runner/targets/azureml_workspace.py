"""The workspace: which one, how to log in, and where the SDK finds it. azureml is imported here and beside, on use."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import ssl
import sys
import time
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from runner.emulator import instance
from runner.errors import TargetError
from runner.targets.azureml_names import NAMES, names_of

NEEDS = "azureml-core is not installed; pip install 'amlrun[azure]'"
IDLE_MINUTES = 30
# A token is asked for anew this long before it ends.
TOKEN_MARGIN_SECONDS = 300
# Seconds between two questions about the same runs.
AZURE_PACE, EMULATOR_PACE = 3.0, 0.4
# Packages whose exceptions are the service's or the network's doing, not a mistake of ours.
THEIRS = {"azureml", "azure", "msrest", "requests", "urllib3", "msal", "adal", "cryptography", "OpenSSL"}
CLOUDS = "ARM_CLOUD_METADATA_URL"
# Where the SDK was pointed to when it was imported in this process.
POINTED_AT: dict[str, str] = {}
Auth = Mapping[str, Any]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Service:
    """A workspace that answers. `pace` seconds are kept between two equal questions; `answers` holds the last ones."""

    workspace: Any
    pace: float
    answers: dict[str, tuple[float, Any]] = field(default_factory=dict)

    def paced(self, about: str, ask: Callable[[], Answer]) -> Answer:
        """What `ask` says, or said a moment ago."""
        asked, answer = self.answers.get(about, (-self.pace, None))
        if time.monotonic() - asked < self.pace:
            return cast("Answer", answer)
        answer = ask()
        self.answers[about] = (time.monotonic(), answer)
        return answer


def connect(project: Path, settings: Mapping[str, Any]) -> Service:
    """The workspace that a configuration names. Raises TargetError where it cannot be reached."""
    return connected(project.resolve(), json.dumps(settings, sort_keys=True))


@functools.lru_cache(maxsize=8)
def connected(project: Path, settings: str) -> Service:
    wanted = json.loads(settings)
    return KINDS[str(wanted["kind"])](project, wanted)


def azure(project: Path, settings: Mapping[str, Any]) -> Service:
    require_sdk()
    names = names_of(project, settings)
    import_sdk()
    asked = settings.get("auth") or {}
    with service_errors(f"workspace '{names['name']}' cannot be used"), quiet():
        login = AUTH[str(asked.get("kind"))](asked, str(settings.get("cloud") or "AzureCloud"))
        return Service(workspace_of(names, login), AZURE_PACE)


def emulator(project: Path, settings: Mapping[str, Any]) -> Service:
    """The one that serves the folder; started if none runs."""
    require_sdk()
    own = project / ".runs" / "emulator"
    folder = project / str(settings["dir"]) if settings.get("dir") else instance.folder_or(own)
    try:
        running, new = instance.start(instance.Settings(folder, idle_minutes=IDLE_MINUTES))
        variables = instance.variables(folder)
    except instance.EmulatorError as error:
        raise TargetError(str(error)) from None
    if new:
        say(f"started an emulator of Azure ML at {running.origin}; it stops after {IDLE_MINUTES} idle minutes")
    endpoint = settings.get("endpoint")
    if endpoint and str(endpoint).rstrip("/") != running.origin:
        raise TargetError(f"the emulator of '{folder}' serves {running.origin}, not '{endpoint}' (workspace.endpoint)")
    # Its own certificate authority alone: every request of the SDK reads the whole file anew.
    authority = str(folder / "ca.pem")
    point_sdk({**variables, "REQUESTS_CA_BUNDLE": authority, "SSL_CERT_FILE": authority})
    names = {name: str(settings[name]) for name in NAMES}
    instance.ask(folder, "adopt", dict(zip(("subscription", "group", "name"), names.values(), strict=True)))
    with service_errors(f"the emulator at {running.origin} does not answer"), quiet():
        from azureml.core.authentication import TokenAuthentication

        tokens = Tokens(variables["MSI_ENDPOINT"], authority)
        return Service(workspace_of(names, TokenAuthentication(tokens.of)), EMULATOR_PACE)


KINDS: Mapping[str, Callable[[Path, Mapping[str, Any]], Service]] = {"azureml": azure, "emulator": emulator}


def workspace_of(names: Mapping[str, str], login: Any) -> Any:
    from azureml.core import Workspace

    return Workspace.get(
        name=names["name"],
        subscription_id=names["subscription_id"],
        resource_group=names["resource_group"],
        auth=login,
    )


def cli(_auth: Auth, cloud: str) -> Any:
    from azureml.core.authentication import AzureCliAuthentication

    return AzureCliAuthentication(cloud=cloud)


def interactive(auth: Auth, cloud: str) -> Any:
    from azureml.core.authentication import InteractiveLoginAuthentication

    return InteractiveLoginAuthentication(tenant_id=auth.get("tenant_id"), cloud=cloud)


def service_principal(auth: Auth, cloud: str) -> Any:
    from azureml.core.authentication import ServicePrincipalAuthentication

    for name in ("tenant_id", "client_id"):
        if not auth.get(name):
            raise TargetError(f"workspace.auth.{name} is not set; a service principal needs it")
    return ServicePrincipalAuthentication(auth["tenant_id"], auth["client_id"], secret_of(auth), cloud=cloud)


def managed_identity(auth: Auth, cloud: str) -> Any:
    from azureml.core.authentication import MsiAuthentication

    user_assigned = {"identity_config": {"client_id": auth["client_id"]}} if auth.get("client_id") else {}
    return MsiAuthentication(cloud=cloud, **user_assigned)


def token(auth: Auth, cloud: str) -> Any:
    from azureml.core.authentication import ArmTokenAuthentication

    return ArmTokenAuthentication(secret_of(auth), cloud)


AUTH: Mapping[str, Callable[[Auth, str], Any]] = {
    "cli": cli,
    "interactive": interactive,
    "service_principal": service_principal,
    "managed_identity": managed_identity,
    "token": token,
}


def secret_of(auth: Auth) -> str:
    name = str(auth.get("secret") or "AZURE_CLIENT_SECRET")
    if not os.environ.get(name):
        raise TargetError(f"the variable '{name}' is not set; workspace.auth.secret names it")
    return os.environ[name]


@dataclass(slots=True)
class Tokens:
    """Tokens of a managed identity, each kept until shortly before its end: the SDK would ask ten times a job."""

    endpoint: str
    authority: str
    kept: dict[str, tuple[str, float]] = field(default_factory=dict)

    def of(self, audience: str) -> str:
        known, until = self.kept.get(audience, ("", 0.0))
        if time.time() < until:
            return known
        body = urllib.parse.urlencode({"resource": audience}).encode()
        trust = ssl.create_default_context(cafile=self.authority)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with opener.open(self.endpoint, body, timeout=30) as answer:
            issued = json.loads(answer.read())
        self.kept[audience] = issued["access_token"], float(issued["expires_on"]) - TOKEN_MARGIN_SECONDS
        return str(issued["access_token"])


def point_sdk(variables: Mapping[str, str]) -> None:
    """The SDK reads the list of clouds when it is imported and the rest at each call: both find these variables."""
    address = variables[CLOUDS]
    if "azureml.core" in sys.modules and POINTED_AT.setdefault(CLOUDS, os.environ.get(CLOUDS, "")) != address:
        raise TargetError("one process can use one cloud: Azure, or one emulator; start another command for the other")
    POINTED_AT[CLOUDS] = address
    os.environ.update(variables)
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, ("127.0.0.1,localhost", os.environ.get(name))))
    import_sdk()


def import_sdk() -> None:
    """Raises TargetError where azureml-core is not installed."""
    require_sdk()
    with quiet():
        import azureml.core
        import azureml.core.compute  # noqa: F401
    for name in ("azureml", "azure", "msrest", "urllib3", "msal"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def require_sdk() -> None:
    from importlib.util import find_spec

    if find_spec("azureml") is None or find_spec("azureml.core") is None:
        raise TargetError(NEEDS)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What the SDK prints and warns of is not for our output: `--json` owns it."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr if sys.flags.verbose else Nowhere()):
        warnings.simplefilter("ignore")
        yield


class Nowhere:
    """A stream that forgets; unlike an opened null device it needs no closing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""


@contextlib.contextmanager
def service_errors(doing: str) -> Iterator[None]:
    """What the service or the network refuses becomes a TargetError: `<doing>; <their first words>`."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in THEIRS:
            raise
        raise TargetError(f"{doing}: {words_of(error)}") from error


def words_of(error: BaseException) -> str:
    """The service's own message, without the request that the SDK repeats around it."""
    text = str(getattr(error, "message", "") or error)
    start = text.find('"message": "')
    if start >= 0:
        text = text[start + len('"message": "') :].partition('"')[0]
    lines = [line.strip() for line in text.replace("\\n", "\n").splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:600]}"


def say(text: str) -> None:
    """Progress of what takes time or costs money; never on standard output, which may be JSON."""
    print(f"amlrun: {text}", file=sys.stderr, flush=True)
