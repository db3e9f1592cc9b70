"""The table of other servers' options is whole: the rest of it is checked where it is applied."""

from collections import Counter

from hsrv.options.config import options
from hsrv.options.othernames import BARE, HABITS, ROWS, SHORT, VALUES

OURS = {option.name: option for option in options()}


def test_the_table_has_the_most_used_names_each_once() -> None:
    assert len(ROWS) + len(HABITS) >= 60
    assert max(Counter(row.name for row in ROWS).values()) == 1
    assert len(SHORT) == sum(1 for row in ROWS if row.short)
    assert {server for row in ROWS for server in row.servers} == {
        "uvicorn",
        "gunicorn",
        "granian",
        "hypercorn",
    }


def test_every_row_works_is_an_alias_or_says_what_to_use_instead() -> None:
    for row in ROWS:
        assert not (row.to and row.says), row
        if not row.says:
            name = row.to or row.name
            assert name in OURS or name in ("host", "port", "config"), row
        assert "\n" not in row.says, row
        assert len(row.says) < 110, row


def test_what_a_bare_option_and_a_value_mean_belongs_to_an_option() -> None:
    assert BARE.keys() <= OURS.keys()
    assert {name for name, _ in VALUES} <= OURS.keys()
