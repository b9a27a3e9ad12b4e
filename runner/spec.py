"""The nouns of the pipeline: Config, Job, Plan, Run. Frozen; data only moves from left to right.

*job* = what is asked, *plan* = what would be sent, *run* = what happened.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from runner.errors import Place, Problem

# What decides the result of a training, besides the world size: the part of a configuration that the
# node compares before it trains. `train/__main__.py` holds the same list and the same ten lines on
# purpose (the two packages never import each other); tests/unit/test_digest.py keeps them equal.
TRAINING_KEYS = ("code", "data", "model", "optimizer", "schedule", "seed", "trainer")


# The variable in which every rank, on every target, finds the id of its run.
RUN_ID_VARIABLE = "AMLRUN_RUN_ID"


def digest(value: Any) -> str:
    """sha256 (hex) of canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def training_digest(config: Mapping[str, Any], world_size: int) -> str:
    """Digest of what decides the trained weights: TRAINING_KEYS of the resolved configuration and the world size."""
    kept = {key: config.get(key) for key in TRAINING_KEYS}
    return digest({**kept, "world_size": world_size})


class State(str, Enum):
    """Where a run is. Every target's own states pass through one total table into these."""

    PLANNED = "planned"  # stored, nothing sent yet
    PREPARING = "preparing"  # snapshot, environment
    QUEUED = "queued"  # waiting for nodes or a slot (Azure's "scaling")
    RUNNING = "running"
    FINALIZING = "finalizing"  # user code has ended or is told to, outputs are being collected
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        return self in (State.COMPLETED, State.FAILED, State.CANCELED)


@dataclass(frozen=True, slots=True)
class Origin:
    """The place that set a value, and the place of its key (they differ for column numbers only)."""

    value: Place
    key: Place


