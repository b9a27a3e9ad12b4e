"""What may stand in YAML files and overrides, right and wrong, as Hypothesis strategies: fuel for test_fuzz."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((REPOSITORY / "configs").rglob("*.yaml"))
GROUPS = ("compute", "env", "distribution", "workspace", "data", "model", "optimizer", "schedule", "trainer", "sweep")
OPTIONS = (
    "local",
    "gpu-cluster",
    "mpi",
    "pytorch",
    "small_cnn",
    "resnet18",
    "sgd",
    "step",
    "lr-grid",
    "nothing",
    "fuzz",
)
KEYS = (
    *("compute", "kind", "slots", "max_nodes", "vm_size", "env", "variables", "secrets", "distribution", "nodes"),
    *("code", "script", "command", "arguments", "root", "inputs", "path", "mode", "limits", "max_minutes", "max_cost"),
    *("model", "_target_", "width", "trainer", "batch_size", "epochs", "checkpoint", "sweep", "params", "policy"),
    *("register", "name", "seed", "tags", "workspace", "auth", "defaults", "hydra", "run", "data", "optimizer", "lr"),
    *("x", "1", "a b", "_args_", "_self_", "__class__", "é", "a.b", "a-b", "''", "git", "require_clean"),
)
ODD_KEYS = (
    "1",
    "1.5",
    "null",
    "true",
    "~",
    "[a]",
    "{a: 1}",
    "? [a, b]\n",
    "!!binary aGk=",
    "2026-01-01",
    "*a",
    "&k key",
    "",
)
SCALARS = (
    *(
        "1",
        "-1",
        "0",
        "0.5",
        "true",
        "null",
        "~",
        "abc",
        "''",
        "'???'",
        "???",
        "on",
        "yes",
        "0o7",
        "0x10",
        "012",
        "1_0",
    ),
    *(".nan", "-.inf", "1e999", "1e-999", "9" * 400, "9" * 5000, "-0.0", "1:30", "2026-01-01", "2026-01-01T00:00:00Z"),
    *(
        "!!binary aGk=",
        "!!binary '='",
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "!!set {a}",
    ),
    *(
        "!!omap [a: 1]",
        "!!int abc",
        "!!float x",
        "!!bool 3",
        "!!timestamp x",
        "!!str 1",
        "!foo x",
        "!!merge x",
        "!!null ''",
    ),
    *(
        "*a",
        "*nothing",
        "&a 1",
        "&a {x: 1}",
        "&a [*a]",
        "&a {x: *a}",
        "${seed}",
        "${nothing}",
        "${.x}",
        "${...x}",
        "${a.b.c}",
    ),
    *(
        "${oc.env:HOME}",
        "${oc.env:NOT_SET}",
        "${now:%Y}",
        "${oc.decode:'['}",
        "${oc.create:{a: 1}}",
        "${oc.select:x,1}",
    ),
    *(
        "${",
        "$",
        "${}",
        "${x",
        "\\${x}",
        "${oc.env:",
        "${hydra:job.name}",
        "${compute}",
        "${trainer.epochs}",
        "${model}",
    ),
    *(
        "<<<<<<< HEAD",
        "=======",
        "\t1",
        "\ufeff1",
        "[1, 2",
        "{a: 1",
        "[]",
        "{}",
        "[null, [1]]",
        "{kind: local}",
        "}",
        "]",
    ),
    *(
        "amlcompute",
        "train.models.small_cnn.SmallCNN",
        "os.system",
        "torch.optim.SGD",
        "train..x",
        "input:x",
        "Standard_X",
    ),
    *(
        "|",
        ">",
        "|\n    a\n   b",
        "'",
        '"',
        "'\\udc80'",
        '"\\x00"',
        '"\\ud800"',
        '"\\uFFFF"',
        "%",
        "@x",
        "`",
        "-",
        "- x",
        "? x",
    ),
    *(
        "#",
        "a # b",
        "a: b",
        "a: b: c",
        "&",
        "*",
        "!",
        "{{x}}",
        "{? x}",
        "[a: 1, b]",
        "'a''b'",
        "ünï©ödé",
        "\u2028",
        "😀",
    ),
)
HEADERS = (
    *("# @package _global_",) * 12,
    *("# @package", "# @package foo", "# @package _group_", "# @package _global_.trainer", "# @package _name_", ""),
    *(
        "#@package _global_",
        "# @package: _global_",
        "# @package _global_ _global_",
        "\ufeff# @package _global_",
        "# @package a b",
    ),
)
ENTRIES = (
    *(
        "_self_",
        "override /model: resnet18",
        "override /model: nothing",
        "override /nothing: x",
        "override model: resnet18",
    ),
    *(
        "/model: small_cnn",
        "model: small_cnn",
        "optional /model: nope",
        "/model@m2: small_cnn",
        "/model: [small_cnn, resnet18]",
    ),
    *(
        "/model/resnet18",
        "fuzz",
        "/experiment/fuzz",
        "/experiment: fuzz",
        "digits",
        "folder",
        "nothing",
        "override /model: null",
    ),
    *(
        "override hydra/job_logging: none",
        "override hydra/launcher: nothing",
        "1",
        "null",
        "true",
        "[a]",
        "{}",
        "{a: b, c: d}",
    ),
    *(
        "''",
        "/model: ''",
        "/model: ${x}",
        "/model: ${oc.env:HOME}",
        "override /model@a.b: resnet18",
        "@",
        "/",
        "a@b: c",
        "override x",
    ),
    *(
        "/model: 1",
        "/model: {a: 1}",
        "/model: [1]",
        "/model: ../model/resnet18",
        "/../compute: local",
        "/model: resnet18.yaml",
    ),
)
FUNCTIONS = (
    "choice(1,2)",
    "range(1,3)",
    "range(1)",
    "interval(0,1)",
    "glob(*)",
    "sort(2,1)",
    "shuffle(1,2)",
    "tag(a,choice(1))",
)
CASTS = (
    "int(1.5)",
    "float(x)",
    "str([1])",
    "bool(no)",
    "json_str({a:1})",
    "extend_list(1)",
    "nothing(1)",
    "choice(",
    "range(a,b)",
)
VALUES = (
    *(
        "1",
        "0.5",
        "-1",
        "true",
        "null",
        "abc",
        "a b",
        "",
        "''",
        '""',
        "'a",
        "[1,2]",
        "[1,[2]]",
        "[",
        "{a:1}",
        "{a:{b:1}}",
        "{",
    ),
    *(
        "{a",
        "{1:2}",
        "{null:1}",
        "{}",
        "[]",
        "1,2",
        "a,b,",
        ",",
        "a=b",
        "=",
        "???",
        "nan",
        "inf",
        "1e999",
        "9" * 400,
        "${seed}",
    ),
    *(
        "${x}",
        "${",
        "${oc.env:HOME}",
        "${now:%Y}",
        "\\",
        "\\,",
        "\\'",
        "a\\",
        "$",
        "%",
        "@",
        "#",
        "*",
        "'é'",
        "😀",
        "\t",
        "\n",
    ),
    *(
        "'\n'",
        "\x00",
        "\ud800",
        "a:b",
        "a: b",
        '"a, b"',
        "'it''s'",
        "'a\\'b'",
        "{kind:local}",
        "[{a:1}]",
        "{a:[1,{b:2}]}",
    ),
    *FUNCTIONS,
    *CASTS,
)


def text_of_files() -> st.SearchStrategy[bytes]:
    """A file under configs/: made from the grammar, or a real one changed at random."""
    return made_files() | changed_files()


@st.composite
def made_files(draw: st.DrawFn) -> bytes:
    parts = [draw(st.sampled_from(HEADERS))]
    if draw(st.integers(0, 2)) == 0:
        parts += draw(defaults_lists())
    parts += draw(yaml_lines())
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        parts.insert(draw(st.integers(0, len(parts))), draw(st.sampled_from(WHOLE_LINES)))
    ending = draw(st.sampled_from(("\n", "\n", "\n", "\r\n", "\r", "\u2028")))
    text = ending.join(parts) + draw(st.sampled_from(("\n", "", "\n\n", "\r\n")))
    return draw(st.sampled_from(ENCODINGS))(text)


ENCODINGS = (
    *(lambda text: text.encode("utf-8", "surrogatepass"),) * 12,
    lambda text: b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass"),
    lambda text: text.encode("utf-16", "surrogatepass"),
    lambda text: text.encode("latin-1", "replace") + b"\xe9",
    lambda text: text.encode("utf-8", "surrogatepass").replace(b"x", b"\x00"),
    lambda _text: b"",
    lambda _text: b"# only a comment",
)
WHOLE_LINES = (
    *("---", "...", "--- ", "%YAML 1.1\n---", "%TAG ! x:", "<<<<<<< HEAD", "=======", ">>>>>>> main", "||||||| base"),
    *("<<: *a", "<<: {seed: 1}", "<<: [{seed: 1}, {name: b}]", "<<: 1", "<<: *nothing", "base: &a {seed: 1}", "*a : 1"),
    *("seed: 1\nseed: 2", "trainer: {epochs: 1, epochs: 2}", "- a", "just text", "'", "\t", "\tseed: 1", ":"),
    *("x: " + "[" * 100 + "]" * 100, "x: " + "[" * 3000, "x: " + "{a: " * 60 + "1" + "}" * 60),
    "x:\n" + "".join("\n" + " " * n + "a:" for n in range(1, 90)),
    *("a: &x [1]\nb: &y [*x, *x]\nc: &z [*y, *y]\nd: [*z, *z]", "x: &a\n  y: *a", "!!python/object:os.system {}"),
    *("!!set {a, b}", "# " + "y" * 5000, "? ", "x: !!binary aGk="),
    *("? {a: 1}\n: 2", "? |\n  block\n: 2", "1: 2", "null: 3", "true: 4", "1.5: 5", "2026-01-01: 6", "[a]: 7"),
)  # fmt: skip


@st.composite
def yaml_lines(draw: st.DrawFn, depth: int = 0) -> list[str]:
    """Lines of a mapping, indented, mostly well formed."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(KEYS * 2 + ODD_KEYS))
        pad = draw(st.sampled_from(["  "] * 15 + [" ", "\t", "   "])) * depth
        shape = draw(st.integers(0, 5))
        if depth < 3 and shape <= 2:
            lines += [f"{pad}{key}:", *draw(yaml_lines(depth=depth + 1))]
        elif shape == 3:
            lines += [f"{pad}{key}:", *(f"{pad}  - {draw(scalars())}" for _ in range(draw(st.integers(1, 2))))]
        else:
            lines.append(f"{pad}{key}: {draw(scalars())}")
    return lines


