"""`hsrv check`: an application is tried, and nothing is served."""

from pathlib import Path

from tests.integration.conftest import hsrv


def test_check_loads_the_application_and_warns_of_what_bites_later(tmp_path: Path) -> None:
    (tmp_path / "threaded.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True, name='poll').start()\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        while True:\n"
        "            message = await receive()\n"
        "            open('story', 'a').write(message['type'] + ' ')\n"
        "            await send({'type': message['type'] + '.complete'})\n"
        "            if message['type'] == 'lifespan.shutdown':\n"
        "                return\n"
    )
    arguments = [
        "--keep-alive",
        "30",
        "--workers",
        "500",
        "--bind",
        f"unix:{tmp_path}/s",
        "--unix-mode",
        "0400",
    ]
    wishes = ["--termination-grace-period", "20", "--streams", "9000000"]
    done = hsrv("check", "threaded:app", *arguments, *wishes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "threaded:app loads, lifespan started and shut down" in done.stdout
    assert (tmp_path / "story").read_text() == "lifespan.startup lifespan.shutdown "
    for warned in (
        "--keep-alive 30",
        "KILL comes after 20 s",
        "started threads",
        "--workers 500",
        "ulimit",
        "only root can connect",
    ):
        assert warned in done.stderr
    assert hsrv("check", "threaded:app", "--strict", cwd=tmp_path).returncode == 1
    fine = hsrv("check", "tests.apps.raw:app", "--strict")
    assert (fine.returncode, fine.stderr) == (0, "")


def test_check_fails_like_a_start_would(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nowhere\n")
    done = hsrv("check", "broken:app", cwd=tmp_path)
    assert done.returncode == 3
    assert "nowhere" in done.stderr
    assert hsrv("check", "broken:app", "--keep-alive", "soon", cwd=tmp_path).returncode == 2


def test_check_names_what_processes_must_not_share(tmp_path: Path) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "jobs.py").write_text(
        "import multiprocessing\nWORK = multiprocessing.Queue()\n"
    )
    (tmp_path / "shop.py").write_text("import jobs\nasync def app(scope, receive, send): ...\n")
    env = {"PYTHONPATH": str(tmp_path / "site-packages")}
    for policy, imported in (("auto", "the application"), ("libraries", "the libraries")):
        done = hsrv("check", "shop:app", "--preload", policy, cwd=tmp_path, env=env)
        assert (
            f"importing {imported} created objects that processes must not share: Queue jobs.WORK"
            in done.stderr
        )
