"""The errors of the kit. Each message is one paragraph: what, where, what to do."""


class SetupError(Exception):
    """The run cannot begin as it is configured; pytest shows it as a usage error."""


class NoServerError(SetupError):
    """There is no server to be had, for this test and for every later one: the run ends."""


class IsolationError(Exception):
    """A test did what its isolation level cannot show; the message names the marker to add."""


class NotUndoneError(IsolationError):
    """A rollback test has ended the transaction around it, so that its database may not be what it was."""
