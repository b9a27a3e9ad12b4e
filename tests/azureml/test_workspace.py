"""Which workspace, how to log in, and that the service's errors are told apart from mistakes of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import TargetError
from runner.resources import packaged
from runner.targets import azureml_workspace
from runner.targets.azureml_names import names_of
from runner.targets.azureml_workspace import (
    AUTH,
    KINDS,
    Tokens,
    quiet,
    require_sdk,
    secret_of,
    service_errors,
    words_of,
)

CONTENT = {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}
NAMES = {"subscription_id": "s", "resource_group": "g", "name": "w"}


def write_config(folder: Path, content: object = CONTENT) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))


def test_every_kind_of_login_and_workspace_of_the_schema_has_a_row() -> None:
    schema = json.loads((packaged("schemas") / "workspace.schema.json").read_text())
    properties = schema["$defs"]["partial"]["properties"]

    assert set(AUTH) == set(properties["auth"]["properties"]["kind"]["enum"])
    assert set(KINDS) == set(properties["kind"]["enum"])


def test_names_that_are_written_out_win(tmp_path: Path) -> None:
    write_config(tmp_path)

    assert names_of(tmp_path, {"subscription_id": "1", "resource_group": "2", "name": "3"})["name"] == "3"


@pytest.mark.parametrize("between", ["", ".azureml", "aml_config"])
def test_a_config_is_found_upward(between: str, tmp_path: Path) -> None:
    write_config(tmp_path / between)
    (tmp_path / "a/b").mkdir(parents=True)

    assert names_of(tmp_path / "a/b", {"config": None, "name": None}) == NAMES


@pytest.mark.parametrize("named", ["there/config.json", "there"])
def test_a_named_config_or_its_folder_is_read(named: str, tmp_path: Path) -> None:
    write_config(tmp_path / "there")

    assert names_of(tmp_path, {"config": named}) == NAMES


def test_without_a_config_it_is_said_where_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azureml_workspace.instance, "find_config", lambda cwd: None)

    with pytest.raises(TargetError, match=r"no config.json from .* upward; download it .* workspace.subscription_id"):
        names_of(tmp_path, {})


@pytest.mark.parametrize("content", [{}, [], {"workspace_name": "w"}])
def test_a_config_that_is_none_is_named(content: object, tmp_path: Path) -> None:
    write_config(tmp_path, content)

    with pytest.raises(TargetError, match=r"config.json' is no config.json of a workspace"):
        names_of(tmp_path, {"config": "config.json"})


def test_a_secret_is_read_from_the_variable_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "x")
    assert secret_of({"secret": "MINE"}) == "x"

    monkeypatch.delenv("AZURE_CLIENT_SECRET", raising=False)
    with pytest.raises(TargetError, match=r"the variable 'AZURE_CLIENT_SECRET' is not set; workspace.auth.secret"):
        secret_of({})


@pytest.fixture
def logins(fake_module: Callable[..., None]) -> None:
    """The SDK's classes, which only remember what they were given."""

    def remember(name: str) -> Callable[..., Any]:
        return lambda *given, **named: (name, given, named)

    classes = ("AzureCli", "InteractiveLogin", "ServicePrincipal", "Msi", "ArmToken")
    named = {f"{name}Authentication": remember(name) for name in classes}
    fake_module("azureml.core.authentication", **named)


@pytest.mark.usefixtures("logins")
def test_each_kind_of_login_is_the_sdks_class_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "k")
    auth = {"tenant_id": "t", "client_id": "c", "secret": "KEY"}

    assert AUTH["cli"](auth, "AzureCloud") == ("AzureCli", (), {"cloud": "AzureCloud"})
    assert AUTH["interactive"](auth, "A") == ("InteractiveLogin", (), {"tenant_id": "t", "cloud": "A"})
    assert AUTH["service_principal"](auth, "A") == ("ServicePrincipal", ("t", "c", "k"), {"cloud": "A"})
    assert AUTH["managed_identity"](auth, "A") == ("Msi", (), {"cloud": "A", "identity_config": {"client_id": "c"}})
    assert AUTH["managed_identity"]({}, "A") == ("Msi", (), {"cloud": "A"})
    assert AUTH["token"](auth, "A") == ("ArmToken", ("k", "A"), {})


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize("missing", ["tenant_id", "client_id"])
def test_a_service_principal_without_its_names_is_refused(missing: str) -> None:
    auth = {"tenant_id": "t", "client_id": "c", missing: None}

    with pytest.raises(TargetError, match=f"workspace.auth.{missing} is not set"):
        AUTH["service_principal"](auth, "AzureCloud")


def test_without_the_sdk_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(TargetError, match=r"azureml-core is not installed; pip install 'amlrun\[azure\]'"):
        require_sdk()


def of(module: str, text: str) -> Exception:
    return type("TheirError", (Exception,), {"__module__": module})(text)


@pytest.mark.parametrize("module", ["azureml.exceptions", "azure.core", "requests.exceptions", "msrest", "urllib3.x"])
def test_errors_of_the_service_are_told(module: str) -> None:
    with pytest.raises(TargetError, match="cannot do it: TheirError: refused"), service_errors("cannot do it"):
        raise of(module, "refused")


@pytest.mark.parametrize("error", [ValueError("ours"), of("azuremlish.x", "ours"), of("runner.spec", "ours")])
def test_mistakes_of_ours_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error), match="ours"), service_errors("cannot do it"):
        raise error


def test_the_services_own_message_is_picked_from_what_the_sdk_puts_around_it() -> None:
    text = 'Error:\n{\n "error": {\n "code": "UserError",\n "message": "no such size"\n }\n}'

    assert words_of(ValueError(text)) == "ValueError: no such size"
    assert words_of(ValueError("first\n\n second")) == "ValueError: first second"
    assert len(words_of(ValueError("x" * 5000))) < 700


def test_what_the_sdk_prints_is_not_in_our_output(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        print("Uploading...", flush=True)

    assert capsys.readouterr().out == ""


def test_a_token_is_asked_for_once_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    now = [1000.0]

    class Opener:
        def open(self, endpoint: str, body: bytes, timeout: float) -> Any:
            asked.append(body)
            return Answer(json.dumps({"access_token": f"t{len(asked)}", "expires_on": str(now[0] + 3600)}).encode())

    class Answer:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def read(self) -> bytes:
            return self.content

        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(azureml_workspace.urllib.request, "build_opener", lambda *_: Opener())
    monkeypatch.setattr(azureml_workspace.ssl, "create_default_context", lambda cafile: None)
    monkeypatch.setattr(azureml_workspace.urllib.request, "HTTPSHandler", lambda context: None)
    monkeypatch.setattr(azureml_workspace.time, "time", lambda: now[0])
    tokens = Tokens("https://127.0.0.1:1/token", "ca.pem")

    assert [tokens.of("a"), tokens.of("a"), tokens.of("b")] == ["t1", "t1", "t2"]
    now[0] += 3400
    assert tokens.of("a") == "t3"
