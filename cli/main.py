"""The command `lake`: what is in the lake, whether it is sound, what changed, how it is shared, and what it took."""

from __future__ import annotations

import typer

from cli import budget, diff, gc, ls, publish, pull, show, study, verify
from store.failures import INTERRUPTED, leave, run

app = typer.Typer(
    name="lake",
    help="The lake of a Bitlake project: studies, catalog, integrity, differences, sharing, costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _name, _module in (
    ("ls", ls),
    ("show", show),
    ("verify", verify),
    ("diff", diff),
    ("pull", pull),
    ("publish", publish),
    ("gc", gc),
    ("budget", budget),
):
    app.command(_name)(_module.command)
app.add_typer(study.app, name="study")


def main() -> None:
    """Run the command; whatever goes wrong is one line and an exit code, not a traceback."""
    leave(run(_command))


def _command() -> int:
    done = app(standalone_mode=False)
    if done == INTERRUPTED:
        # What Typer makes of Ctrl-C.
        raise KeyboardInterrupt
    return done if isinstance(done, int) else 0
