"""The command line: every option from its declaration, every error as a message and an exit code."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hsrv import __version__, cli, starting
from hsrv.common.errors import AppLoadError, BindError, ExitCode, HsrvError
from hsrv.options.config import Config, options
from hsrv.options.othernames import ROWS
from hsrv.system.native import is_compiled


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def shown(self) -> dict[str, tuple[object, str]]:
        """What `hsrv config` printed: option to value and source."""
        found = {}
        for line in self.out.splitlines():
            name, _, rest = line.partition(" ")
            value, _, source = rest.rstrip().rpartition(" ")
            found[name] = (json.loads(value), source)
        return found


Hsrv = Callable[..., Said]


@pytest.fixture
def hsrv(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Hsrv:
    """The command in an empty folder, on a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    for name in [*(option.variable for option in options()), "PORT", "WEB_CONCURRENCY"]:
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["hsrv", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, *capsys.readouterr())

    return run


def test_every_option_is_a_flag_with_its_help_and_default(hsrv: Hsrv) -> None:
    page = " ".join(hsrv("start", "--help-all").out.split())
    for option in options():
        if option.name == "app":
            continue
        assert f" {option.flag} " in page, option.name
        assert option.opt.help in page, option.name
        if isinstance(option.default, bool):
            assert f" --no-{option.flag[2:]} " in page, option.name
            assert f"{option.opt.help} [default: {'on' if option.default else 'off'}]" in page, option.name
        elif isinstance(option.default, float):
            unit = "s" if option.is_time else ""
            assert f"{option.opt.help} [default: {option.default:g}{unit}]" in page, option.name
    assert "auto|app|libraries|none" in page
    assert "-b ADDRESS" in page
    assert "[default: 127.0.0.1 ::1 unix]" in page


@pytest.mark.parametrize("command", ["start", "check", "config", "systemd-unit"])
def test_help_shows_the_common_options_and_help_all_every_one(hsrv: Hsrv, command: str) -> None:
    flags = {option.flag: option.opt for option in options() if option.name != "app"}
    common = {flag for flag, opt in flags.items() if opt.common is not None}
    for page, shown, groups in (
        (hsrv(command, "--help").out, common, {flags[flag].common for flag in common}),
        (hsrv(command, "--help-all").out, flags.keys(), {opt.panel for opt in flags.values()}),
    ):
        assert flags.keys() & set(re.findall(r"^│ (--[a-z-]+)", page, re.MULTILINE)) == shown
        assert all(f"─ {group} ─" in page for group in groups)
    assert len(common) <= 21


def test_every_exit_code_is_in_the_help(hsrv: Hsrv) -> None:
    page = " ".join(hsrv("start", "--help").out.partition("Exit codes")[2].split())
    assert [int(code) for code in re.findall(r"(?:: |· )(\d) ", page)] == sorted(ExitCode)


def test_options_reach_the_configuration_with_their_source(hsrv: Hsrv) -> None:
    said = hsrv("config", "shop:app", "-w", "3", "-b", "a:1", "--bind", "b:2", "--no-access-log", "--factory")
    assert said.code == ExitCode.OK
    assert said.shown["app"] == ("shop:app", "APP")
    assert said.shown["workers"] == (3, "--workers")
    assert said.shown["bind"] == (["a:1", "b:2"], "--bind")
    assert said.shown["access_log"] == (False, "--access-log")
    assert said.shown["factory"] == (True, "--factory")
    assert said.shown["pools"] == (1, "default")


def test_every_option_is_shown_once_in_order(hsrv: Hsrv) -> None:
    assert list(hsrv("config").shown) == [option.name for option in options()]


