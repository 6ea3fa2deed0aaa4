"""The one error tree, grouped by what the reader should do next.

Every message is one line that names the field or the file and the remedy. Errors of others are quoted without secrets.
"""

import re


class BitlakeError(Exception):
    """Root of everything Bitlake raises on purpose."""


class InvalidInput(BitlakeError, ValueError):
    """Something the user wrote is wrong: correct the named field, file or line and run again."""


class MissingArtifact(BitlakeError, FileNotFoundError):
    """An artifact is not here: run the stage that makes it, or pull it."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DamagedArtifact(BitlakeError, ValueError):
    """An artifact is here but is not what its schema promises: remove it and pull or recompute it."""


class UnavailableResource(BitlakeError, RuntimeError):
    """Something outside the lake (weights, a device, a server) cannot be reached: provide it and run again."""


def without_secrets(text: str) -> str:
    """``text`` without what URLs may carry: name and password before the host, a signature after the path."""
    return re.sub(r"\?[^\s'\"]*", "?…", re.sub(r"//[^/\s'\"]*@", "//…@", text))


def first_line(error: BaseException) -> str:
    """The first line of an error's message without secrets, or its kind where it says nothing."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return without_secrets(text)
