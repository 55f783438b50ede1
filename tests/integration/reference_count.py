"""Count the example's training with torch's FlopCounterMode put around it by hand.

The total that ftprof's analytic method must equal, to the operation. Run it alone or under torchrun;
options that it does not know go to the example. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from torch.utils.flop_counter import FlopCounterMode

from ftprof.measure.analytic.hook import extra_formulas

EXAMPLE = Path(__file__).parents[2] / "scripts" / "examples" / "finetune_lora.py"


def load_example() -> ModuleType:
    """Import the example from its file: it belongs to no package."""
    spec = importlib.util.spec_from_file_location("finetune_lora", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def count(example_args: Sequence[str]) -> dict[str, int]:
    """Train as the example does and return the operations of each operator."""
    example = load_example()
    with FlopCounterMode(display=False, custom_mapping=extra_formulas()) as mode:
        example.main(example_args)
    return {str(operator): int(flops) for operator, flops in mode.get_flop_counts()["Global"].items()}


def as_json(by_operator: dict[str, int]) -> str:
    """Write the counts as one line, with integers as decimal strings."""
    result = {
        "total": str(sum(by_operator.values())),
        "by_operator": {name: str(flops) for name, flops in sorted(by_operator.items())},
    }
    return json.dumps(result)


def main() -> None:
    """Count, print, and save one file for each rank if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for rank-<n>.json")
    args, example_args = parser.parse_known_args()
    line = as_json(count(example_args))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        path = args.out / f"rank-{os.environ.get('RANK', '0')}.json"
        path.write_text(line + "\n", encoding="utf-8")
    print(line, flush=True)


if __name__ == "__main__":
    main()
