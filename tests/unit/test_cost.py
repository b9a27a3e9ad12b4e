"""Estimates by hand-made tables: prices, bounds, idle tails, limits, and what is said where nothing is known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from runner import cost
from runner.cost import Price, Prices
from runner.errors import ConfigError
from runner.spec import Layout, Plan
from tests.conftest import Cli, write
from tests.plans import make_plan

A100 = "Standard_NC24ads_A100_v4"
DEAR = Price(A100, 4.0, "dedicated", "eastus", "2026-11-09", "a page")
NEAR = dataclasses.replace(DEAR, usd_per_hour=5.0, region="westeurope")
SPARE = dataclasses.replace(DEAR, usd_per_hour=1.0, priority="lowpriority")
PRICES: Prices = {(A100.lower(), "dedicated"): [DEAR, NEAR], (A100.lower(), "lowpriority"): [SPARE]}
CLUSTER = {"name": "gpu", "vm_size": A100, "priority": "dedicated", "min_nodes": 0, "max_nodes": 4, "idle_seconds": 900}


def a_plan(nodes: int = 1, limits: dict[str, Any] | None = None, sweep: Any = None, **compute: Any) -> Plan:
    values = {"compute": {"kind": "amlcompute", **CLUSTER, **compute}, "sweep": sweep}
    bounds = {"max_minutes": None, "max_cost": None, **(limits or {})}
    return make_plan(Path("/p"), "r", target="azureml", config=values, layout=Layout("none", nodes, 1), limits=bounds)


def with_cost(*plans: Plan, prices: Prices = PRICES) -> list[Plan]:
    return [dataclasses.replace(plan, cost=cost.estimate(plan, prices)) for plan in plans]


HOUR = {"max_minutes": 60}


@pytest.mark.parametrize(
    ("plan", "hourly", "bound", "idle", "always"),
    [
        (a_plan(), 4.0, None, 1.0, 0.0),
        (a_plan(limits=HOUR), 4.0, 4.0, 1.0, 0.0),
        (a_plan(3, {"max_minutes": 90}), 12.0, 18.0, 3.0, 0.0),
        (a_plan(limits=HOUR, location="westeurope"), 5.0, 5.0, 1.25, 0.0),
        (a_plan(limits=HOUR, location="nowhere"), 4.0, 4.0, 1.0, 0.0),
        (a_plan(limits=HOUR, priority="lowpriority"), 1.0, 1.0, 0.25, 0.0),
        (a_plan(limits=HOUR, vm_size=A100.upper()), 4.0, 4.0, 1.0, 0.0),
        (a_plan(limits=HOUR, idle_seconds=None), 4.0, 4.0, 2.0, 0.0),
        (a_plan(limits=HOUR, idle_seconds=0), 4.0, 4.0, 0.0, 0.0),
        (a_plan(2, HOUR, min_nodes=1), 8.0, 8.0, 1.0, 4.0),
        (a_plan(limits=HOUR, min_nodes=3), 4.0, 4.0, 0.0, 12.0),
        (a_plan(limits=HOUR, vm_size=None), None, None, None, None),
    ],
)
def test_one_plan(plan: Plan, hourly: Any, bound: Any, idle: Any, always: Any) -> None:
    found = cost.estimate(plan, PRICES)
    names = ("usd_per_hour", "bound_usd", "idle_usd", "always_usd_per_hour")
    assert tuple(found[name] for name in names) == (hourly, bound, idle, always)


def test_low_priority_is_never_guessed_from_dedicated() -> None:
    found = cost.estimate(a_plan(limits=HOUR, priority="lowpriority"), {(A100.lower(), "dedicated"): [DEAR]})
    assert found["price"] is None
    assert found["unknown"] == f"no price known for {A100} at low priority"


def test_here_nothing_is_paid() -> None:
    plan = dataclasses.replace(a_plan(), target="local")
    assert cost.estimate(plan, PRICES) == {}
    assert cost.total([plan]) == {}
    assert cost.plan_rows(plan) == []
    assert cost.over_limit([plan], 0.0) == []


@pytest.mark.parametrize(
    ("plans", "runs", "idle"),
    [
        ([a_plan(limits=HOUR)] * 3, 12.0, 3.0),  # three nodes at once, one tail
        ([a_plan(limits=HOUR)] * 6, 24.0, 4.0),  # the cluster has four
        ([a_plan(2, HOUR)] * 6, 48.0, 4.0),
        ([a_plan(limits=HOUR, max_nodes=None)] * 6, 24.0, 6.0),
        ([a_plan(limits=HOUR, sweep={"max_concurrent": 2})] * 6, 24.0, 2.0),
        ([a_plan(limits=HOUR, min_nodes=1)] * 6, 24.0, 3.0),
        ([a_plan(limits=HOUR), a_plan(limits=HOUR, name="other")], 8.0, 2.0),
        ([a_plan(limits=HOUR), a_plan()], None, 2.0),
        ([a_plan(limits=HOUR), a_plan(limits=HOUR, vm_size="x")], None, 2.0),
        ([a_plan(limits=HOUR), a_plan(limits=HOUR, vm_size="x", name="other")], None, None),
    ],
)
def test_a_sweep(plans: list[Plan], runs: Any, idle: Any) -> None:
    found = cost.total(with_cost(*plans))
    assert (found["runs_usd"], found["idle_usd"]) == (runs, idle)
    assert found["total_usd"] == (None if runs is None or idle is None else runs + idle)
    assert bool(found["unknown"]) == (found["total_usd"] is None)


@pytest.mark.parametrize(
    ("plans", "option", "said"),
    [
        ([a_plan(limits=HOUR)], 5.0, ""),
        (
            [a_plan(limits=HOUR)],
            4.99,
            "override '--max-cost=4.99': cost of 1 run at most 5.00 USD (1.00 USD of it idle)",
        ),
        ([a_plan(limits={**HOUR, "max_cost": 4})], None, "configs/config.yaml:1:1: limits.max_cost: cost of 1 run"),
        ([a_plan(limits={**HOUR, "max_cost": 4})], 3.0, "override '--max-cost=3'"),
        ([a_plan(limits={**HOUR, "max_cost": 4})], 9.0, "limits.max_cost"),
        ([a_plan(limits={**HOUR, "max_cost": 9}), a_plan(limits={**HOUR, "max_cost": 4})], None, "above 4.00 USD"),
        ([a_plan()], None, ""),
        ([a_plan()], 100.0, "100.00 USD cannot be held: limits.max_minutes is not set, so there is no upper bound"),
        ([a_plan(limits=HOUR, vm_size="x")], 9.0, "no price known for x; give a price in configs/prices.csv: size,"),
        ([a_plan(limits=HOUR, vm_size=None)], 9.0, "compute.vm_size is not set; set compute.vm_size"),
    ],
)
def test_limits(plans: list[Plan], option: float | None, said: str) -> None:
    found = cost.over_limit(with_cost(*plans), option)
    assert len(found) == bool(said)
    assert said in "".join(str(problem) for problem in found)
    if "cost of" in said:
        assert "Standard_NC24ads_A100_v4 in eastus: 4 USD/h on 2026-11-09 (a page); raise it" in str(found[0])


def test_text_names_price_date_source_and_what_is_always_paid() -> None:
    (plan,) = with_cost(a_plan(2, HOUR, min_nodes=1))
    assert cost.plan_rows(plan) == [
        ("cost", "at most 8.00 USD (4 USD/h x 2 nodes x 60 min), then up to 1.00 USD idle (900 s)"),
        ("price", f"{A100} in eastus: 4 USD/h on 2026-11-09 (a page)"),
        ("always paid", "4.00 USD per hour for compute.min_nodes"),
    ]
    (plan,) = with_cost(a_plan())
    assert cost.plan_rows(plan)[0][1].startswith("4.00 USD per hour (4 USD/h x 1 node)")
    (plan,) = with_cost(a_plan(vm_size="Standard_NC4as_T4_v3"))
    assert cost.plan_rows(plan)[0][1].startswith("no price known for Standard_NC4as_T4_v3; give a price")


def test_the_projects_prices_win_and_the_rest_stays(tmp_path: Path) -> None:
    table = "size,usd_per_hour,date,region\nstandard_nc24ads_a100_v4,1.5,2026-12-01,\nMy_Size,2,2026-12-01,here\n"
    write(tmp_path, {"configs/prices.csv": "\ufeff" + table})
    prices = cost.load_prices(tmp_path)
    assert [p.usd_per_hour for p in prices[A100.lower(), "dedicated"]] == [1.5]
    assert prices[A100.lower(), "dedicated"][0].source == "configs/prices.csv"
    assert prices["my_size", "dedicated"][0].region == "here"
    assert prices["standard_nc48ads_a100_v4", "dedicated"][0].date == "2026-11-09"
    assert all(price.date and price.source for found in prices.values() for price in found)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", ["1:1: no column 'size'", "1:1: no column 'usd_per_hour'", "1:1: no column 'date'"]),
        ("size,usd_per_hour,date,usd\n", ["1:1: unknown column 'usd'"]),
        (
            "size,usd_per_hour,date\na,1,2026-01-01\nb,1 USD,2026-01-01\nc,2,May\n,-1,\n",
            [
                "3:1: usd_per_hour: '1 USD' is no price",
                "4:1: date: 'May' is no date",
                "5:1: size",
                "5:1: usd",
                "5:1: date",
            ],
        ),
        ("size,usd_per_hour,date,priority\na,1,2026-01-01,spot\n", ["2:1: priority: 'spot' is not one of them; use"]),
        ("size,usd_per_hour,date\na,1,2026-01-01,2\n", ["2:1: more cells than columns"]),
        ("size,usd_per_hour,date\na\n", ["2:1: usd_per_hour: null is no price", "2:1: date: null"]),
        ("size,usd_per_hour,date\na,inf,2026-01-01\nb,nan,2026-01-01\nc,1e9,2026-01-01\n", ["2:1", "3:1", "4:1"]),
    ],
)
def test_wrong_lines_of_the_projects_table(table: str, said: list[str], tmp_path: Path) -> None:
    write(tmp_path, {"configs/prices.csv": table})
    with pytest.raises(ConfigError) as raised:
        cost.load_prices(tmp_path)
    found = [str(problem) for problem in raised.value.problems]
    assert len(found) == len(said)
    assert [text for text, start in zip(found, said, strict=True) if start not in text] == []
    assert all(text.startswith("configs/prices.csv:") for text in found)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    write(tmp_path, {"configs/x": ""})
    (tmp_path / "configs/prices.csv").write_bytes(b"size,usd_per_hour,date\n\xff\xfe,1,2026-01-01\n")
    with pytest.raises(ConfigError, match="not a CSV table"):
        cost.load_prices(tmp_path)


SWEEP = ("compute=gpu-cluster", "limits.max_minutes=60", "-m", "seed=1,2")


def test_plan_shows_costs_and_refuses_with_exit_2(cli: Cli, bare: Path) -> None:
    write(bare, {"configs/prices.csv": "size,usd_per_hour,date\nStandard_NC4as_T4_v3,0.5,2026-11-01\n", "a.py": ""})
    done = cli(bare, "plan", "code.script=a.py", *SWEEP)
    assert done.code == 0, done.err
    assert "at most 0.50 USD (0.5 USD/h x 1 node x 60 min), then up to 0.08 USD idle (600 s)" in done.out
    assert "cost of 2 runs at most 1.17 USD (0.17 USD of it idle)" in done.out
    done = cli(bare, "plan", "code.script=a.py", "--json", "--max-cost", "1", *SWEEP)
    assert done.code == 2
    data = json.loads(done.out)
    assert data["cost"]["total_usd"] == pytest.approx(1.1667)
    assert data["plans"][0]["cost"]["price"]["source"] == "configs/prices.csv"
    assert "above 1.00 USD, by Standard_NC4as_T4_v3: 0.5 USD/h on 2026-11-01" in data["problems"][0]["message"]
    done = cli(bare, "run", "code.script=a.py", "limits.max_cost=1", *SWEEP)
    assert done.code == 2
    assert "override 'limits.max_cost=1': limits.max_cost: cost of 2 runs at most 1.17 USD" in done.err
    assert not list((bare / ".runs").glob("digits*"))


def test_of_a_sweep_that_draws_its_points_all_are_priced(cli: Cli, bare: Path) -> None:
    drawn = "sampler: bayesian\nmetric: a\ngoal: maximize\nmax_total: 5\nparams: {seed: 'range(9)'}\n"
    prices = "size,usd_per_hour,date\nStandard_DS3_v2,0.5,2026-11-01\n"
    write(bare, {"s.py": "", "configs/sweep/mine.yaml": drawn, "configs/prices.csv": prices})
    asked = ("code.script=s.py", "sweep=mine", "compute=cpu-cluster", "workspace=emulator", "limits.max_minutes=60")
    sums = json.loads(cli(bare, "plan", *asked, "--json").out)["cost"]
    first = json.loads(cli(bare, "plan", *asked, "sweep.max_total=1", "--json").out)["cost"]
    assert (sums["runs"], sums["runs_usd"]) == (5, pytest.approx(5 * first["runs_usd"]))
    assert "cost of 5 runs at most" in cli(bare, "plan", *asked).out
    limit = ("--max-cost", str(first["total_usd"] * 2))
    refused = [cli(bare, verb, *asked, *limit) for verb in ("plan", "run")]
    assert [done.code for done in refused] == [2, 2]
    assert all("cost of 5 runs" in done.err for done in refused)


def test_a_local_run_does_not_look_at_prices(cli: Cli, bare: Path) -> None:
    write(bare, {"configs/prices.csv": "nonsense\n", "a.py": ""})
    done = cli(bare, "plan", "code.script=a.py", "--max-cost", "0")
    assert (done.code, "cost" in done.out) == (0, False), done.err
    assert cli(bare, "plan", "code.script=a.py", "compute=gpu-cluster").code == 2


@pytest.mark.parametrize("value", ["abc", "-1", "nan", "inf"])
def test_max_cost_is_an_amount(cli: Cli, bare: Path, value: str) -> None:
    done = cli(bare, "plan", f"--max-cost={value}")
    assert done.code == 2
    assert "--max-cost" in done.err
