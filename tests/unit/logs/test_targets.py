"""Where lines go."""

import pytest

from hsrv.logs.targets import STDERR, STDOUT, Target, Writers, access_target_of, target_of, wants_json
from hsrv.options.config import Config


@pytest.mark.parametrize(
    ("config", "main", "access"),
    [
        (Config(), STDERR, STDERR),
        (Config(log_to="stdout"), STDOUT, STDOUT),
        (Config(log_file="-"), STDERR, STDERR),
        (Config(log_file="a"), "a", "a"),
        (Config(log_file="a", access_log_file="b"), "a", "b"),
        (Config(access_log_file="-"), STDERR, STDOUT),
        (Config(log_file="a", access_log_file="-"), "a", STDOUT),
    ],
)
def test_lines_and_those_of_requests_go_where_they_are_wanted(
    config: Config, main: Target, access: Target
) -> None:
    assert (target_of(config), access_target_of(config)) == (main, access)
    writers = Writers(lambda lost: None)
    assert (writers.of(main) is writers.of(access)) == (main == access), "one writer for each place"


def test_json_is_for_what_is_no_terminal() -> None:
    config = Config(log_format="auto")
    assert [wants_json(config, target) for target in (STDERR, "file")] == [True, True]
    assert wants_json(Config(log_format="json"), STDERR)
    assert not wants_json(Config(log_format="console"), "file")
