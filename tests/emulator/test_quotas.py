"""The workspace's own quotas."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.bodies import LOCATION, quota_body
from tests.emulator.conftest import Client

FAMILY = "Standard DSv2 Family Cluster Dedicated vCPUs"


def limits(client: Client) -> dict[str, int]:
    rows = client.ask("GET", f"{LOCATION}/quotas")["value"]
    return {row["name"]["value"]: row["limit"] for row in rows}


def test_a_limit_is_kept_until_there_is_none(client: Client) -> None:
    assert set(limits(client).values()) == {-1}
    answer = client.ask("POST", f"{LOCATION}/updateQuotas", {"value": [quota_body()]})
    assert [(row["status"], row["limit"]) for row in answer["value"]] == [("Success", 8)]
    assert (limits(client)[FAMILY], len([limit for limit in limits(client).values() if limit != -1])) == (8, 1)
    client.ask("POST", f"{LOCATION}/updateQuotas", {"value": [{**quota_body(), "limit": None}]})
    assert set(limits(client).values()) == {-1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "x/quotas/Standard Q Family"}, "'Standard Q Family' is no VM family with a quota"),
        ({"id": None}, "the id of a quota is 'None'"),
        ({"limit": -2}, "the limit of a quota is '-2'"),
        ({"limit": 1001}, "the limit of a quota is 1001; the region has 1000"),
        ({"limits": 5}, "unknown field 'limits'; did you mean 'limit'?"),
    ],
)
def test_of_several_all_are_set_or_none(changes: dict[str, Any], words: str, client: Client) -> None:
    both = {"value": [quota_body(), {**quota_body(), **changes}]}
    assert words in client.refused("POST", f"{LOCATION}/updateQuotas", both)
    assert set(limits(client).values()) == {-1}
