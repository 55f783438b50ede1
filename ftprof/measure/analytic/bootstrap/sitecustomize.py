# First on PYTHONPATH in every process of a run. Any Python may read this file, so its syntax is the oldest that
# still runs; what it loads is ../hook.py, one file that needs only the standard library and torch.
import os
import sys


def _load_hook():
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "hook.py")
    import importlib.util

    spec = importlib.util.spec_from_file_location("_ftprof_hook", path)
    hook = importlib.util.module_from_spec(spec)
    sys.modules["_ftprof_hook"] = hook
    spec.loader.exec_module(hook)
    hook.watch_for_torch()


def _run_the_users_own():
    """Python imports one sitecustomize only: give the user's, which ours hides, its turn."""
    import importlib.machinery

    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    if importlib.machinery.PathFinder.find_spec("sitecustomize") is not None:
        ours = sys.modules.pop("sitecustomize", None)
        try:
            __import__("sitecustomize")
        except BaseException:
            sys.modules["sitecustomize"] = ours
            raise


if sys.version_info >= (3, 9) and os.environ.get("FTPROF_RUN_DIR"):
    try:
        _load_hook()
    except Exception:
        # The meter must not break the process that it is in; ftprof's parent sees that no journal came from it.
        sys.modules.pop("_ftprof_hook", None)
if sys.version_info >= (3, 4):
    _run_the_users_own()
