"""The file of `--env-file` is read again at each reload."""

import json
from pathlib import Path

import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import Serve, operate, reload
from tests.integration.wire import Wire, eventually

APP = """
import json, os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = json.dumps([os.environ.get(name) for name in ("FIRST", "OLD", "NEW", "OURS")]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


def seen(server: LiveServer) -> list[str | None]:
    with Wire(server.host, server.port) as wire:
        found: list[str | None] = wire.get("/").json
    return found


@pytest.mark.parametrize("by", ["command", "save"])
def test_new_changed_and_removed_variables_arrive(serve: Serve, tmp_path: Path, by: str) -> None:
    (tmp_path / "shop.py").write_text(APP)
    file = tmp_path / "app.env"
    file.write_text("FIRST=1\nOLD=1\nOURS=1\n")
    server = serve(
        "shop:app",
        cwd=tmp_path,
        workers=1,
        env={"OURS": "before"},
        env_file="app.env",
        reload=by == "save",
    )
    assert seen(server) == ["1", "1", None, "before"]
    file.write_text("FIRST=2\nNEW=2\nOURS=2\n")
    if by == "command":
        reload(server, wait=True)
    eventually(lambda: seen(server) == ["2", None, "2", "before"], "the new values")
    file.write_text("broken\n")
    if by == "command":
        assert "line 1" in operate(server, "reload").stderr
    else:
        server.wait_for_log(lambda entry: "line 1" in json.dumps(entry))
    assert seen(server) == ["2", None, "2", "before"], "the running code goes on"