@st.composite
def defaults_lists(draw: st.DrawFn) -> list[str]:
    shape = draw(st.integers(0, 9))
    if shape == 0:
        return [f"defaults: {draw(scalars())}"]
    pad = draw(st.sampled_from(("  ", "", "\t")))
    return ["defaults:", *(f"{pad}- {draw(st.sampled_from(ENTRIES))}" for _ in range(draw(st.integers(1, 4))))]


def scalars() -> st.SearchStrategy[str]:
    return st.sampled_from(SCALARS) | st.text(max_size=6).filter(lambda text: "\n" not in text)


@st.composite
def changed_files(draw: st.DrawFn) -> bytes:
    """One to four cuts, copies and insertions in a file that is right."""
    text = draw(st.sampled_from(FILES)).read_bytes()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 20)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=3))
        text = draw(st.sampled_from((text[:at] + piece + text[at:], text[:at] + text[end:], text[:end] + text[at:])))
    return text


PIECES = (
    b"\t",
    b"\n",
    b" ",
    b":",
    b"- ",
    b"#",
    b"'",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"&a ",
    b"*a",
    b"<<: ",
    b"???",
    b"\r",
)


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """An override as people type it: of a group, of a value, or something near it."""
    prefix = draw(st.sampled_from(("", "", "", "", "+", "++", "~", "-", "+++", "~~")))
    if draw(st.integers(0, 3)) == 0:
        group = draw(
            st.sampled_from((*GROUPS, "experiment", "nothing", "hydra/launcher", "hydra/job_logging", "/model", ""))
        )
        package = draw(st.sampled_from(("", "", "", "@x", "@a.b", "@_global_", "@", "@:x", "@x:y")))
        option = draw(st.sampled_from((*OPTIONS, *FUNCTIONS, "[a,b]", "null", "", "1", "{a:1}")))
        return f"{prefix}{group}{package}={option}"
    key = ".".join(draw(st.lists(st.sampled_from((*KEYS, "0", "", "x[0]", "hydra")), min_size=1, max_size=4)))
    value = draw(st.sampled_from(VALUES) | st.text(max_size=5))
    return f"{prefix}{key}" + (f"={value}" if draw(st.integers(0, 11)) else "")
