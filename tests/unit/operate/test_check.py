"""Each warning by what causes it."""

import resource
from pathlib import Path

import pytest
from fastapi import FastAPI
from msgspec.structs import replace

from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Interface, LifespanMode, Preload
from hsrv.operate.check import (
    Expectations,
    budget_warnings,
    check,
    descriptor_warnings,
    interface_warnings,
    keep_alive_warnings,
    preload_warnings,
    route_warnings,
    routes_of,
    unix_socket_warnings,
    worker_warnings,
)
from hsrv.options.config import Config
from hsrv.options.stopbudget import longest_stop_of


@pytest.mark.parametrize(("seconds", "warned"), [(59.0, 1), (60.0, 1), (61.0, 0), (75.0, 0)])
def test_a_keep_alive_shorter_than_the_balancers(seconds: float, warned: int) -> None:
    assert len(list(keep_alive_warnings(Config(keep_alive=seconds)))) == warned


def test_budgets_longer_than_the_grace_period() -> None:
    config = Config(drain_delay=5.0, graceful_timeout=20.0, stream_grace=30.0, lifespan_shutdown_timeout=10.0)
    assert longest_stop_of(config) == 67.0
    assert list(budget_warnings(config, Expectations())) == []
    assert list(budget_warnings(config, Expectations(termination_grace_period=67.0))) == []
    [warning] = budget_warnings(config, Expectations(termination_grace_period=30.0))
    assert "67 s" in warning
    assert "30 s" in warning


@pytest.mark.parametrize(
    ("policy", "warned"), [(Preload.AUTO, 1), (Preload.APP, 1), (Preload.LIBRARIES, 1), (Preload.NONE, 0)]
)
def test_preloading_with_threads(policy: Preload, warned: int) -> None:
    config = Config(preload=policy)
    assert len(list(preload_warnings(config, "importing started threads"))) == warned
    assert list(preload_warnings(config, None)) == []


def test_more_workers_than_the_machine_feeds() -> None:
    assert list(worker_warnings(Config(workers="auto"))) == []
    assert list(worker_warnings(Config(workers=1))) == []
    [warning] = worker_warnings(Config(workers=100_000))
    assert "--workers 100000" in warning


@pytest.mark.parametrize(
    ("limit", "pools", "warned"), [(1024, 1, 1), (1200, 1, 0), (1024, 2, 0), (resource.RLIM_INFINITY, 1, 0)]
)
def test_too_few_descriptors_for_the_wished_streams(limit: int, pools: int, warned: int) -> None:
    assert len(list(descriptor_warnings(Config(pools=pools), Expectations(streams=1000), limit))) == warned


@pytest.mark.parametrize(
    ("mode", "said"), [("0666", ""), ("0660", ""), ("0600", "only user"), ("0440", "only root")]
)
def test_a_unix_socket_that_nobody_can_open(tmp_path: Path, mode: str, said: str) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o011 == 0:
            folder.chmod(0o755)
    config = Config(bind=(f"unix:{tmp_path}/s", "127.0.0.1:0"), unix_mode=mode)
    warnings = list(unix_socket_warnings(config))
    assert len(warnings) == bool(said)
    assert said in "".join(warnings)


def test_a_folder_that_nobody_may_enter_or_that_is_not_there(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    [warning] = unix_socket_warnings(Config(bind=(f"unix:{closed}/s",), unix_mode="0666"))
    assert f"only its owner may enter {closed}" in warning
    [warning] = unix_socket_warnings(Config(bind=(f"unix:{tmp_path}/nowhere/s",), unix_mode="0666"))
    assert "No such file" in warning


def test_options_of_the_other_interface() -> None:
    asgi, wsgi = Interface.ASGI, Interface.WSGI
    assert list(interface_warnings(Config(threads=4), wsgi, asgi)) == []
    assert "--threads 4" in next(interface_warnings(Config(threads=4), asgi, asgi))
    config = Config(lifespan=LifespanMode.ON)
    assert list(interface_warnings(config, wsgi, asgi)) == []
    assert "--lifespan on" in next(interface_warnings(config, wsgi, wsgi))


def test_routes_that_only_one_of_both_applications_knows() -> None:
    flask = pytest.importorskip("flask", reason="an extra: test").Flask("shop")
    flask.add_url_rule("/items/<int:id>", view_func=repr)
    flask.add_url_rule("/page", view_func=str)
    fastapi = FastAPI()
    for path in ("/items/{id}", "/events"):
        fastapi.get(path)(lambda: None)
    assert list(route_warnings(routes_of(flask), routes_of(flask))) == []
    only_workers, only_pool = route_warnings(routes_of(flask), routes_of(fastapi))
    assert "only the workers' application knows /page:" in only_workers
    assert "only --pool-app knows /events:" in only_pool
    assert routes_of(repr) is None
    assert list(route_warnings(routes_of(flask), routes_of(repr))) == []


def test_both_applications_are_loaded_and_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "checked_both.py").write_text(
        "def pages(environ, start_response): ...\nasync def streams(scope, receive, send): raise TypeError\n"
    )
    config = Config(app="checked_both:pages", app_dir=str(tmp_path), pool_app="checked_both:streams")
    found = check(config, Expectations())
    assert (found.app, found.lifespan) == ("checked_both:pages", False)
    with pytest.raises(AppLoadError, match="has no attribute 'none'"):
        check(replace(config, pool_app="checked_both:none"), Expectations())
