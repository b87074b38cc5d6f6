"""``python -m evalib train | evaluate | export | table | claims | data | plan | reproduce | notebook``: the library, from a shell."""

import codecs
import os
import signal
import sys
from importlib import import_module

from evalib.batch.faults import FAULTS, said

STAND_INS = {"−": "-", "–": "-", "±": "+/-", "×": "x", "…": "...", "≤": "<=", "≥": ">="}
"""What is printed for a character that the code page of a terminal or pipe lacks; a question mark for any other."""


def stand_in(error: UnicodeError) -> tuple[str, int]:
    """What is printed for characters that cannot be, and where to go on: a handler of encoding errors."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(STAND_INS.get(character, "?") for character in error.object[error.start : error.end]), error.end


def main(argv: list[str] | None = None) -> int:
    """Run one command; what the user can mend is one line on stderr and exit status 2."""
    codecs.register_error("stand-in", stand_in)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="stand-in")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's notice, taken like Ctrl-C
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        import_module("evalib.training")  # or says which extra brings it
        from evalib.batch import commands, rows  # takes a second or two, in which Ctrl-C may come

        arguments = commands.parser(__doc__).parse_args(argv)
        rows.load(arguments.module)
        status = arguments.call(arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except FAULTS as error:
        print(f"evalib: {said(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C again, while the interpreter ends
        print("evalib: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
