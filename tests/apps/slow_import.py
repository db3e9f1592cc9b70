"""An application whose import takes its time."""

import os
import time

from tests.apps.raw import app

time.sleep(float(os.environ["IMPORT_SECONDS"]))

__all__ = ["app"]
