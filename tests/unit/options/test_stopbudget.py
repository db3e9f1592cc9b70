"""What a stop may take, held against every bound that it is made of, and against who kills the server after a time."""

import re
from pathlib import Path

import pytest

from hsrv.app.lifespan import CANCEL_TIMEOUT
from hsrv.asyncpool.drainplan import END_SPREAD_SHARE
from hsrv.asyncpool.websockets import CLOSE_TIMEOUT
from hsrv.child.life import LEFTOVER_TIMEOUT
from hsrv.common.terms import Role
from hsrv.http.connection import END_TIMEOUT
from hsrv.net.sweep import SWEEP_INTERVAL
from hsrv.options.config import Config
from hsrv.options.stopbudget import END_SPREAD, KILL_MARGIN, STOP_MARGIN, STREAM_END, longest_stop_of
from hsrv.supervisor.hands.templates import TEMPLATE_EXIT_TIMEOUT
from hsrv.supervisor.plan.settings import budgets_of
from hsrv.supervisor.processes.children import STACKS_TIMEOUT

ROOT = Path(__file__).parent.parent.parent.parent

CONFIGS = [
    Config(),
    Config(stream_grace=100.0),
    Config(stream_grace=29.0),
    Config(graceful_timeout=0.0, stream_grace=0.0, lifespan_shutdown_timeout=0.0),
    Config(drain_delay=7.0, graceful_timeout=3.0, stream_grace=10.0),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_it_is_what_the_three_options_and_one_constant_say(config: Config) -> None:
    longest = config.drain_delay + max(config.graceful_timeout, config.stream_grace)
    longest += 2 * config.lifespan_shutdown_timeout + 12
    assert longest_stop_of(config) == longest == budgets_of(config).stop()


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("role", [Role.WORKER, Role.POOL])
def test_it_covers_the_kill_of_each_process_and_the_end_of_the_template(config: Config, role: Role) -> None:
    killed = config.drain_delay + budgets_of(config).drain(role) + STACKS_TIMEOUT
    assert killed + TEMPLATE_EXIT_TIMEOUT <= longest_stop_of(config)


@pytest.mark.parametrize("config", CONFIGS)
def test_it_covers_a_pool_that_shuts_down_after_the_last_worker(config: Config) -> None:
    budgets = budgets_of(config)
    killed = config.drain_delay + budgets.drain(Role.WORKER) + budgets.dismissal() + STACKS_TIMEOUT
    assert killed + TEMPLATE_EXIT_TIMEOUT <= longest_stop_of(config)


def test_the_constant_is_the_sum_of_its_parts() -> None:
    assert STOP_MARGIN == STREAM_END + KILL_MARGIN + STACKS_TIMEOUT + TEMPLATE_EXIT_TIMEOUT


def test_the_last_stream_is_cut_before_its_process_is_killed() -> None:
    told = max(min(END_SPREAD, grace * END_SPREAD_SHARE) for grace in (0.0, 1.0, 10.0, 1000.0))
    assert told + END_TIMEOUT + CLOSE_TIMEOUT + 2 * SWEEP_INTERVAL <= STREAM_END


def test_what_the_application_leaves_behind_has_its_moment_before_its_process_is_killed() -> None:
    """The lifespan that ignores its cancellation, then tasks, then generators."""
    assert CANCEL_TIMEOUT + 2 * LEFTOVER_TIMEOUT <= KILL_MARGIN


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("deploy/kubernetes/base/deployment.yaml", r"terminationGracePeriodSeconds: (\d+)"),
        ("deploy/kubernetes/overlays/sidecar-server/sidecar.yaml", r"value: (\d+)$"),
        ("deploy/container/compose.yaml", r"stop_grace_period: (\d+)s"),
        ("deploy/systemd/hsrv@.service", r"TimeoutStopSec=(\d+)"),
    ],
)
def test_whoever_kills_the_server_waits_for_longer(file: str, setting: str) -> None:
    found = re.findall(setting, (ROOT / file).read_text(), re.MULTILINE)
    assert found
    assert min(map(float, found)) > longest_stop_of(Config())


@pytest.mark.parametrize("file", ["deploy/README.md", "docs/containers.md", "deploy/container/compose.yaml"])
def test_the_sum_of_the_defaults_is_in_the_documents(file: str) -> None:
    assert f"{longest_stop_of(Config()):g} s" in (ROOT / file).read_text()