def test_the_command_line_wins_over_the_environment_also_with_a_no(
    hsrv: Hsrv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSRV_SERVER_HEADER", "true")
    monkeypatch.setenv("HSRV_DATE_HEADER", "false")
    monkeypatch.setenv("HSRV_BIND", "c:3,d:4")
    shown = hsrv("config", "--no-server-header", "--date-header", "-b", "e:5").shown
    assert shown["server_header"] == (False, "--server-header")
    assert shown["date_header"] == (True, "--date-header")
    assert shown["bind"] == (["e:5"], "--bind")
    assert hsrv("config").shown["bind"] == (["c:3", "d:4"], "HSRV_BIND")


def test_another_configuration_file_can_be_named(hsrv: Hsrv, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("workers = 6\n")
    assert hsrv("config", "-c", "other.toml").shown["workers"] == (6, "other.toml")


def test_wrong_options_are_one_message_each_and_exit_code_2(hsrv: Hsrv) -> None:
    said = hsrv("config", "--keep-alive", "-1", "--workers", "", "--lifespan", "maybe")
    assert said.code == ExitCode.USAGE
    assert said.out == ""
    wrong = {line.partition(" = ")[0] for line in said.err.splitlines()}
    assert wrong == {"hsrv: keep_alive", "hsrv: workers", "hsrv: lifespan"}
    assert "'-1' (set by --keep-alive)" in said.err
    assert "allowed is auto, on or off" in said.err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(("strat",), "start"), (("start", "--wrokers", "2"), "--workers")],
)
def test_unknown_commands_and_flags_are_told_what_was_meant(
    hsrv: Hsrv, arguments: tuple[str, ...], meant: str
) -> None:
    said = hsrv(*arguments)
    assert said.code == ExitCode.USAGE
    assert meant in said.err


def test_without_a_command_it_shows_the_commands(hsrv: Hsrv) -> None:
    said = hsrv()
    assert said.code == ExitCode.USAGE
    for command in ("start", "config", "version"):
        assert command in said.out + said.err


def test_version_names_both(hsrv: Hsrv) -> None:
    compiled = "compiled, " if is_compiled() else ""
    assert hsrv("version").out == f"hsrv {__version__} ({compiled}Python {sys.version.split()[0]})\n"


def test_an_application_that_is_not_there_is_exit_code_3(hsrv: Hsrv) -> None:
    said = hsrv("start")
    assert said.code == ExitCode.APP
    assert said.err.startswith("hsrv: no application given and none found")


def test_an_unsupported_system_is_exit_code_6(hsrv: Hsrv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    said = hsrv("start")
    assert said.code == ExitCode.PLATFORM
    assert said.err.startswith("hsrv: hsrv needs Linux")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BindError("in use"), "hsrv: in use\n"),
        (AppLoadError("two\nlines"), "hsrv: two\nhsrv: lines\n"),
        (AppLoadError("broken", "Traceback: theirs\n"), "Traceback: theirs\nhsrv: broken\n"),
    ],
)
def test_a_report_is_the_message_after_the_applications_traceback(
    capsys: pytest.CaptureFixture[str], error: HsrvError, said: str
) -> None:
    assert starting.report(error) is error.exit_code
    assert capsys.readouterr().err == said


