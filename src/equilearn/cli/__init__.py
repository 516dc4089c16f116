"""The command line: `equilearn advise | audit | field | study | report | doctor`.

A bad input ends in one sentence on stderr and exit code 2, Ctrl-C in 130; a traceback is a bug.
Everything but typer is imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from equilearn.cli import _field_command as _field_command  # adds its command to the app
from equilearn.cli._app import app

__all__ = ["app", "main"]

INTERRUPTED = 130
BAD_INPUT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (default: what the user typed) and return its exit code.

    Example:
        >>> main(["--version"])
        equilearn 0.1.0
        0
    """
    try:
        app(args=None if argv is None else list(argv), prog_name="equilearn")
    except SystemExit as done:
        return _exit_code(done.code)
    except KeyboardInterrupt:
        return _exit_code(INTERRUPTED)
    except BrokenPipeError:
        return 0  # `equilearn ... | head`: whoever reads has read enough
    except OSError as error:
        return _complain(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except ValueError as error:
        from equilearn._check import InputError  # brings torch, which --help can do without

        if isinstance(error, InputError):
            return _complain(str(error))
        raise
    return 0


def _exit_code(code: object) -> int:
    if code == INTERRUPTED:
        sys.stderr.write("\nstopped; run the same command to resume\n")
    return code if isinstance(code, int) else int(code is not None)


def _complain(message: str) -> int:
    sys.stderr.write(f"equilearn: {message}\n")
    return BAD_INPUT
