"""While somebody writes the application (`hsrv start --reload`). The supervisor's part is `hsrv.supervisor.develop`.

In reading order: `watchrules` (which files count), `brokenpage` (what a browser is shown of broken code), `devpages`
(the applications that show it).
"""
