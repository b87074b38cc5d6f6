"""The commands of ``python -m evalib``: their options, and what each calls."""

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from evalib.ablations import ABLATIONS
from evalib.batch import gpus, manifest, reproduce
from evalib.batch.faults import FAULTS, said
from evalib.batch.notebook import KINDS, parse, run_notebook
from evalib.experiments import TABLE_1
from evalib.results import claims, comparisons, evaluation, export, records, tables, weights
from evalib.results.files import check_folder
from evalib.training import data
from evalib.training.progress import tensorboard
from evalib.training.settings import PRECISIONS, TIERS, Settings

MOVES = (
    "The environment variable EVALIB_DATA names the folder of the data set (default: data/), EVALIB_HOME the one that holds "
    "data/ and results/ (default: the checkout, or where the command is given)."
)


def parser(description: str | None = None) -> argparse.ArgumentParser:
    """The commands and their options."""
    main = argparse.ArgumentParser(prog="python -m evalib", description=description, epilog=MOVES)
    commands = main.add_subparsers(dest="command", required=True)

    add_train(commands)
    evaluate = commands.add_parser("evaluate", help="test trained weights again, and compare with their record")
    which = evaluate.add_mutually_exclusive_group(required=True)
    which.add_argument("--weights", help="a weights file, or the name of an experiment")
    which.add_argument("--record", type=Path, help="a record: its weights must agree with it; evaluation.json says so")
    evaluate.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    evaluate.set_defaults(call=call_evaluate)

    table = commands.add_parser("table", help="print Table 1 as far as there are records")
    table.add_argument("--ablations", action="store_true", help="the ablations, and what each does, instead")
    table.add_argument("--tier", choices=TIERS, help="this tier alone (default: for each row the highest recorded)")
    table.add_argument("--format", choices=tables.FORMATS, default="md", help="(default: md)")
    table.set_defaults(call=call_table)
    claim = commands.add_parser("claims", help="the paper's claims, what the records say of each, and a verdict")
    claim.add_argument("--format", choices=tables.FORMATS, default="md", help="(default: md)")
    claim.set_defaults(call=call_claims)
    file = commands.add_parser(
        "export", help="a trained network as one file for use without evalib, pixels in, scores out"
    )
    file.add_argument("weights", help="a weights file, or the name of an experiment")
    file.add_argument("--format", choices=export.FORMATS, help="(default: by the name of FILE, else onnx)")
    file.add_argument("--to", type=Path, metavar="FILE", help="(default: the experiment's name, here)")
    file.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    file.set_defaults(call=call_export)
    for command in commands.choices.values():
        command.add_argument("--out", type=Path, help="where records are kept (default: results/)")

    fetch = commands.add_parser("data", help="fetch the full CIFAR-10, or CIFAR-100, and verify it")
    fetch.add_argument("which", nargs="?", choices=("full", "cifar100"), default="full", help="(default: full)")
    fetch.add_argument("--directory", type=Path, help="where to keep it (default: data/)")
    fetch.set_defaults(call=lambda arguments: print(data.describe(data.load(arguments.which, arguments.directory))))
    add_batch(commands)
    for command in commands.choices.values():
        command.epilog = MOVES
        command.add_argument("--module", type=Path, help="a Python file that registers rows of your own")
    return main


def add_train(commands) -> None:
    """The command of a run."""
    train = commands.add_parser("train", help="train one row of Table 1, or an ablation, and write its record")
    names = (", ".join(row.name for row in rows) for rows in (TABLE_1, ABLATIONS))
    train.add_argument("--experiment", required=True, help="{}; or an ablation: {}".format(*names))
    which = train.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, default=0, help="a whole number, 0 or more (default: 0)")
    which.add_argument(
        "--seeds", type=int, nargs="+", help="several runs: on CUDA side by side, else one after the other"
    )
    tiers = "; ".join(f"{name}: {tier.data} data, {tier.epochs} epochs" for name, tier in TIERS.items())
    train.add_argument("--tier", default="smoke", help=f"{tiers} (default: smoke)")
    train.add_argument("--epochs", type=int, help="instead of the tier's; such a record stays out of the table")
    train.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    train.add_argument("--overwrite", action="store_true", help="begin anew; what is there moves to superseded/")
    train.add_argument("--batch-size", type=int, default=150, help="images a step; the table has 150 (default: 150)")
    train.add_argument("--learning-rate", type=float, help="instead of the recipe's; such a record stays out too")
    train.add_argument(
        "--precision", choices=PRECISIONS, help="(default: bf16 on a GPU that computes in it, else float32)"
    )
    train.add_argument("--longer", action="store_true", help="go on from a run of fewer epochs, whose record is kept")
    train.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=None,
        help="torch.compile the training step (default: on a GPU above the smoke tier; needs a C compiler)",
    )  # fmt: skip
    train.add_argument(
        "--log", choices=["tensorboard"], help="also write the curve for TensorBoard, beside the checkpoints"
    )
    train.set_defaults(call=call_train)


