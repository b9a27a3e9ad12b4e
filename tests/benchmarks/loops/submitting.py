"""What a person writes with the bare SDK: a loop of `Experiment.submit`, with one token that is kept.

python submitting.py CODE SUBSCRIPTION GROUP WORKSPACE CLUSTER JOBS: prints the seconds that the loop took.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.parse
import urllib.request
import warnings

warnings.simplefilter("ignore")


def token(audience: str) -> str:
    """The login of this workspace: a managed identity's endpoint."""
    trust = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
    body = urllib.parse.urlencode({"resource": audience}).encode()
    with urllib.request.urlopen(os.environ["MSI_ENDPOINT"], body, context=trust) as answer:
        return str(json.loads(answer.read())["access_token"])


def main() -> None:
    code, subscription, group, name, cluster, jobs = sys.argv[1:]
    from azureml.core import Environment, Experiment, ScriptRunConfig, Workspace
    from azureml.core.authentication import TokenAuthentication

    kept: dict[str, str] = {}
    login = TokenAuthentication(lambda audience: kept.setdefault(audience, token(audience)))
    workspace = Workspace.get(name=name, subscription_id=subscription, resource_group=group, auth=login)
    environment = Environment("bench")
    environment.docker.base_image = "mcr.microsoft.com/x/y:1"
    environment.python.user_managed_dependencies = True
    environment = environment.register(workspace)
    experiment = Experiment(workspace, "bare")
    began = time.perf_counter()
    for number in range(int(jobs)):
        config = ScriptRunConfig(
            source_directory=code,
            script="main.py",
            arguments=["--seed", number],
            compute_target=cluster,
            environment=environment,
        )
        experiment.submit(config)
    print(f"seconds {time.perf_counter() - began:.3f}")


main()
