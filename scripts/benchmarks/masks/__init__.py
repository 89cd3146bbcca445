"""How well masks are found: overlap with given ones, and clips put together of real ones, whose masks are known."""