def add_batch(commands) -> None:
    """The commands of batch runs."""
    plan = commands.add_parser("plan", help="which runs are done, stale, begun or to do, and the time")
    plan.set_defaults(call=call_plan)
    everything = commands.add_parser("reproduce", help="make all that the plan lists, through Snakemake and papermill")
    everything.add_argument("--profile", default="local", help="local, slurm, or a profile's folder (default: local)")
    everything.add_argument("--no-book", action="store_true", help="the runs and the table alone")
    everything.add_argument("snakemake", nargs="*", help="after --, options that go on to Snakemake")
    everything.set_defaults(call=call_reproduce)
    for command in (plan, everything):
        command.add_argument("--tier", default="smoke", help=f"{', '.join(TIERS)} (default: smoke)")
        command.add_argument("--seeds", default="all", help='all, first (of each row), or as "0 1" (default: all)')
        command.add_argument("--epochs", type=int, help="instead of the tier's; such records stay out of the table")
        command.add_argument("--manifest", type=Path, help="(default: workflow/manifest.csv)")
        command.add_argument("--out", type=Path, help="where records are kept (default: results/)")

    notebook = commands.add_parser("notebook", help="one run, or the seeds of a row, through the papermill template")
    names = ", ".join(KINDS)
    notebook.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=names)
    notebook.set_defaults(call=lambda arguments: print(*run_notebook(parse(arguments.p)), sep="\n"))


def call_export(arguments: argparse.Namespace) -> None:
    asked = arguments.weights, arguments.to, arguments.format, arguments.out, arguments.overwrite
    print(f"{export.export_weights(*asked)}: images, uint8 n 3 32 32, in; scores, n 10, out")


def call_table(arguments: argparse.Namespace) -> None:
    tiers = (arguments.tier,) if arguments.tier else tuple(TIERS)
    rows, as_markdown = (
        (comparisons.ablations, comparisons.markdown) if arguments.ablations else (tables.table, tables.markdown)
    )
    check_folder(arguments.out)
    show(lambda: tables.dumps(rows(arguments.out, tiers), arguments.format, as_markdown))


def call_claims(arguments: argparse.Namespace) -> None:
    check_folder(arguments.out)

    def text() -> str:
        found = claims.claims(arguments.out)
        return tables.dumps(claims.rows(found), arguments.format, lambda _: claims.markdown(found))

    show(text)


def show(text: Callable[[], str]) -> None:
    """Print a text made of records, then, on stderr, each file that was left out of it."""
    with warnings.catch_warnings(record=True, action="always") as left_out:
        shown = text()
    print(shown)
    for line in dict.fromkeys(str(warning.message) for warning in left_out):
        print(f"evalib: {line}", file=sys.stderr)


def call_plan(arguments: argparse.Namespace) -> None:
    runs = manifest.read_manifest(arguments.manifest, arguments.tier, arguments.seeds, arguments.epochs)
    print(manifest.describe(manifest.plan(runs, arguments.out), arguments.out))


def call_reproduce(arguments: argparse.Namespace) -> int:
    asked = {name: getattr(arguments, name) for name in ("tier", "seeds", "epochs", "out", "manifest")}
    return 1 - reproduce.reproduce(asked, arguments.profile, not arguments.no_book, arguments.snakemake)


def call_train(arguments: argparse.Namespace) -> int:
    """Train each seed; status 1 if one of several was stopped by a fault, which is named on stderr."""
    runs = [
        Settings(
            arguments.experiment,
            seed,
            arguments.tier,
            arguments.epochs,
            arguments.batch_size,
            arguments.learning_rate,
            precision=arguments.precision,
        )
        for seed in arguments.seeds or [arguments.seed]
    ]
    if twice := {run.seed for run in runs if runs.count(run) > 1}:
        raise ValueError(f"seed {min(twice)} is there twice: give each once")

    def observer(settings: Settings) -> Callable[[dict], None]:
        return tensorboard(records.record_path(settings, arguments.out).with_suffix(""))

    outcomes = records.run_side_by_side(
        runs, arguments.out, arguments.device, observer if arguments.log else None,
        overwrite=arguments.overwrite, compile=arguments.compile, longer=arguments.longer,
    )  # fmt: skip
    for settings, outcome in zip(runs, outcomes, strict=True):
        path = records.record_path(settings, arguments.out)
        error = outcome.exception()
        if error and (len(runs) == 1 or not isinstance(error, FAULTS)):
            raise error
        if error:
            print(f"evalib: {settings.experiment} seed {settings.seed}: {said(error)}", file=sys.stderr)
            continue
        record = records.read(path)
        accuracy, source = record["test"]["accuracy"], record["data"]["source"]
        print(f"{path}: test accuracy {accuracy:.2f} % ({source} data, {record['device']})")
        if "warning" in record:
            print(f"evalib: {path}: {record['warning']}", file=sys.stderr)
    return int(any(outcome.exception() for outcome in outcomes))


def call_evaluate(arguments: argparse.Namespace) -> None:
    if arguments.record:
        with gpus.one_gpu():
            outcome = evaluation.verify(arguments.record, arguments.device)
        if outcome["fault"]:
            raise ValueError(f"{arguments.record}: {outcome['fault']}")
        print(f"{arguments.record}: its weights give {outcome['correct']} test images right, as recorded")
        return
    scores, record = weights.evaluate(arguments.weights, arguments.out, arguments.device)
    labels = data.load(record["data"]["source"]).test_labels
    correct = (scores.argmax(dim=1) == labels).sum().item()
    print(f"{record['experiment']} seed {record['seed']}: {correct} of {len(labels)} test images right", end=" ")
    print(f"({100 * correct / len(labels):.2f} %), recorded: {record['test']['correct']}")
