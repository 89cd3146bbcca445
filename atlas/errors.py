"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """Something the user must change.

    The message is one line: what is wrong, where (the file), and what to do. Commands print it
    after ``error: `` and exit with status 2; nothing has been half-written when it is raised.
    """
