"""Whatever ends a command early, of `lake` or of `python -m stages`: one line on stderr, and an exit code.

0 is success, 1 a failure, 2 a command line that cannot be read, 130 Ctrl-C. ``BITLAKE_TRACEBACK=1`` shows where an
error came from.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from store.errors import BitlakeError, without_secrets

FAILED, INTERRUPTED = 1, 130
_QUOTED = 500
"""Characters of a very long line that are shown, from each of its ends."""

TRACEBACK = "BITLAKE_TRACEBACK"


def run(command: Callable[[], int]) -> int:
    """Run a command that returns its exit code; that, or the one of what ended it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without × or → shows a question mark.
            stream.reconfigure(errors="replace")
    try:
        code = command()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else FAILED * bool(ended.code)
    except BaseException as error:
        code, line = _explained(error)
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        if line:
            _say(f"error: {line}" if code != INTERRUPTED else line)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            _abandon(stream)
            if not code and stream is sys.stdout and not isinstance(error, BrokenPipeError):
                _say(
                    f"error: the output cannot be written ({_reason(error)}); make room, or write it elsewhere"
                )
            code = code or FAILED
    return code


def leave(code: int) -> NoReturn:
    """End the process; after Ctrl-C without waiting for its threads, which may wait for a server."""
    if code == INTERRUPTED:
        atexit._run_exitfuncs()
        os._exit(code)
    sys.exit(code)


def _explained(error: BaseException) -> tuple[int, str]:
    """The exit code and the line for an error; an empty line where there is nothing to say."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has seen enough.
        _abandon(sys.stdout)
        return FAILED, ""
    if isinstance(error, BitlakeError):
        return FAILED, _one_line(str(error))
    if hasattr(error, "format_message") and hasattr(error, "show"):
        return _usage(error)
    if isinstance(error, MemoryError):
        return FAILED, "there is not enough memory; close other programs, or run on a machine with more"
    if isinstance(error, OSError):
        return FAILED, _system(error)
    text = _one_line(str(error))
    if "dubious ownership" in text or "not owned by current user" in text:
        return FAILED, (
            "the repository belongs to another user, so Git does not read it; if you trust it, run "
            "`git config --global --add safe.directory FOLDER` with its folder"
        )
    if type(error).__module__.partition(".")[0] in ("dvc", "dvc_data", "dvc_objects", "scmrepo"):
        return FAILED, f"DVC: {text or type(error).__name__}; `dvc status` may say more"
    return FAILED, (
        f"{type(error).__name__}: {text or 'no message'}; this is a fault of Bitlake: report it with what "
        f"{TRACEBACK}=1 shows"
    )


def _usage(error: Any) -> tuple[int, str]:
    """What Click says of a command line that it cannot read; help, where that is all there is to say."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return error.exit_code, ""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "lake"
    return (
        error.exit_code,
        f"{_one_line(error.format_message()).rstrip('.')}; `{command} --help` says what it takes",
    )


def _system(error: OSError) -> str:
    """What the operating system refused, where, and what helps."""
    where = f"{error.filename}: " if error.filename else ""
    remedies = {
        errno.EACCES: "give yourself the right, or use a copy of your own",
        errno.EPERM: "give yourself the right, or use a copy of your own",
        errno.EROFS: "use a copy on a disk that can be written",
        errno.ENOSPC: "make room, then run again",
        errno.EDQUOT: "make room, then run again",
        errno.ENOENT: "see that it is there (the folder you are in may have been removed), then run again",
        errno.EMFILE: "raise the limit with `ulimit -n`, then run again",
    }
    remedy = remedies.get(error.errno or 0, "see to that, then run again")
    return f"{where}{_reason(error)}; {remedy}"


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    """``text`` as one line of bounded length without what URLs may carry in secret."""
    line = without_secrets(" ".join(filter(None, (part.strip() for part in text.splitlines()))))
    # What was wrong may be quoted, and have megabytes; the remedy stands at the end.
    return line if len(line) <= 2 * _QUOTED else f"{line[:_QUOTED]} … {line[-_QUOTED:]}"


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr)


def _abandon(stream: Any) -> None:
    """Let nothing that is left in the buffer of a stream fail once more when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
