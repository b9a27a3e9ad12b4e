"""Asks through the run what a job can ask: in a job the same calls take other addresses."""

import os
from datetime import datetime, timezone

# Where a service sets no address for discovery, the SDK asks the workspace for one.
os.environ.pop("AZUREML_DISCOVERY_SERVICE_ENDPOINT", None)

from azureml.core import Run  # it reads the variable
from azureml.core.authentication import AzureMLTokenAuthentication

run = Run.get_context()
run.set_tags({"a": "1", "b": "2"})
run.remove_tags(["b"])
run.display_name = "inside"
experiment = run.experiment
experiment.set_tags({"seen": "inside"})
first, second = run.create_children(count=2)
first.complete()
second.fail("on purpose")
run.flush()
assert run.get_details()["runId"] == run.id
assert {child.id for child in run.get_children()} == {first.id, second.id}
assert run.id in [other.id for other in experiment.get_runs()]
assert run.get_secret("walked") == "a secret"
run.log("loss", 0.5)
assert run._client.run.get_token().token.count(".") == 2
# What the SDK's own thread does, twice a minute, once a token is about to end: of a run, and of a plain script in it.
os.environ["AZUREML_RUN_TOKEN_USE_AMBIENT_AUTH"] = "true"
for auth in (experiment.workspace._auth_object, AzureMLTokenAuthentication._initialize_aml_token_auth(None)):
    auth._expiry_time = now = datetime.now(timezone.utc)
    auth._update_auth()
    assert auth.expiry_time > now
