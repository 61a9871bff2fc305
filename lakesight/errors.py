"""The one exception that the command line turns into a single clear line and exit code 2."""


class UserError(ValueError):
    """A mistake that the person at the keyboard can mend.

    The message says what was expected, what came, and what to do. Anything else that is raised is
    our own mistake and keeps its traceback.
    """
