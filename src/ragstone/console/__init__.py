"""The web page at `/`: ask, read the sources, upload, search.

`routes()` is everything a server needs. The page itself is plain ES modules and CSS in
`static/`; it talks to the same public HTTP API as every other client.
"""

from ragstone.console.routes import routes

__all__ = ["routes"]
