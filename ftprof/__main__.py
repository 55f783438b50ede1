"""Where ``ftprof`` and ``python -m ftprof`` begin: clear of what the user's environment tells Python to do.

Those variables are meant for the command that is wrapped. In ftprof's own process a folder on PYTHONPATH may hold
another ``click``, PYTHONINSPECT keeps it at a prompt, and a sitecustomize prints, starts threads or imports. So, before
anything that could be another's is imported:

- Where such a variable is set, the interpreter is started once more with ``-I`` (some 15 ms). ``os.environ``, which the
  command inherits, stays as it is; what a sitecustomize has put into a buffer is dropped.
- Where that cannot be (PYTHONHOME may be what this interpreter needs; inside another run its hook came by PYTHONPATH),
  and always where none is set, the process goes on.
- Either way the search path is put into order: what the interpreter has itself, then what the user added, which may be
  where torch lies. ftprof's own folder goes first where the interpreter does not know it (``pip install --target``,
  ``--user``), and ``python -m ftprof`` takes nothing from the folder that it is called in.
"""

import os
import site
import sys

# Those that change what a program does, and not only how it writes text or where it keeps compiled files.
_CHANGE_A_PROGRAM = (
    "PYTHONPATH",
    "PYTHONINSPECT",
    "PYTHONWARNINGS",
    "PYTHONOPTIMIZE",
    "PYTHONDEBUG",
    "PYTHONVERBOSE",
    "PYTHONDEVMODE",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONTRACEMALLOC",
    "PYTHONMALLOCSTATS",
    "PYTHONDUMPREFS",
    "PYTHONINTMAXSTRDIGITS",
)
_FIXED = ("PYTHONHOME", "FTPROF_RUN_DIR")
_USER_SITE = "ftprof_user_site"  # an option of ours, for what -I leaves out
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")  # what Python itself puts into LC_CTYPE (PEP 538)


def main() -> None:
    """Run the command line."""
    _give_back_the_locale()
    if not sys.flags.isolated and _is_changed():
        _start_isolated()
    _order_search_path()
    if sys.flags.isolated:
        _keep_the_asked_encoding()
    from ftprof.cli import main as command_line

    command_line()


def _give_back_the_locale() -> None:
    """In the C locale Python sets LC_CTYPE for its children; the command shall see what ftprof was given."""
    if os.environ.get("LC_CTYPE") not in _COERCED:
        return
    try:
        with open("/proc/self/environ", "rb") as file:
            given = file.read().split(b"\0")
    except OSError:
        return
    if not any(variable.startswith(b"LC_CTYPE=") for variable in given):
        del os.environ["LC_CTYPE"]


def _is_changed() -> bool:
    return any(map(os.environ.get, _CHANGE_A_PROGRAM)) and not any(map(os.environ.get, _FIXED))


def _start_isolated() -> None:
    """Comes back only where that fails."""
    options = ["-I", "-X", f"utf8={sys.flags.utf8_mode}", *(["-B"] if sys.flags.dont_write_bytecode else [])]
    if site.ENABLE_USER_SITE and site.USER_SITE in sys.path:
        options += ["-X", f"{_USER_SITE}={site.USER_SITE}"]
    try:
        os.execv(sys.executable, [sys.executable, *options, os.path.abspath(__file__), *sys.argv[1:]])
    except OSError:
        return


def _order_search_path() -> None:
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    no_folder_of_the_program = sys.flags.isolated or getattr(sys.flags, "safe_path", False)
    added = [] if no_folder_of_the_program else sys.path[:1]
    added += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    added += filter(None, [str(sys._xoptions.get(_USER_SITE, ""))])
    try:
        added = [os.path.abspath(entry) for entry in added]
    except OSError:  # the current folder is gone, and with it what is named from there
        added = [entry for entry in added if os.path.isabs(entry)]
    known = [entry for entry in sys.path if entry and entry not in added]
    last = [entry for entry in dict.fromkeys(added) if entry != own and (sys.flags.isolated or entry in sys.path)]
    sys.path[:] = [*([] if own in known else [own]), *known, *(entry for entry in last if entry not in known)]


def _keep_the_asked_encoding() -> None:
    """``-I`` reads no PYTHONIOENCODING either."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if (encoding or errors) and stream is not None:
            stream.reconfigure(  # type: ignore[union-attr]
                encoding=encoding or None, errors="backslashreplace" if stream is sys.stderr else errors or None
            )


if __name__ == "__main__":
    main()
