"""The tables: known causes of failure, what signals mean, and how a rank fails because another one did.

A row of CAUSES is looked for in what shows the failure (a traceback's exception, a crash report, the last lines), never
in the whole log of a rank: an old warning does not mislead. docs/diagnose.md shows the tables; a test holds it to them.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """A known cause: what shows it, what it is called (`{line}`: the line that shows it), what to do.

    `node`: it is also looked for in logs that belong to no process (image build, image pull, job preparation).
    `weak`: words that logs contain without failing; alone at the end of a log, with no exit code, they show nothing.
    """

    kind: str
    pattern: re.Pattern[str]
    name: str
    advice: str
    node: bool = False
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """What the signal that ended a process usually means. `decisive`: it says more than the last lines of the log."""

    kind: str
    name: str
    advice: str
    decisive: bool = True


@dataclass(frozen=True, slots=True)
class Consequence:
    """How a rank fails when another has failed: what it says then, and what that is called."""

    name: str
    pattern: re.Pattern[str]


def cause(kind: str, pattern: str, name: str, advice: str, *, node: bool = False, weak: bool = False) -> Cause:
    return Cause(kind, re.compile(pattern, re.MULTILINE), name, advice, node, weak)


def consequence(name: str, pattern: str) -> Consequence:
    return Consequence(name, re.compile(pattern, re.MULTILINE))


LESS_MEMORY = "use a smaller batch, fewer data loader workers, or a machine with more memory"
MORE_SHARED = "raise env.shm_size (Azure, Docker) or /dev/shm here, or use fewer data loader workers"
NATIVE_CRASH = (
    "a native extension crashed: look for packages built for another version, the stack (if any) names the module"
)
PREEMPTED = (
    "the node was taken away: set trainer.resume, keep checkpoints in ./outputs, or use compute.priority=dedicated"
)

# First match wins.
CAUSES = (
    cause(
        "gpu_memory",
        r"CUDA out of memory|OutOfMemoryError.*CUDA|CUBLAS_STATUS_ALLOC_FAILED|HIP out of memory"
        r"|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|Cuda failure 'out of memory'",
        "out of GPU memory: {line}",
        "lower trainer.batch_size, use gradient accumulation or mixed precision, or a GPU with more memory",
    ),
    cause(
        "shared_memory",
        r"[Bb]us error\b|unable to (mmap|open|allocate|write to) .*shared memory|insufficient shared memory"
        r"|No space left on device.*(/dev/shm|torch_\d+)|unable to resize file .*to the right size",
        "out of shared memory: {line}",
        MORE_SHARED,
    ),
    cause(
        "disk_full",
        r"No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 27\]|DiskFullError|[Dd]isk full while"
        # torch.save has no other words for it
        r"|basic_ios::clear: iostream error|PytorchStreamWriter failed writing"
        r"|inline_container\.cc:\d+\] \. unexpected pos",
        "disk full: {line}",
        "free space, keep fewer checkpoints, or use a larger disk",
        node=True,
    ),
    cause(
        "host_memory",
        r"killed by signal: Killed|^MemoryError\b|DefaultCPUAllocator: (can't|not enough)|Cannot allocate memory"
        r"|^Killed$|^\S*bash: line \d+: +\d+ Killed|OOMKilled|oom-kill|Out of memory: Killed process",
        "out of memory: {line}",
        LESS_MEMORY,
        node=True,
    ),
    cause(
        "labels",
        r"device-side assert triggered|Assertion `t >= 0 && t < n_classes` failed|Target -?\d+ is out of bounds"
        r"|srcIndex < srcSelectDimSize",
        "a label or index is out of range: {line}",
        "check the number of classes against the labels; on a GPU run it on the CPU or with CUDA_LAUNCH_BLOCKING=1 "
        "to see where",
    ),
    cause(
        "gpu_unusable",
        r"CUDA driver version is insufficient|NVIDIA driver on your system is too old|no kernel image is available"
        r"|Found no NVIDIA driver|No CUDA GPUs|CUDA-capable device\(s\) is/are busy|not compiled with CUDA enabled"
        r"|invalid device ordinal|libcuda\.so|nvidia-container-cli: .*error|system not yet initialized",
        "the GPU cannot be used: {line}",
        "choose a PyTorch build or image that fits the GPU and its driver, a process for each GPU and no more, "
        "or distribution.backend=gloo without GPUs",
        node=True,
    ),
    cause(
        "same_gpu",
        r"Duplicate GPU detected",
        "two processes use the same GPU: {line}",
        "give each process its own: torch.cuda.set_device(LOCAL_RANK), and no more processes per node than GPUs",
    ),
    cause(
        "nccl_start",
        r"ncclInvalidUsage|ncclUnhandledCudaError|ncclSystemError"
        r"|NCCL [Ee]rror.*unhandled (system|cuda) error",
        "NCCL could not start: {line}",
        "set NCCL_DEBUG=INFO in env.variables: it says which; often shared memory, the network interface "
        "(NCCL_SOCKET_IFNAME), or a driver that does not fit",
    ),
    cause(
        "port_in_use",
        r"EADDRINUSE|Address already in use",
        "the port is taken: {line}",
        "another run or an orphan of one uses it: end that, or choose another MASTER_PORT",
    ),
    cause(
        "script_missing",
        r"can't open file '.*': \[Errno 2\]",
        "script not found: {line}",
        "check code.script, and that no ignore file keeps it out of the snapshot ('amlrun plan' lists it)",
    ),
    cause(
        "program_missing",
        r"^cannot start '|: command not found$|executable file not found in",
        "program not found: {line}",
        "name a program that the environment (env) has, or add it there",
    ),
    cause(
        "import",
        r"^(ModuleNotFoundError|ImportError):|cannot open shared object file|undefined symbol: ",
        "import failed: {line}",
        "add the package to the environment (env), or the module's folder to the code that travels (code.root)",
    ),
    cause(
        "not_python",
        r"^(SyntaxError|IndentationError|TabError):",
        "the code is not valid Python: {line}",
        "correct that line; if it is valid here, the environment's Python is older",
    ),
    cause(
        "data_access",
        r"StreamAccess|DataAccessError|Dataset\w*MountValidation|Cannot mount dataset|AZFMountError|DataStoreMountError"
        r"|[Uu]nable to mount|Could not mount|[Mm]ount(ing)? .*failed|Found no resources for the input",
        "the data could not be read or mounted: {line}",
        "check inputs (datastore, path, version) and that the compute's identity has 'Storage Blob Data Reader'",
        node=True,
    ),
    cause(
        "image_pull",
        r"FailedPullingImage|manifest unknown|manifest for \S+ not found|toomanyrequests|pull access denied"
        r"|unauthorized: authentication required|ImagePull(BackOff|Failed)|[Ff]ailed to pull image"
        r"|connect to the container registry",
        "the image could not be pulled: {line}",
        "check the image's name and tag (env.image), and that the workspace may read its registry; "
        "'toomanyrequests': wait, or use a registry with an account",
        node=True,
    ),
    cause(
        "environment",
        r"ResolvePackageNotFound|PackagesNotFoundError|UnsatisfiableError|ResolutionImpossible|No matching distribution"
        r"|Could not find a version that satisfies|Cannot install .* because|CondaEnvException|CondaValueError"
        r"|Could not solve for environment specs|Creating conda environment failed|error: metadata-generation-failed",
        "the environment could not be built: {line}",
        "correct the named packages in the conda file or env.pip: a version that exists for that Python and platform, "
        "and pins that agree",
        node=True,
    ),
    cause(
        "quota",
        r"vCPU quota|OutOfQuota|NodeCountExceedsCoreQuota|exceeding approved .*quota|[Nn]ot enough .*quota"
        r"|QuotaExceeded|CoreQuota",
        "over quota: {line}",
        "ask for more of that VM family's quota in this region, use fewer or other nodes, or wait for running jobs",
        node=True,
    ),
    cause(
        "preempted",
        r"PreemptionError|got pre-?empted|pre-?emption warning|[Nn]ode (was |got |has been )?(pre-?empted|evicted)"
        r"|NodeLost|[Nn]ode has been lost|[Ll]ost (heartbeat|contact|connection) (of|from|with|to) (the )?node",
        "preempted: {line}",
        PREEMPTED,
        node=True,
    ),
    cause(
        "snapshot_size",
        r"total snapshot size exceeds|exceeds the file limit of|project size is .* exceeds the limit",
        "the code is too big to travel: {line}",
        "leave data and outputs out with .amlignore ('amlrun plan' lists the biggest); data belongs in inputs",
        node=True,
    ),
    cause(
        "sign_in",
        r"AADSTS\d+|AuthenticationException|AuthenticationError|ClientAuthenticationError|CredentialUnavailable"
        r"|DefaultAzureCredential failed|AuthorizationFailed|AuthorizationPermissionMismatch|40[13] Client Error",
        "not signed in, or not allowed: {line}",
        "check workspace.auth and the roles of that identity; an expired login is renewed with 'az login'",
        node=True,
    ),
    cause(
        "segfault",
        r"Fatal Python error: Segmentation fault|Segmentation fault \(core dumped\)|^Segmentation fault$"
        r"|killed by signal: Segmentation fault|Signal: Segmentation fault",
        "crashed (segmentation fault): {line}",
        NATIVE_CRASH,
    ),
    cause(
        "data_loader",
        r"DataLoader worker \(pid\(?s?\)? ?[\d, ]+\) (exited unexpectedly|is killed by signal: (?!Terminated))",
        "a data loader worker died: {line}",
        "run it with no workers to see its own error; without one it was killed: memory, or a native library",
    ),
    cause(
        "pickling",
        r"PicklingError|[Cc]an't pickle|[Cc]annot pickle|Can't get local object",
        "an object cannot be sent to another process: {line}",
        "use functions and classes of a module (no lambda, no local one, no open file) in data sets given to workers",
    ),
    cause(
        "diverged",
        r"^train: the (test )?loss ",
        "the training diverged: {line}",
        "lower optimizer.lr, clip gradients, or look at the data of that step",
    ),
    cause(
        "another_configuration",
        r"^train: this node composed another configuration",
        "another configuration than the one submitted: {line}",
        "the node's code or Hydra differs from here: commit, plan again, and compare both with 'amlrun config'",
    ),
    cause(
        "refused",
        r"^train: (?!\[?\d|epoch|step|batch|iter|loss|acc|\w+=|tracker ')",  # what goes on after
        "the training refused its configuration: {line}",
        "do what the line says; 'amlrun config' shows which file or override set the value",
    ),
    cause(
        "hydra",
        r"^Could not override '|^Could not load '|^Could not find '|^Key '.*' is not in struct|^LexerNoViableAlt"
        r"|^mismatched input |^Primary config |^You must specify '|^Multiple values for |^Ambiguous value for "
        r"|^hydra\.errors\.|^omegaconf\.errors\.",
        "Hydra refused the configuration: {line}",
        "correct the override or the file: +key=value adds a key, group=option must exist under configs/",
    ),
    cause(
        "usage",
        r"^\S[^\n:]*: error: (the following arguments|unrecognized arguments|argument |ambiguous option)",
        "wrong arguments: {line}",
        "correct code.arguments: the usage text above names what the script takes",
    ),
    cause(
        "too_many_files",
        r"Too many open files|\[Errno 24\]",
        "too many open files: {line}",
        "close files, use fewer workers, or torch.multiprocessing.set_sharing_strategy('file_system')",
    ),
    cause(
        "network",
        r"Temporary failure in name resolution|Name or service not known|Max retries exceeded with url|<urlopen error",
        "a download or a service failed: {line}",
        "bring the data in as an input instead of downloading it, or check the network's rules and the address",
        weak=True,
    ),
    cause(
        "file_missing",
        r"^FileNotFoundError:|^NotADirectoryError:|No such file or directory",
        "a file is missing: {line}",
        "check inputs and paths: the working directory holds a copy of the code and nothing else",
        weak=True,
    ),
    cause(
        "permission",
        r"^PermissionError:|Permission denied",
        "permission denied: {line}",
        "write to ./outputs, and read what the inputs name",
        weak=True,
    ),
    cause(
        "image_build",
        r"returned a non-zero code: \d+|failed to run step ID|Docker image build failed|ImageBuildFailure",
        "the image could not be built: {line}",
        "look at the step above that failed: a Dockerfile's command, a file it copies, a package",
        node=True,
    ),
)
# In a chain of exceptions these count even if a later one says something else: nothing recovers from them.
STRONG = {"gpu_memory", "shared_memory", "disk_full", "host_memory"}

SIGNALS: Mapping[int, Signal] = {
    signal.SIGKILL: Signal("host_memory", "killed by SIGKILL: most likely out of memory", LESS_MEMORY),
    signal.SIGBUS: Signal(
        "shared_memory", "killed by SIGBUS (bus error): most likely out of shared memory", MORE_SHARED
    ),
    signal.SIGSEGV: Signal("segfault", "killed by SIGSEGV (segmentation fault)", NATIVE_CRASH),
    signal.SIGABRT: Signal(
        "aborted", "killed by SIGABRT (aborted)", "a native library gave up: its message is in the log", decisive=False
    ),
    signal.SIGILL: Signal(
        "illegal_instruction",
        "killed by SIGILL (illegal instruction)",
        "a package was built for another kind of CPU: install it for this one",
    ),
    signal.SIGTERM: Signal(
        "terminated",
        "killed by SIGTERM",
        "something outside the run ended it: a preempted node, or a person",
        decisive=False,
    ),
}

# What the launcher says when a process of its own has failed: never a cause, the process itself knows better.
SUMMED_UP = "only its launcher's summary"
SUMMARY = re.compile(
    r"ChildFailedError|CalledProcessError: Command .* returned non-zero exit status|ProcessExitedException"
)

CONSEQUENCES = (
    consequence("Horovod has been shut down", r"Horovod has been shut down|HorovodInternalError"),
    consequence(
        "a collective timed out",
        r"Watchdog caught collective operation timeout|Timed out waiting \d+ ?ms|[Ww]ait timeout after"
        r"|Application timeout caused pair closure|failed to pass monitoredBarrier|Socket Timeout"
        r"|Some NCCL operations have failed or timed out|[Cc]lient socket has timed out"
        r"|Timed out after \d+ seconds waiting for clients|reached monitoredBarrier, but received errors",
    ),
    consequence(
        "connection closed",
        r"Connection closed by( remote)? peer|Connection reset by peer|Broken ?pipe|Connection refused|Socket closed"
        r"|[Rr]emote process exited|ncclRemoteError|NCCL communicator was aborted|recvValue failed|DistNetworkError"
        r"|DistStoreError|[Cc]lient socket has failed to connect",
    ),
    consequence(
        "stopped by its launcher",
        r"SignalException|[Rr]eceived 15 death signal|got signal: 15|killed by signal: Terminated|^Terminated$"
        r"|Signal 15 \(SIGTERM\) received|^KeyboardInterrupt|^SystemExit",
    ),
    consequence("lost the rendezvous", r"Rendezvous(Connection|Closed|Timeout)Error"),
    consequence(SUMMED_UP, SUMMARY.pattern),
)