@dataclass(frozen=True, slots=True)
class Config:
    """What Hydra composed.

    `values` is resolved and holds plain containers without the `hydra` node. `origins` maps the path of every
    leaf and mapping (`("trainer", "epochs")`, list indices as strings) to the place that set it. `overrides` are
    the command line's, in order and unchanged; `frozen` are overrides that pin every value which depends on the
    machine or the moment (`now`, `oc.env`, other resolvers), so that the node composes the same. `choices` maps a
    config group to its chosen option. `options` maps a group to all its options. `problems` holds what went wrong
    while composing (overrides that cannot be applied, unknown choices): the rest of the configuration is still here.
    """

    project: Path
    values: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origins: Mapping[tuple[str, ...], Origin] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def origin(self, *path: str) -> Origin:
        """The place that set `path`, or, where nothing set it, the nearest parent's."""
        for end in range(len(path), -1, -1):
            found = self.origins.get(tuple(path[:end]))
            if found is not None:
                return found
        place = Place("configs/config.yaml", 1, 1)
        return Origin(place, place)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How processes start. `processes_per_node` and `backend` may still be 'auto'. Per node everywhere."""

    kind: str
    nodes: int = 1
    processes_per_node: int | str = 1
    backend: str = "auto"
    engine: str = "torch"
    compression: str = "none"


@dataclass(frozen=True, slots=True)
class Code:
    """What runs. `kind` is 'module', 'script' or 'command'; `entry` is its value; `arguments` are strings."""

    kind: str
    root: Path
    entry: str | tuple[str, ...]
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A valid Config, typed: what is asked. `compute`, `env`, `workspace` keep the shape of their schemas."""

    config: Config
    name: str
    seed: int
    tags: Mapping[str, str]
    target: str
    compute: Mapping[str, Any]
    env: Mapping[str, Any]
    workspace: Mapping[str, Any]
    distribution: Distribution
    code: Code
    inputs: Mapping[str, Mapping[str, Any]]
    limits: Mapping[str, Any]
    require_clean: bool = False
    register: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Processes on nodes. `backend` is torch.distributed's ('gloo', 'nccl'), None for a single process."""

    kind: str
    nodes: int
    processes_per_node: int
    backend: str | None = None
    engine: str = "torch"

    @property
    def world_size(self) -> int:
        return self.nodes * self.processes_per_node

    def ranks(self) -> list[dict[str, int]]:
        """Every process: `{"rank", "node", "local_rank"}`, ranks of a node are consecutive."""
        per_node = self.processes_per_node
        return [{"rank": r, "node": r // per_node, "local_rank": r % per_node} for r in range(self.world_size)]


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """The code that travels, by content: sha256 over paths, modes and contents. A service may lose the modes."""

    digest: str
    files: int
    bytes: int
    executables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GitState:
    """The work tree's state. `dirty` lists changed and untracked files; `diff` is against HEAD, capped at 1 MB."""

    commit: str | None = None
    branch: str | None = None
    dirty: tuple[str, ...] = ()
    diff: str = ""
    diff_truncated: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Exactly what will be sent. Submitting reads nothing else.

    A process runs `[python, script, *arguments]`, or the words of `command`, or the bash line `shell`: one of the
    three. `environment` holds variables (no secret; `secrets` are names only). `resolved` says what every `auto` became
    and why. `not_checked` and `not_asked` name what no check has covered. `request` is the target's own view of the
    plan. `cost` is the estimate of runner.cost, empty where nothing is paid. `resumes` is the run whose outputs (its
    checkpoints) are there when this one starts. `workspace` is the name of the one it goes to, '' where it runs here or
    where no config.json says it yet.
    """

    id: str
    name: str
    target: str
    created: str
    project: str
    overrides: tuple[str, ...]
    frozen: tuple[str, ...]
    choices: Mapping[str, str]
    config: Mapping[str, Any]
    digests: Mapping[str, str]
    layout: Layout
    python: str
    script: str | None
    arguments: tuple[str, ...]
    command: tuple[str, ...]
    shell: str
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, Any]]
    limits: Mapping[str, Any]
    tags: Mapping[str, str]
    resolved: Mapping[str, str]
    snapshot: SnapshotRef
    git: GitState
    not_checked: tuple[str, ...] = ()
    not_asked: tuple[str, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    resumes: str | None = None
    workspace: str = ""

    @property
    def url(self) -> str:
        """`azureml://WORKSPACE/GROUP/RUN` means the same run on every machine."""
        return f"local://{self.id}" if self.target == "local" else f"azureml://{self.workspace}/{self.name}/{self.id}"

    def as_json(self) -> dict[str, Any]:
        done: dict[str, Any] = jsonable(self.parts())
        return done

    def parts(self) -> dict[str, Any]:
        """What `as_json` makes JSON of: the plan's own values, not copies of them."""
        data = {each.name: getattr(self, each.name) for each in fields(self)}
        data["layout"] = {**asdict(self.layout), "world_size": self.layout.world_size, "ranks": self.layout.ranks()}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        values = dict(data)
        layout = {k: v for k, v in values["layout"].items() if k not in ("world_size", "ranks")}
        git = {**values["git"], "dirty": tuple(values["git"]["dirty"])}
        for name in ("overrides", "frozen", "arguments", "command", "secrets", "not_checked", "not_asked"):
            values[name] = tuple(values[name])
        code = {**values["snapshot"], "executables": tuple(values["snapshot"].get("executables", ()))}
        values |= {"layout": Layout(**layout), "snapshot": SnapshotRef(**code), "git": GitState(**git)}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed: the first rank that did (None: not a rank's doing), what, the text that shows it, the log."""

    cause: str
    rank: int | None = None
    exit_code: int | None = None
    evidence: str = ""
    log: str | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What happened so far. Times are ISO 8601 with zone. `phases` lists every state entered, with its time.

    `page` is the address of the service's own page of the run, '' where it has none.
    """

    id: str
    url: str
    name: str
    target: str
    state: State
    created: str
    phases: tuple[tuple[str, str], ...] = ()
    ended: str | None = None
    failure: Failure | None = None
    note: str = ""
    page: str = ""

    def as_json(self) -> dict[str, Any]:
        done: dict[str, Any] = jsonable(asdict(self))
        return done

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Run:
        failure = Failure(**data["failure"]) if data.get("failure") else None
        phases = tuple((str(state), str(time)) for state, time in data.get("phases", ()))
        return cls(**{**data, "state": State(data["state"]), "failure": failure, "phases": phases})


@dataclass(frozen=True, slots=True)
class Log:
    """One log of a run. `rank` is None where it belongs to no process. `read(offset)` returns the bytes from there."""

    name: str
    rank: int | None
    read: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine offers a local run."""

    gpus: int
    cores: int


class Target(Protocol):
    """Where runs go. `request` is pure (no network, no clock); the others may ask the service or this machine."""

    def request(self, plan: Plan) -> dict[str, Any]:
        """The plan in the target's own terms."""

    def check(self, plans: list[Plan]) -> list[Problem]:
        """What the target would refuse. Read-only."""

    def submit(self, plans: list[Plan]) -> list[Run]:
        """Start stored plans. Raises TargetError; what was sent before the error stays in the history."""

    def states(self, runs: list[Run]) -> list[Run]:
        """The same runs as they are now: one query for all."""

    def logs(self, run: Run) -> list[Log]:
        """The logs there are now, ranks first, in order."""

    def metrics(self, run: Run) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl so far, in order."""

    def cancel(self, run: Run) -> None:
        """Ask the run to stop. Cancelling an ended run is not an error."""

    def fetch(self, run: Run, destination: Path) -> list[Path]:
        """Copy the run's outputs into `destination`; returns the files written."""


def jsonable(value: Any) -> Any:
    """Tuples to lists, enums to their values, recursively; what a plan knows of code and git to mappings."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (SnapshotRef, GitState)):
        return jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value


def encode_argument(value: Any) -> str:
    """JSON as one base64url word: no quote, `$`, space or `=` for a shell or Azure to touch."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_argument(word: str) -> Any:
    """What `encode_argument` was given."""
    return json.loads(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)))
