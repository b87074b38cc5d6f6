"""``python -m evalib train | table | data``: the same functions, from a shell."""

import argparse
import sys
from pathlib import Path

from evalib import data, records, tables, training
from evalib.networks import TABLE_1


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    main = argparse.ArgumentParser(prog="python -m evalib", description=__doc__)
    commands = main.add_subparsers(dest="command", required=True)

    train = commands.add_parser("train", help="train one row of Table 1 and write its record")
    train.add_argument("--experiment", required=True, help=", ".join(row.name for row in TABLE_1))
    train.add_argument("--seed", type=int, default=0, help="a whole number, 0 or more (default: 0)")
    tiers = "; ".join(f"{name}: {tier.data} data, {tier.epochs} epochs" for name, tier in training.TIERS.items())
    train.add_argument("--tier", default="smoke", help=f"{tiers} (default: smoke)")
    train.add_argument("--epochs", type=int, help="instead of the tier's; such a record stays out of the table")
    train.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    train.add_argument("--overwrite", action="store_true", help="begin anew, replacing checkpoints and record")
    train.set_defaults(call=call_train)

    table = commands.add_parser("table", help="print Table 1 as far as there are records")
    table.set_defaults(call=lambda arguments: print(tables.markdown(tables.table(arguments.out))))
    for command in (train, table):
        command.add_argument("--out", type=Path, help="where records are kept (default: results/)")

    fetch = commands.add_parser("data", help="fetch the full CIFAR-10 and verify it")
    fetch.add_argument("--directory", type=Path, help="where to keep it (default: data/)")
    fetch.set_defaults(call=lambda arguments: print(data.describe(data.load("full", arguments.directory))))
    return main


def call_train(arguments: argparse.Namespace) -> None:
    settings = training.Settings(arguments.experiment, arguments.seed, arguments.tier, arguments.epochs)
    records.run(settings, arguments.out, arguments.device, arguments.overwrite)
    path = records.record_path(settings, arguments.out)
    record = records.read(path)
    print(f"{path}: test accuracy {record['test']['accuracy']:.2f} % ({record['data']['source']} data, {record['device']})")


def main(argv: list[str] | None = None) -> int:
    """Run one command; what the user can mend is one line on stderr and exit status 2."""
    arguments = parser().parse_args(argv)
    try:
        arguments.call(arguments)
    except (ValueError, RuntimeError, ArithmeticError, OSError) as error:
        print(f"evalib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evalib: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
