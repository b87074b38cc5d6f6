"""``python -m evalib``: its commands with their options, what each calls, and how it ends."""

import argparse
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from evalib.ablations import ABLATIONS
from evalib.experiments import TABLE_1, load_rows

ABOUT = (
    "Train, test and compare the networks, one command each; COMMAND --help explains its options."
)
FOLDERS = (
    "The environment variable EVALIB_DATA names the folder of the data set (default: data/), "
    "EVALIB_HOME the one that holds data/ and results/ (default: the checkout, or where the "
    "command is given)."
)
FAULTS = (ValueError, RuntimeError, ArithmeticError, MemoryError, OSError, ModuleNotFoundError)
"""What a user can mend: it is said on stderr, without a traceback."""


def main(argv: list[str] | None = None) -> int:
    """Run one command, and give its exit status.

    What the user can mend is said on stderr, with status 2. Ctrl-C, and the SIGTERM by which a
    cluster ends a job, stop a run at its last checkpoint: status 130.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")  # whatever the code page of a terminal or pipe
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments = parser().parse_args(argv)
        load_rows(arguments.module)
        status = arguments.call(arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # as after `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except FAULTS as error:
        print(f"evalib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "evalib: stopped; a run goes on from its last checkpoint by the same command",
            file=sys.stderr,
        )
        return 130


# Options


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    main = argparse.ArgumentParser(prog="python -m evalib", description=ABOUT, epilog=FOLDERS)
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_training(commands)
    add_results(commands)
    add_batch(commands)
    for command in commands.choices.values():
        command.epilog = FOLDERS
        command.add_argument(
            "--module", type=Path, help="a Python file that registers rows of your own"
        )
    return main


def add_training(commands) -> None:
    """``train`` and ``data``."""
    from evalib.training.settings import PRECISIONS, TIERS

    rows = ", ".join(row.name for row in TABLE_1)
    ablations = ", ".join(row.name for row in ABLATIONS)
    tiers = "; ".join(
        f"{name}: {tier.data} data, {tier.epochs} epochs" for name, tier in TIERS.items()
    )

    train = commands.add_parser("train", help="train a row of Table 1, or an ablation")
    option = train.add_argument
    option("--experiment", required=True, help=f"{rows}; or an ablation: {ablations}")
    option("--seeds", type=int, nargs="+", default=[0], help="several in turn (default: 0)")
    option("--tier", default="smoke", help=f"{tiers} (default: smoke)")
    option("--epochs", type=int, help="instead of the tier's; such a record stays out of the table")
    option(
        "--batch-size",
        type=int,
        default=150,
        help="images a step (default: 150); another stays out of the table",
    )
    option("--learning-rate", type=float, help="instead of the recipe's; stays out of the table")
    option("--precision", choices=PRECISIONS, help="(default: bf16 on a GPU that computes in it)")
    option("--device", help="cuda, mps or cpu (default: the best there is)")
    on_or_off = argparse.BooleanOptionalAction
    option(
        "--compile", action=on_or_off, default=None, help="the step (default: on a GPU, not smoke)"
    )
    option(
        "--overwrite", action="store_true", help="begin anew; what is there moves to superseded/"
    )
    add_out(train)
    train.set_defaults(call=call_train)

    data = commands.add_parser("data", help="fetch the full CIFAR-10, or CIFAR-100, and verify it")
    data.add_argument("which", nargs="?", choices=("full", "cifar100"), default="full")
    data.add_argument("--directory", type=Path, help="where to keep it (default: data/)")
    data.set_defaults(call=call_data)


def add_results(commands) -> None:
    """``evaluate``, ``table``, ``claims`` and ``export``."""
    from evalib.results.export import FORMATS as FILES
    from evalib.results.tables import FORMATS
    from evalib.training.settings import TIERS

    evaluate = commands.add_parser("evaluate", help="test trained weights again")
    evaluate.add_argument(
        "--weights", required=True, help="a weights file, or the name of an experiment"
    )
    evaluate.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    evaluate.set_defaults(call=call_evaluate)

    table = commands.add_parser("table", help="print Table 1 as far as there are records")
    table.add_argument("--ablations", action="store_true", help="the ablations instead")
    table.add_argument("--tier", choices=TIERS, help="(default: of each row the highest recorded)")
    table.set_defaults(call=call_table)
    claims = commands.add_parser("claims", help="the paper's claims, each with a verdict")
    claims.set_defaults(call=call_claims)
    for command in (table, claims):
        command.add_argument("--format", choices=FORMATS, default="md", help="(default: md)")

    export = commands.add_parser("export", help="a trained network as one file, without evalib")
    export.add_argument("weights", help="a weights file, or the name of an experiment")
    export.add_argument("--format", choices=FILES, help="(default: by the name of FILE, else onnx)")
    export.add_argument("--to", type=Path, metavar="FILE", help="(default: the experiment's name)")
    export.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    export.set_defaults(call=call_export)
    for command in (evaluate, table, claims, export):
        add_out(command)


def add_batch(commands) -> None:
    """``plan``, ``reproduce`` and ``notebook``."""
    from evalib.batch.notebook import Parameters
    from evalib.training.settings import TIERS

    plan = commands.add_parser("plan", help="which runs are done, begun or to do, and the time")
    plan.set_defaults(call=call_plan)
    reproduce = commands.add_parser("reproduce", help="make all that the plan lists, by Snakemake")
    reproduce.add_argument("--profile", default="local", help="local, slurm, or a profile's folder")
    reproduce.add_argument("--no-book", action="store_true", help="the runs and the table alone")
    reproduce.add_argument("snakemake", nargs="*", help="after --, options that go on to Snakemake")
    reproduce.set_defaults(call=call_reproduce)
    for command in (plan, reproduce):
        option = command.add_argument
        option("--tier", default="smoke", help=f"{', '.join(TIERS)} (default: smoke)")
        option(
            "--seeds", default="all", help='all, first (of each row), or as "0 1" (default: all)'
        )
        option("--epochs", type=int, help="instead of the tier's")
        option("--manifest", type=Path, help="(default: workflow/manifest.csv)")
        add_out(command)

    notebook = commands.add_parser("notebook", help="a run, or several seeds, as a notebook")
    pair, names = ("NAME", "VALUE"), ", ".join(Parameters.model_fields)
    notebook.add_argument("-p", nargs=2, action="append", default=[], metavar=pair, help=names)
    notebook.set_defaults(call=call_notebook)


def add_out(command) -> None:
    command.add_argument("--out", type=Path, help="where records are kept (default: results/)")


# What each command calls


def call_train(arguments: argparse.Namespace) -> int:
    """Train each seed. Status 1 if one of several was stopped by a fault, named on stderr."""
    from evalib.results import records
    from evalib.results.run import run_in_turn
    from evalib.training.settings import Settings

    names = ("experiment", "tier", "epochs", "batch_size", "learning_rate", "precision")
    given = {name: getattr(arguments, name) for name in names}
    seeds = dict.fromkeys(arguments.seeds)  # each once
    runs = [Settings(seed=seed, **given) for seed in seeds]

    outcomes = run_in_turn(
        runs,
        arguments.out,
        arguments.device,
        overwrite=arguments.overwrite,
        compile=arguments.compile,
    )
    for settings, outcome in zip(runs, outcomes, strict=True):
        if isinstance(outcome, Exception):
            if len(runs) == 1 or not isinstance(outcome, FAULTS):
                raise outcome
            name = f"{settings.experiment} seed {settings.seed}"
            print(f"evalib: {name}: {outcome}", file=sys.stderr)
            continue
        path = records.record_path(settings, arguments.out)
        record = records.read(path)
        accuracy, source = record["test"]["accuracy"], record["data"]["source"]
        print(f"{path}: test accuracy {accuracy:.2f} % ({source} data, {record['device']})")
        if "warning" in record:
            print(f"evalib: {path}: {record['warning']}", file=sys.stderr)
    return int(any(isinstance(outcome, Exception) for outcome in outcomes))


def call_data(arguments: argparse.Namespace) -> None:
    from evalib.training import cifar

    found = cifar.load_data(arguments.which, arguments.directory)
    name = {"full": "CIFAR-10", "cifar100": "CIFAR-100"}[arguments.which]
    print(
        f"{name}: {len(found.train_labels)} training and {len(found.test_labels)} test"
        f" images in {len(found.classes)} classes\nSHA-256 {found.fingerprint}"
    )


def call_evaluate(arguments: argparse.Namespace) -> None:
    from evalib.results import weights

    path = weights.find_weights(arguments.weights, arguments.out)
    outcome = weights.count_right(path, arguments.device)
    _, record = weights.read_weights(path)
    correct, test = outcome["correct"], record["test"]
    print(
        f"{record['experiment']} seed {record['seed']}: {correct} of {test['images']} test images"
        f" right ({100 * correct / test['images']:.2f} %), recorded: {test['correct']}"
    )
    if fault := weights.compare_counts(record, outcome):
        raise ValueError(f"{path}: {fault}")


def call_table(arguments: argparse.Namespace) -> None:
    from evalib.results import tables
    from evalib.results.records import check_folder
    from evalib.training.settings import TIERS

    check_folder(arguments.out)
    tiers = (arguments.tier,) if arguments.tier else tuple(TIERS)
    if arguments.ablations:
        rows, as_markdown = tables.ablations, tables.ablations_markdown
    else:
        rows, as_markdown = tables.table, tables.markdown
    show(lambda: tables.dumps(rows(arguments.out, tiers), arguments.format, as_markdown))


def call_claims(arguments: argparse.Namespace) -> None:
    from evalib.results import claims, tables
    from evalib.results.records import check_folder

    check_folder(arguments.out)

    def text() -> str:
        found = claims.judge_claims(arguments.out)
        rows = [claim._asdict() for claim in found]
        return tables.dumps(rows, arguments.format, lambda _: claims.markdown(found))

    show(text)


def call_export(arguments: argparse.Namespace) -> None:
    from evalib.results.export import FORMATS as FILES
    from evalib.results.export import export
    from evalib.results.weights import find_weights, load_weights, read_weights
    from evalib.training.data import CLASSES

    taken = find_weights(arguments.weights, arguments.out)
    _, record = read_weights(taken)
    path = arguments.to or Path(f"{record['experiment']}{FILES[arguments.format or 'onnx']}")
    kind = arguments.format or ("onnx" if path.suffix not in FILES.values() else None)
    export(load_weights(taken), path, kind, CLASSES, overwrite=arguments.overwrite)
    print(f"{path}: images, uint8 n 3 32 32, in; scores, n 10, out; weights of {taken}")


def call_plan(arguments: argparse.Namespace) -> None:
    from evalib.batch import manifest

    runs = manifest.read_manifest(
        arguments.manifest, arguments.tier, arguments.seeds, arguments.epochs
    )
    print(manifest.describe(manifest.plan(runs, arguments.out), arguments.out))


def call_reproduce(arguments: argparse.Namespace) -> int:
    from evalib.batch.reproduce import reproduce

    asked = {
        name: getattr(arguments, name) for name in ("tier", "seeds", "epochs", "out", "manifest")
    }
    done = reproduce(asked, arguments.profile, not arguments.no_book, arguments.snakemake)
    return 0 if done else 1


def call_notebook(arguments: argparse.Namespace) -> None:
    from evalib.batch.notebook import parse, run_notebook

    print(*run_notebook(parse(arguments.p)), sep="\n")


def show(text: Callable[[], str]) -> None:
    """Print a text made of records; then, on stderr, each file that was left out of it."""
    with warnings.catch_warnings(record=True, action="always") as left_out:
        shown = text()
    print(shown)
    for line in dict.fromkeys(str(warning.message) for warning in left_out):
        print(f"evalib: {line}", file=sys.stderr)
