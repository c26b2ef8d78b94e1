"""Commands that the pages show exist, with the options they are shown with: ours, and those of the AWS CLI.

Every fenced block is read as a shell would read it, as far as single commands go. Ours are parsed by the very parser
that runs them, which runs nothing; those of AWS are compared with the service's model. A block marked `text` is not
typed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import botocore.session
import click
import pytest
from botocore import xform_name

from tests.test_docs import PAGES, ROOT, click_command

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
NOT_TYPED = {"text", "json", "yaml", "mermaid", "python", "xml"}
BEFORE_A_COMMAND = {"do", "then", "else", "!", "timeout", "$"}
GLOBAL = {"query", "output", "region", "profile"}
BY_THE_CLI_ALONE = {("logs", "tail"), ("ecr", "get-login-password")}
"""Commands that no operation of the service has behind them under their name."""


def typed() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of each command `lazaretto` and `aws` in a block."""
    for page in PAGES:
        for language, block in BLOCK.findall(page.read_text()):
            if language not in NOT_TYPED:
                lines = block.replace("\\\n", " ").splitlines()
                meant = [line.removeprefix("$ ") for line in lines if line.startswith("$ ") or language != "console"]
                for line in meant:
                    yield from ((str(page.relative_to(ROOT)), words) for words in commands_of(line))


def commands_of(line: str) -> Iterator[list[str]]:
    """Those in pipes, loops and `$(…)` too."""
    words: list[str] = []
    for word in [*_split(line), ";"]:
        if word and set(word) <= set("();<>|&"):
            if words[:1] in (["lazaretto"], ["aws"]):
                yield words
            words = []
        elif words or not (word in BEFORE_A_COMMAND or "=" in word):
            words.append(word)


def _split(line: str) -> list[str]:
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.wordchars += "$,:@[]{}%+…"
    try:
        return list(words)
    except ValueError:  # a text over several lines, or what a command printed
        return []


COMMANDS = [pytest.param(words, id=f"{page}: {' '.join(words)[:70]}") for page, words in typed()]


def of(program: str) -> list[object]:
    return [param for param in COMMANDS if param.values[0][0] == program]  # type: ignore[index]


@pytest.mark.parametrize("words", of("lazaretto"))
def test_a_command_of_ours_is_one_that_can_be_typed(words: list[str]) -> None:
    command, rest = click_command(), words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    try:
        command.make_context(words[0], list(rest))
    except click.UsageError as error:
        pytest.fail(error.format_message())


@pytest.mark.parametrize("words", of("aws"))
def test_a_command_of_the_aws_cli_is_one_that_can_be_typed(words: list[str]) -> None:
    _, service, command, *rest = words
    if (service, command) in BY_THE_CLI_ALONE:
        return
    model = botocore.session.get_session().get_service_model(service)
    by_command = {xform_name(name, "-"): name for name in model.operation_names}
    assert command in by_command
    shape = model.operation_model(by_command[command]).input_shape
    options = {word.removeprefix("--") for word in rest if word.startswith("--")}
    known = {xform_name(name, "-") for name in shape.members} | GLOBAL
    assert {option for option in options if option.removeprefix("no-") not in known} == set()
    assert {xform_name(name, "-") for name in shape.required_members} <= {o.removeprefix("no-") for o in options}


def test_commands_are_found_where_a_shell_finds_them() -> None:
    line = 'A=$(aws sts get-caller-identity) && lazaretto gate "$X/a@$D"; for i in 1; do lazaretto image a | head; done'
    assert list(commands_of(line)) == [
        ["aws", "sts", "get-caller-identity"],
        ["lazaretto", "gate", "$X/a@$D"],
        ["lazaretto", "image", "a"],
    ]
    assert len(COMMANDS) > 60
