"""The dashboard.

In reading order: `dashboard` (the page, dashboard.html), `document` (a status in the format of the page), `feed` (the
events, for all viewers together).
"""
