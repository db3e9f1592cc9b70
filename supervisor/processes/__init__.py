"""The processes as the supervisor holds them.

In reading order: `children` (one worker or pool: its pid and control channel), `templates` (one template and its
packet channel).
"""
