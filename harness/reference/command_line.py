"""The page of the command line: every command and its options."""

from collections.abc import Iterator, Sequence
from typing import get_args

from typer.core import TyperArgument, TyperGroup, TyperOption

from harness.errors import HarnessError
from harness.reference.markdown import as_table, joined
from harness.reference.values import code, number_words


def command_line_page(command: TyperGroup) -> str:
    """Return the page of the command line."""
    flat = list(_commands(command, "./drill"))
    rows = [(f"[`{path}`](#{_anchor(path)})", help_) for path, help_, _ in flat]
    parts = [
        "# The command line",
        command.epilog or "",
        as_table(("command", "what it does"), rows),
    ]
    for path, help_, table in flat:
        parts += [f"## {path.removeprefix('./')}", help_, table]
    return joined(*parts)


def _anchor(path: str) -> str:
    return path.removeprefix("./").replace(" ", "-")


def _commands(group: TyperGroup, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield each command's words, what it does, and its options as a table."""
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if isinstance(command, TyperGroup):
            yield from _commands(command, full)
            continue
        rows = [_option(full, one) for one in command.params]
        table = as_table(("option", "value", "default", "meaning"), rows) if rows else ""
        if not command.help:
            raise HarnessError(f"{full}: no docstring; expected one that says what it does")
        yield full, " ".join(command.help.split()), table


def _option(path: str, parameter: object) -> Sequence[str]:
    assert isinstance(parameter, TyperOption | TyperArgument)
    if not parameter.help:
        raise HarnessError(f"{path}: no help for {parameter.opts[0]!r}; expected a sentence")
    name = ", ".join(parameter.opts)
    if isinstance(parameter, TyperArgument):
        return f"`{parameter.metavar or name}`", "path", "required", parameter.help
    shown = parameter.show_default
    default = shown if isinstance(shown, str) else parameter.default
    written = "" if default in (None, False) else f"`{default}`"
    return f"`{name}`", _option_words(parameter), written, parameter.help


def _option_words(option: TyperOption) -> str:
    if option.is_flag:
        return ""
    kind: object = option.type_descriptor.annotation
    if words := get_args(kind):
        return f"one of {', '.join(code(str(word)) for word in words)}"
    if kind is int:
        return number_words(option.min, option.max)
    return f"`{option.metavar}`" if option.metavar else "text"
