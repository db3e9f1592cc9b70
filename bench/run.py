"""Goes through the tables: A B C A B C, never A A B B C C, so that a slow minute of the machine hits everybody."""

import http.client
import subprocess
from collections.abc import Sequence

import psutil

from bench import servers, wrk
from bench.meter import Result
from bench.process import Failure, client_pinned, running
from bench.scenarios import Scenario
from bench.tables import Row


def taking_part(scenario: Scenario, chosen: Sequence[servers.Server]) -> list[servers.Server]:
    return [
        server for server in chosen if set(server.kinds) & set(scenario.kinds) and scenario.log in server.log
    ]


def obstacle(scenario: Scenario, server: servers.Server) -> str | None:
    return servers.missing(server) or (wrk.missing() if scenario.uses_wrk else None)


def once(scenario: Scenario, server: servers.Server, seconds: float) -> Result:
    """A fresh server for every sample: one lucky memory layout isn't measured five times."""
    try:
        with (
            running(
                server, scenario.app, scenario.workers, scenario.log, scenario.pinned, grace=scenario.grace
            ) as tree,
            client_pinned(scenario.pinned),
        ):
            return scenario.run(tree, seconds)
    except Failure:
        raise
    except TimeoutError as error:
        raise Failure("an answer took too long") from error
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{type(error).__name__}: {error}"[:120]) from error
    except (psutil.Error, subprocess.SubprocessError) as error:
        raise Failure(f"could not measure: {type(error).__name__}") from error


def measure(
    scenario: Scenario, chosen: Sequence[servers.Server], rounds: int, seconds: float
) -> dict[str, Row]:
    """A server that fails once is told so and isn't tried again."""
    rows: dict[str, Row] = {}
    for server in taking_part(scenario, chosen):
        row: Row = {"samples": [], "limit": server.limit}
        reason = obstacle(scenario, server)
        if reason:
            row["failed"] = reason
        rows[server.name] = row
    for _ in range(min(rounds, scenario.rounds)):
        for name, row in rows.items():
            if "failed" in row:
                continue
            try:
                row["samples"].append(once(scenario, servers.BY_NAME[name], seconds))
            except Failure as failure:
                row["failed"] = str(failure)
    return rows
