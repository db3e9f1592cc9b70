"""The file of `--env-file`."""

import pytest

from hsrv.sources.envfile import parse_env


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("  A = blanks around  ", "blanks around"),
        ("export A=x", "x"),
        ("A=", ""),
        ("A=# all of it a comment", ""),
        ("A=x # comment", "x"),
        ("A=http://host/#fragment", "http://host/#fragment"),
        ("A='$HOME \\n # taken'", "$HOME \\n # taken"),
        ("A='x' # comment", "x"),
        ('A="x" # comment', "x"),
        (
            'A="two\\nlines and a \\"quote\\" and \\$HOME and \\\\"',
            'two\nlines and a "quote" and $HOME and \\',
        ),
        ("A=it's", "it's"),
        ("A=x\r", "x"),
        ("A=1\nA=2", "2"),
    ],
)
def test_a_value_is_read_as_it_was_meant(line: str, value: str) -> None:
    assert parse_env(f"# a comment\n\n{line}\n") == {"A": value}


@pytest.mark.parametrize(
    "line", ["no equals sign", "9A=1", "A-B=1", "A='open", 'A="open', "A='it''s", 'A="x" y', "A=\0", "=1"]
)
def test_what_is_no_assignment_is_told_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match="line 2: "):
        parse_env(f"GOOD=1\n{line}\n")


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert parse_env("\ufeffA=1\n") == {"A": "1"}


def test_every_wrong_line_is_told() -> None:
    with pytest.raises(ValueError) as raised:
        parse_env("one\nA=1\nB='x\n")
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == ["line 1", "line 3"]
