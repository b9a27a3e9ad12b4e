"""Metrics: rows as they arrive, listed by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.emulator import records
from runner.emulator.checking import needed, only_known, rows, section, text
from runner.emulator.messages import Request, Response, Route, not_found, page
from runner.emulator.service import Service

METRICS = "/metric/v2.0{ws}/runs/{run}"
VALUE_FIELDS = ("name", "columns", "value", "properties", "dataContainerId", "namespace", "standardSchemaId")


def write(service: Service, request: Request) -> dict[str, Any]:
    """POST batch: several metrics, some rows of each. The same row sent twice is kept once."""
    run = records.require_run(service, request.parameters["run"])["runId"]
    body = only_known(request.object(), ("values", "reportErrors"), "the body")
    with service.store.transaction():
        for item in rows(body.get("values"), "values"):
            write_one(service, run, only_known(item, VALUE_FIELDS, "a metric"))
    return {"errors": []}


def write_one(service: Service, run: str, metric: dict[str, Any]) -> None:
    name = needed(metric.get("name"), "the name of a metric")
    known = service.store.get("metric", run, name) or {"name": name, "columns": {}}
    columns = {**known["columns"], **section(metric.get("columns"), "columns")}
    properties = section(metric.get("properties"), "properties") or known.get("properties")
    kept = {"columns": columns, "properties": properties}
    service.store.put("metric", run, name, {**known, **kept})
    for row in rows(metric.get("value"), "value"):
        key = needed(section(row, "a row of a metric").get("metricId"), "the metricId of a row")
        section(row.get("data"), "the data of a row")
        text(row.get("createdUtc"), "createdUtc")
        service.store.put("row", f"{run}/{name}", key, row)


def wait(service: Service, request: Request) -> dict[str, Any]:
    """Rows can be read as soon as they are written: there is nothing to wait for."""
    return {}


def names(service: Service, request: Request) -> dict[str, Any]:
    run = records.require_run(service, request.parameters["run"])["runId"]
    return page(
        [
            {"metricKey": {"name": metric["name"]}, "columns": metric["columns"], "properties": metric["properties"]}
            for metric in service.store.all("metric", run)
        ]
    )


def full(service: Service, request: Request) -> dict[str, Any]:
    """POST full: all rows of one metric."""
    run = records.require_run(service, request.parameters["run"])["runId"]
    name = request.object().get("metricName")
    metric = service.store.get("metric", run, str(name))
    if metric is None:
        raise not_found(f"run '{run}' has no metric '{name}'", "MetricNotFound")
    # The SDK sends several batches at once, and they may overtake each other.
    values = sorted(service.store.all("row", f"{run}/{name}"), key=moment)
    return {**metric, "runId": run, "value": values, "continuationToken": None, "nextLink": None}


def moment(row: Mapping[str, Any]) -> tuple[str, str]:
    """When a row was made. The SDK leaves zeros at the end of the fraction out, so the texts do not compare."""
    whole, _, fraction = str(row.get("createdUtc")).rstrip("Z").partition(".")
    return whole, fraction.ljust(7, "0")


def wait_in_history(service: Service, request: Request) -> Response:
    records.require_run(service, request.parameters["run"])
    return Response({})


ROUTES = (
    Route("POST", METRICS + "/batch", write, "`run.log`, `.log_list`, `.log_row`, `.log_table`, `.log_image`"),
    Route("POST", METRICS + "/list", names, "`run.get_metrics`"),
    Route("POST", METRICS + "/full", full, "`run.get_metrics`"),
    Route("GET", METRICS + "/metricsingest/wait", wait, "`run.flush`, the end of a job"),
    Route(
        "GET",
        "/history/v1.0{ws}/experiments/{experiment}/runs/{run}/metricsingest/wait",
        wait_in_history,
        "`run.flush`, `.complete`",
    ),
    Route(
        "GET",
        "/history/v1.0{ws}/experimentids/{experiment_id}/runs/{run}/metricsingest/wait",
        wait_in_history,
        "`run.flush`, `.complete` in a job",
    ),
)
