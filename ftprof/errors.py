"""The one error that a user sees: a single line that says what, where, and what to do."""

from __future__ import annotations

EXIT_UNTRUSTED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 125


class FtprofError(Exception):
    """A failure with a message for the user and the exit code that the command ends with.

    ``message`` is one line. ``exit_code`` follows docs/cli.md: 1 for an input that cannot be read or trusted,
    2 for wrong usage, 125 for a run that was refused before it started.
    """

    def __init__(self, message: str, exit_code: int = EXIT_UNTRUSTED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class UsageProblem(FtprofError):
    """A wrong argument or option value: exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EXIT_USAGE)


class UntrustedInput(FtprofError):
    """A record or journal that cannot be read, or whose content does not hold together: exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EXIT_UNTRUSTED)
