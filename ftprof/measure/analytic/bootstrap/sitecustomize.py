# First on PYTHONPATH in every process of a run. Any Python may read this file, so its syntax is the oldest that
# still runs; what it loads is ../hook.py, one file that needs only the standard library and torch.
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _load_hook():
    import importlib.util

    path = os.path.join(os.path.dirname(_HERE), "hook.py")
    spec = importlib.util.spec_from_file_location("_ftprof_hook", path)
    hook = importlib.util.module_from_spec(spec)
    sys.modules["_ftprof_hook"] = hook
    spec.loader.exec_module(hook)
    hook.watch_for_torch()


def _say_that_it_failed(why):
    """ftprof's parent reads this file: a process that went uncounted must not go unnamed."""
    try:
        with open(os.path.join(os.environ["FTPROF_RUN_DIR"], "failures.txt"), "a") as file:
            file.write("process %d: %s\n" % (os.getpid(), " ".join(why.split())))
    except Exception:
        pass  # the meter must not break the process that it is in


def _say_if_torch_was_used():
    if "torch" in sys.modules:
        _say_that_it_failed("Python %d.%d is too old for the analytic meter, which needs 3.9" % sys.version_info[:2])


def _run_the_users_own():
    """Python imports one sitecustomize only: give the user's, which ours hides, its turn."""
    import importlib.machinery

    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != _HERE]
    if importlib.machinery.PathFinder.find_spec("sitecustomize") is not None:
        ours = sys.modules.pop("sitecustomize", None)
        try:
            __import__("sitecustomize")
        except BaseException:
            sys.modules["sitecustomize"] = ours
            raise


if os.environ.get("FTPROF_RUN_DIR"):
    if sys.version_info >= (3, 9):
        try:
            _load_hook()
        except Exception as problem:
            sys.modules.pop("_ftprof_hook", None)
            _say_that_it_failed("the analytic meter could not be loaded: %r" % (problem,))
    else:
        import atexit

        atexit.register(_say_if_torch_was_used)
if sys.version_info >= (3, 4):
    _run_the_users_own()
