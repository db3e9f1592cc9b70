"""The pages. The database is made by whoever imports this first: a template, once."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.apps.djangosite.settings")
application = get_wsgi_application()


def prepare() -> None:
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connections

    if not os.path.exists(os.environ["DJANGO_DB"]):  # noqa: PTH110  # it may be relative, or a URI
        call_command("migrate", verbosity=0)
        get_user_model().objects.create_superuser("ada", "ada@example.org", "secret")
        connections.close_all()


prepare()
