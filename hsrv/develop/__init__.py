"""Development mode (`hsrv start --reload`). The supervisor's part is `hsrv.supervisor.develop`.

In reading order: `watchrules` (which files are watched), `brokenpage` (the error page for broken code), `devpages`
(ASGI applications for that page and for `--reload-browser`).
"""
