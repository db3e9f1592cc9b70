"""The dashboard.

In reading order: `dashboard` (its page, dashboard.html), `document` (a status as the page needs it), `feed` (one look
per second for all viewers).
"""
