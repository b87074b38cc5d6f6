"""What the project is built from, and what it gives away: pins and hashes, licences, no pickles, no
secrets.
"""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
TRACKED = subprocess.run(
    ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True
).stdout
TEXTS = [
    ROOT / name
    for name in TRACKED.split("\0")
    if name
    and not name.startswith("_extra")
    and Path(name).suffix not in (".png", ".woff", ".npz", ".safetensors")
]
SECRET = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}|hf_[A-Za-z0-9]{30,}|xox[abp]-\w{10,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|(?i:(?:password|api_key|secret|token)\s*[=:]\s*[\"'][\w/+=-]{12,}[\"'])"
)
LOCAL = re.compile(
    r"(?<![\w.$}])/(?:home|Users|root|work|content(?!/drive\b))/\w|/tmp/\w+/\w|[A-Z]:\\\\Users"
)
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNPICKLES = {"torch.load", "pandas.read_pickle", "pd.read_pickle"}
CODE = [
    path
    for path in TEXTS
    if path.suffix == ".py" and path.parent.name != "tests" and path.parents[1].name != "tests"
]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path):
    return {normal(name): version for name, version in PIN.findall((ROOT / path).read_text())}


def test_every_requirement_is_pinned_and_known_by_its_hashes():
    text = (ROOT / "requirements.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    bare = [
        entry.split()[0]
        for entry in entries
        if not PIN.match(entry) or "--hash=sha256:" not in entry
    ]
    assert not bare, f"{bare} have no version or no hash: make lock"
    assert not re.search(r"https?://|--(?:extra-)?index-url|--find-links", text)


def test_what_is_asked_for_is_pinned():
    asked = [
        line.split("#")[0].strip() for line in (ROOT / "requirements.in").read_text().splitlines()
    ]
    names = {normal(re.split(r"[<>=!~\[]", line)[0]) for line in asked if line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    names |= {normal(re.split(r"[<>=!~\[]", line)[0]) for line in ranges} - {"evalib"}
    assert names <= set(pins("requirements.txt"))
    assert not any("==" in line for line in ranges), "Colab keeps its own versions: ranges only"


def test_the_licences_of_the_dependencies_are_listed():
    listing = runpy.run_path(str(ROOT / "scripts" / "licences.py"))["listing"]()
    kept = (ROOT / "LICENCES.md").read_text().splitlines()
    listed = {line.split(" | ")[0] for line in kept}
    whole = sys.platform == "linux" and sys.version_info[:2] == (3, 11)  # others need some more
    lines = [line for line in listing.splitlines() if whole or line.split(" | ")[0] in listed]
    assert not [line for line in lines if line not in kept], "make lock"
    assert "not stated" not in listing


def names(path):
    """The dotted names that a module imports or calls, with the keywords of the call."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((each.name, {}) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{each.name}", {}) for each in node.names)
        elif isinstance(node, ast.Call):
            yield (
                ast.unparse(node.func),
                {word.arg: ast.unparse(word.value) for word in node.keywords},
            )


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    for name, words in names(path):
        assert name not in UNPICKLES and name.partition(".")[0] not in UNPICKLERS, name
        if name in ("np.load", "numpy.load"):
            assert words.get("allow_pickle") == "False", "np.load without allow_pickle=False"


def test_no_text_holds_a_secret_or_a_path_of_somebodys_machine():
    for path in TEXTS:
        if path != Path(__file__).resolve():
            text = path.read_text(encoding="utf-8")
            assert not SECRET.search(text), (path, SECRET.search(text)[0])
            if "tests" not in path.relative_to(ROOT).parts:
                assert not LOCAL.search(text), (path, LOCAL.search(text)[0])


def test_actions_are_pinned_by_commit_and_may_do_little():
    paths = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert paths
    for path in paths:
        uses = re.findall(r"uses: (\S+)(.*)", path.read_text())
        assert uses
        for action, comment in uses:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), (path, action)
            assert re.fullmatch(r"\s+# v\d+\.\d+\.\d+", comment), (path, action)
        workflow = yaml.safe_load(path.read_text())
        assert "pull_request_target" not in workflow[True], (
            f"{path}: it would run a stranger's code with our rights"
        )
        assert path.read_text().count("actions/checkout@") == path.read_text().count(
            "persist-credentials: false"
        ), path
        assert workflow["permissions"] == {"contents": "read"}, path
        for name, job in workflow["jobs"].items():
            assert set(job.get("permissions", {})) <= (
                {"pages", "id-token"} if name == "deploy" else set()
            ), path


def test_jobs_that_install_from_the_checkout_have_all_of_it():
    """pip clones in part, and of a shallow clone git then looks for the rest for ever."""
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            commands = " ".join(step.get("run", "") for step in job["steps"])
            if re.search(r"\.ci/run|test-door|test-lowest|in_colab", commands):
                takes = [s for s in job["steps"] if "actions/checkout" in s.get("uses", "")]
                assert [s["with"].get("fetch-depth") for s in takes] == [0], (path.name, name)


def test_licences_are_named_alike_everywhere():
    readme, config = (ROOT / "README.md").read_text(), (ROOT / "_config.yml").read_text()
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert "Attribution 4.0 International" in (ROOT / "LICENSE-TEXT").read_text()
    for text in (readme, config):
        assert "CC BY 4.0" in text and "MIT" in text


def test_the_version_is_the_newest_of_the_changes_everywhere():
    version, date = re.search(
        r"^## (\S+), (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    ).groups()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], str(citation["date-released"])) == (version, date)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == version


def test_pre_commit_runs_targets_that_exist():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for hook in hooks:
        program, *rest = hook["entry"].split()
        assert (program == "make" and set(rest) <= targets) or program == ".venv/bin/python", hook


def test_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):(.*)$", makefile, re.MULTILINE)
    assert all("## " in rest for _, rest in targets), "make help"
    said = subprocess.run(
        ["make", "-s", "-C", ROOT, "help"], capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[0] for line in said.splitlines()} == {name for name, _ in targets}
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", makefile, re.MULTILINE)[1]
    assert set(phony.replace("\\\n", " ").split()) == {name for name, _ in targets}
