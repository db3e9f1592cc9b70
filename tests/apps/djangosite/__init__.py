"""A Django project with both of its applications: `wsgi` for pages, `asgi` for WebSockets and event streams."""
