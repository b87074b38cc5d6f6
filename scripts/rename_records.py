"""Move records to the names that their experiments have today, after the version of the computation was raised.

    python scripts/rename_records.py --out results

A record is not rewritten: its file, the folder of what its run left, and weights in the package get the new name. Which
name that is says ``evalib.results.schema.NAMES``.
"""

import argparse
import sys
from pathlib import Path

from evalib.batch import rows
from evalib.batch.faults import FAULTS, said
from evalib.results import records, weights
from evalib.results.files import SUPERSEDED, check_folder
from evalib.results.schema import translated
from evalib.training import checkpoints
from evalib.training.settings import TIERS


def moves(out: Path, pretrained: Path = weights.PRETRAINED) -> dict[Path, Path]:
    """From where to where each file goes whose name is not that of today; what is no record is named, and stays."""
    found = {}
    for folder in (*(out / tier for tier in TIERS), *(out / SUPERSEDED / tier for tier in TIERS)):
        for path in sorted(folder.glob("*-seed*.json")):
            try:
                record = records.read(path)
            except ValueError as error:
                print(f"left where it is: {error}", file=sys.stderr)
                continue
            before = record.get("recorded_as", record["experiment"])
            if path.name.startswith(f"{before}-seed") and before != record["experiment"]:
                found[path] = path.with_name(record["experiment"] + path.name.removeprefix(before))
    for path in sorted(pretrained.glob("*.safetensors")):
        made = checkpoints.read_tensors(path)[1]
        before, now = made["experiment"], translated(made)["experiment"]
        if path.name.startswith(f"{before}-") and len(path.stem) == len(before) + 17 and before != now:
            found[path] = path.with_name(now + path.name.removeprefix(before))
    return found


def move(found: dict[Path, Path]) -> None:
    """Make the moves, each once its target is free; ``FileExistsError`` if one never is."""
    while found:
        free = [path for path, target in found.items() if not target.exists() and not target.with_suffix("").exists()]
        if not free:
            path, target = next(iter(found.items()))
            raise FileExistsError(f"{path} cannot become {target.name}, which is there already: move that away first")
        for path in free:
            target = found.pop(path)
            path.rename(target)
            if (sums := path.with_name("SHA256SUMS")).exists():
                sums.write_text(sums.read_text("utf-8").replace(f"  {path.name}\n", f"  {target.name}\n"), "utf-8")
            if path.with_suffix("").is_dir():
                path.with_suffix("").rename(target.with_suffix(""))
            print(f"{path} is {target.name} now")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=records.results(), help="(default: results/)")
    parser.add_argument("--module", type=Path, help="a Python file that registers rows of your own")
    arguments = parser.parse_args()
    try:
        check_folder(arguments.out)
        rows.load(arguments.module)
        move(moves(arguments.out))
    except FAULTS as error:
        print(f"rename_records: {said(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
