"""What processes tell without being asked, through memory that they share.

In reading order: `layout` (what stands where; pure), `snapshot` (a board at one moment; pure), `scoreboard` (writing
and reading one), `heartbeat` (signs of life), `stacks` (where its threads stand), `census` (limits of the whole
server).
"""