def test_a_ctrl_c_before_the_supervisor_hears_signals_is_exit_code_130(
    hsrv: Hsrv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> ExitCode:
        raise KeyboardInterrupt

    monkeypatch.setattr(starting, "serve", interrupted)
    assert hsrv("start") == Said(130, "", "")


# completion


def completed(line: str) -> list[str]:
    """What a shell offers at the end of the line."""
    words = line.split(" ")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['hsrv']; from hsrv.cli import main; main()",
        ],
        env={
            **os.environ,
            "_HSRV_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("hsrv sta", ["start", "status", "stacks"]),
        ("hsrv start --limit-request-b", ["--limit-request-body"]),
        ("hsrv start --log-level ", ["debug", "info", "warning", "error"]),
    ],
)
def test_a_shell_completes_commands_flags_and_values(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


def test_the_completion_for_a_shell_is_printed() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hsrv")), "--show-completion", "bash"],
        # typer otherwise looks for the shell among our parents, and there may be none
        env={**os.environ, "SHELL": "/bin/bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "_HSRV_COMPLETE=complete_bash" in done.stdout


# what users of other servers type


@pytest.mark.parametrize(
    ("arguments", "app"),
    [
        (("main:app", "--port", "9"), "main:app"),
        (("run", "main:app", "--port", "9"), "main:app"),
        (("serve", "main:app", "--port=9"), "main:app"),
        (("--port", "9", "main:app"), "main:app"),
        (("start", "main:app", "--port", "9"), "main:app"),
    ],
)
def test_the_command_of_another_server_starts_this_one(
    hsrv: Hsrv, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], app: str
) -> None:
    served: list[Config] = []

    def serve(config: Config, *_: object) -> ExitCode:
        served.append(config)
        return ExitCode.OK

    monkeypatch.setattr(starting, "serve", serve)
    assert hsrv(*arguments).code == ExitCode.OK
    assert [(config.app, config.bind) for config in served] == [(app, ("127.0.0.1:9",))]


def test_every_refused_option_of_theirs_is_told_in_one_message(hsrv: Hsrv) -> None:
    said = hsrv("start", "main:app", "-k", "uvicorn.workers.UvicornWorker", "--ssl-keyfile", "key", "-D")
    assert said.code == ExitCode.USAGE
    assert [line.split(": ")[:2] for line in said.err.splitlines()] == [
        ["hsrv", "--worker-class"],
        ["hsrv", "--ssl-keyfile"],
        ["hsrv", "--daemon"],
    ]


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version_is_a_flag_too(hsrv: Hsrv, flag: str) -> None:
    assert hsrv(flag).out.startswith(f"hsrv {__version__} ")


def test_names_of_other_servers_are_in_no_help(hsrv: Hsrv) -> None:
    page = hsrv("start", "--help-all").out
    assert not [row.flag for row in ROWS if row.to and f" {row.flag} " in page]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("start", "--xyzzy"), "hsrv: No such option: --xyzzy\nhsrv: see hsrv start --help\n"),
        (("strat",), "hsrv: No such command 'strat'."),
        (("start", "a:b", "c"), "hsrv: Got unexpected extra argument(s) (c)\nhsrv: see hsrv start --help\n"),
        (
            ("restart-worker", "two"),
            "hsrv: Invalid value: 'two' is not the number or the name of a worker, such as 2 or worker-2\n",
        ),
        (
            ("prestop", "--delay", "soon"),
            "hsrv: Invalid value for '--delay': 'soon': allowed is a time from 0, such as 30, 500ms, 2m or 1h30m\n",
        ),
    ],
)
def test_a_wrong_command_line_is_answered_in_lines(hsrv: Hsrv, arguments: tuple[str, ...], said: str) -> None:
    answer = hsrv(*arguments)
    assert answer.code == ExitCode.USAGE
    assert answer.err.startswith(said)


# hsrv dev


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        ((), {}, ("127.0.0.1:8000", "short", 1)),
        ((), {"PORT": "9", "HSRV_WORKERS": "4"}, ("127.0.0.1:9", "short", 1)),
        (("-v", "-w", "2"), {"HSRV_BIND": "0.0.0.0:80"}, ("127.0.0.1:80", "console", 2)),
        (("--host", "0.0.0.0"), {}, ("0.0.0.0:8000", "short", 1)),
        (("-b", "unix:/x", "--log-format", "json"), {}, ("unix:/x", "json", 1)),
    ],
)
def test_dev_reloads_on_this_machine_with_short_lines_unless_told_otherwise(
    hsrv: Hsrv,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, ...],
    environ: dict[str, str],
    expected: tuple[str, str, int],
) -> None:
    served: list[Config] = []

    def serve(config: Config, *_: object) -> ExitCode:
        served.append(config)
        return ExitCode.OK

    monkeypatch.setattr(starting, "serve", serve)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert hsrv("dev", *given).code == ExitCode.OK
    (config,) = served
    assert (*config.bind, config.log_format, config.workers) == expected
    assert config.reload
    assert config.reload_browser
    hsrv("dev", "--no-reload-browser", *given)
    assert not served[1].reload_browser
