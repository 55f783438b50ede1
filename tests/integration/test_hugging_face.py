"""The callback in real trainings of Hugging Face's Trainer and TRL's SFTTrainer, on the CPU with random weights."""

from __future__ import annotations

import importlib.resources
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import FTPROF, clean_environment

pytestmark = pytest.mark.slow
HERE = str(Path(__file__).parent)
PROLOGUE = """
import json, os, shutil, signal, sys
from pathlib import Path
from train_with_libraries import *
quiet()
from ftprof.integrations import training
from ftprof.integrations.hugging_face import FtprofCallback
BASE = {"pretrain_flops": "8.4e22"}
def train(folder, *others, resume=False, of=hugging_face, callback=None, **changes):
    callback = callback or FtprofCallback(**BASE)
    trainer = of(Path(folder), [callback, *others], **changes)
    trainer.train(resume_from_checkpoint=resume)
    return {**told(callback.result), "logs": trainer.state.log_history}
found = {}
"""


def run(folder: Path, program: str) -> dict[str, Any]:
    """What the program found, by name; it ended well."""
    path = folder / "program.py"
    path.write_text(PROLOGUE + textwrap.dedent(program) + 'Path("found.json").write_text(json.dumps(found))\n')
    environment = clean_environment(PYTHONPATH=HERE, HF_HUB_OFFLINE="1")
    done = subprocess.run(
        [sys.executable, str(path)], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads((folder / "found.json").read_text()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One process trains in many ways, since it takes far longer to import the libraries."""
    folder = tmp_path_factory.mktemp("trained")
    program = """
    WITH_ALL = {"eval_strategy": "steps", "eval_steps": 2, "gradient_checkpointing": True}

    found["by torch"] = counted_by_torch(lambda: hugging_face(Path("bare"), []).train())
    found["by torch, with all"] = counted_by_torch(lambda: hugging_face(Path("bare"), [], **WITH_ALL).train())
    found["evaluation"] = counted_by_torch(hugging_face(Path("bare"), []).evaluate)

    found["whole"] = train("whole")
    found["first"] = train("resumed", at_step(2, stop))
    found["resumed"] = train("resumed", resume=True)
    found["whole with all"] = train("whole-with-all", **WITH_ALL)
    train("resumed-with-all", at_step(2, stop), **WITH_ALL)
    found["resumed with all"] = train("resumed-with-all", resume=True, **WITH_ALL)

    for again in (False, True):
        named = FtprofCallback(policy="ec-2025", **BASE)
        others = () if again else (at_step(2, stop),)
        found["by ec-2025"] = train("named", *others, resume=again, callback=named, **WITH_ALL)

    found["exit codes"] = [
        in_child(lambda: train("failed", at_step(3, fail))),
        in_child(lambda: train("killed", at_step(3, lambda _: os.kill(os.getpid(), signal.SIGKILL)))),
    ]
    def killed_after_a_log():
        training._KEEP_EVERY_S = 0.0
        train("killed-later", at_step(4, lambda _: os.kill(os.getpid(), signal.SIGKILL)))

    found["exit codes"].append(in_child(killed_after_a_log))
    found["killed after a log"] = train("killed-later", resume=True)
    found["after a failure"] = train("failed", resume=True)
    found["after a kill"] = train("killed", resume=True)
    try:
        train("here", at_step(3, fail))
    except RuntimeError as error:
        found["the error"] = str(error)
    found["after a failure here"] = train("here", resume=True)

    def strip(folder, of_file, of_state):
        checkpoint = Path(folder, "checkpoint-2")
        if of_file is None:
            (checkpoint / "ftprof.json").unlink()
        else:
            (checkpoint / "ftprof.json").write_text(of_file)
        path = checkpoint / "trainer_state.json"
        state = json.loads(path.read_text())
        change = state["stateful_callbacks"]["FtprofCallback"]["attributes"]
        change["checkpoint"] = of_state(change["checkpoint"])
        path.write_text(json.dumps(state))

    def altered(record):
        return {**record, "flops": "1"}

    for name, of_file, of_state in (
        ("file alone", None, lambda kept: kept), ("state alone", None, None), ("neither", None, lambda kept: None),
        ("both corrupt", "{", altered),
    ):
        shutil.copytree("resumed", name)
        shutil.rmtree(Path(name, "checkpoint-4"))
        if name == "state alone":
            record = Path(name, "checkpoint-2", "ftprof.json").read_text()
            strip(name, record, lambda kept: None)
        else:
            strip(name, of_file, of_state)
        found[name] = train(name, resume=True)

    hugging_face(Path("without"), [at_step(2, stop)]).train()
    found["without"] = train("without", resume=True)
    found["without, then resumed"] = train("without", resume=True, max_steps=6)
    train("first-here", at_step(2, stop))
    found["elsewhere"] = train("elsewhere", resume="first-here/checkpoint-2")
    found["elsewhere again"] = train("elsewhere", resume="first-here/checkpoint-2")
    shutil.copytree("first-here/checkpoint-2", "alone/checkpoint-2")
    Path("alone/checkpoint-2/ftprof.json").unlink()  # which knows that the run ended there
    found["alone"] = train("from-alone", resume="alone/checkpoint-2")

    six = {"max_steps": 6}
    train("between", at_step(2, stop), **six)
    hugging_face(Path("between"), [at_step(4, stop)], **six).train(resume_from_checkpoint=True)
    found["between"] = train("between", resume=True, **six)
    first, second = FtprofCallback(**BASE), FtprofCallback(**BASE)
    found["first of two"] = train("two", second, callback=first)
    found["second of two"] = told(second.result)

    Path("no-folder").mkdir()
    Path("no-folder/_ftprof").write_text("a file where a folder should be")
    found["no folder"] = train("no-folder")
    anew = {"max_steps": 6, "restore_callback_states_from_checkpoint": True}
    found["restored by the Trainer"] = train("resumed", resume=True, **anew)["logs"]
    train("resumed", max_steps=2)
    found["over another's checkpoint"] = json.loads(Path("resumed/checkpoint-2/ftprof.json").read_text())["runs"]
    """
    return folder, run(folder, program)


def test_the_total_is_that_of_torchs_own_counter(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, found = trained
    whole = found["whole"]
    assert whole["flops"] == whole["high"] == found["by torch"]
    assert (whole["complete"], whole["by_phase"]) == (True, {"train": whole["flops"]})
    record = json.loads((folder / "whole" / "ftprof.json").read_text())
    assert (record["flops"], len(record["verdicts"])) == (str(found["by torch"]), 2)


def test_the_trainers_logs_hold_the_figures(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, found = trained
    written = json.loads((folder / "whole" / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    logs = found["whole"]["logs"]
    assert written == logs[:4]
    step = found["by torch"] // 4
    assert [log["ftprof/flops"] for log in logs] == [step, 2 * step, 3 * step, 4 * step, 4 * step]
    assert all(log["ftprof/flops_per_second"] > 0 for log in logs)
    assert 0 < logs[-1]["ftprof/threshold_share"] == pytest.approx(found["whole"]["ratio"])
    assert not any("ftprof/flops_exact" in log for log in logs)


def test_a_resumed_training_totals_what_an_uninterrupted_one_does(trained: tuple[Path, dict[str, Any]]) -> None:
    _, found = trained
    assert found["first"]["flops"] * 2 == found["whole"]["flops"]
    resumed = found["resumed"]
    assert (resumed["flops"], resumed["high"]) == (found["by torch"], found["by torch"])
    assert (resumed["complete"], len(resumed["runs"])) == (True, 2)
    own = [log["ftprof/flops"] for log in resumed["logs"]]
    assert own == [log["ftprof/flops"] for log in found["whole"]["logs"]]


def test_evaluation_and_recomputation_are_told_apart_and_carried(trained: tuple[Path, dict[str, Any]]) -> None:
    _, found = trained
    for name in ("whole with all", "resumed with all"):
        part = found[name]
        assert (part["flops"], part["complete"]) == (found["by torch, with all"], True), name
        assert part["by_phase"]["train"] == part["guidelines"] == found["by torch"]
        assert part["by_phase"]["evaluate"] == 2 * found["evaluation"]
        assert part["by_phase"]["recompute"] > 0
        evaluations = [log for log in part["logs"] if "eval_loss" in log]
        assert evaluations
        assert not any(name.startswith("ftprof") for log in evaluations for name in log)
    assert found["whole with all"]["by_phase"] == found["resumed with all"]["by_phase"]


@pytest.mark.parametrize("name", ["after a failure", "after a failure here"])
def test_what_was_thrown_away_after_the_checkpoint_was_executed_too(
    trained: tuple[Path, dict[str, Any]], name: str
) -> None:
    _, found = trained
    assert found["exit codes"][0] == 1
    assert found["the error"] == "a failure of the user's own"
    step = found["by torch"] // 4
    assert (found[name]["flops"], found[name]["complete"]) == (5 * step, True)
    assert f"{step} FLOP were executed after the checkpoint" in " ".join(found[name]["reasons"])


def test_what_a_killed_process_did_last_is_named(trained: tuple[Path, dict[str, Any]]) -> None:
    _, found = trained
    assert found["exit codes"][1] == -9
    part = found["after a kill"]
    assert (part["flops"], part["complete"], part["high"]) == (found["by torch"], False, None)
    assert f"run {part['runs'][0]} was killed or is still running: what it did after" in " ".join(part["reasons"])
    part = found["killed after a log"]
    assert found["exit codes"][2] == -9
    assert (part["flops"], part["complete"]) == (found["by torch"] * 5 // 4, False), "up to the third step's log"


def test_the_share_is_that_of_the_named_policys_figure(trained: tuple[Path, dict[str, Any]]) -> None:
    """The Guidelines' figure leaves evaluation and recomputation out, of the earlier run too."""
    _, found = trained
    last = found["by ec-2025"]["logs"][-1]
    assert last["ftprof/flops"] == found["by torch, with all"]
    assert last["ftprof/threshold_share"] == pytest.approx(found["by torch"] / 2.8e22, rel=1e-12)


@pytest.mark.parametrize("name", ["resumed/ftprof.json", "resumed/checkpoint-2/ftprof.json", "failed/ftprof.json"])
def test_records_are_what_every_command_reads(trained: tuple[Path, dict[str, Any]], name: str) -> None:
    folder, _ = trained
    schema = json.loads((importlib.resources.files("ftprof.record.schemas") / "record-1.json").read_text())
    jsonschema.validate(json.loads((folder / name).read_text()), schema)
    for form in ("text", "markdown", "html", "json", "flops-meter"):
        done = subprocess.run([FTPROF, "report", str(folder / name), "--format", form], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), form


@pytest.mark.parametrize("name", ["file alone", "state alone"])
def test_either_copy_of_the_record_is_enough(trained: tuple[Path, dict[str, Any]], name: str) -> None:
    """The folder holds both runs of before, the second of which is thrown away."""
    _, found = trained
    assert (found[name]["flops"], found[name]["complete"]) == (found["by torch"] * 3 // 2, True)


@pytest.mark.parametrize("name", ["neither", "both corrupt", "without", "without, then resumed"])
def test_without_a_record_the_training_goes_on_and_says_so(trained: tuple[Path, dict[str, Any]], name: str) -> None:
    _, found = trained
    part = found[name]
    own = found["by torch"] if name == "without, then resumed" else found["by torch"] // 2
    assert (part["flops"], part["complete"], part["high"]) == (own, False, None)
    reasons = " ".join(part["reasons"])
    assert "from a checkpoint without a record that can be read, what was executed before is not in it" in reasons
    assert ("cannot be trusted" in reasons and "is no JSON" in reasons) == (name == "both corrupt")


def test_a_training_goes_on_from_anothers_checkpoint_as_often_as_it_likes(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    _, found = trained
    assert (found["elsewhere"]["flops"], found["elsewhere"]["complete"]) == (found["by torch"], True)
    again = found["elsewhere again"]
    assert (again["flops"], again["complete"]) == (found["by torch"] * 3 // 2, True), "the first time was executed, too"


def test_steps_without_the_callback_are_named(trained: tuple[Path, dict[str, Any]]) -> None:
    """The Trainer carries the callback's state along, as of the step that it knew."""
    _, found = trained
    part = found["between"]
    assert (part["flops"], part["complete"], part["high"]) == (found["by torch"], False, None)
    assert "what steps 3 to 4 executed is not in it" in " ".join(part["reasons"])


def test_of_two_callbacks_the_first_counts(trained: tuple[Path, dict[str, Any]]) -> None:
    _, found = trained
    first = found["first of two"]
    assert (first["flops"], first["complete"]) == (found["by torch"], True)
    assert first["logs"][-1]["ftprof/flops"] == found["by torch"]
    assert "begun again" not in " ".join(first["reasons"])
    assert found["second of two"]["flops"] is None


def test_a_checkpoint_taken_elsewhere_cannot_tell_what_followed_it(trained: tuple[Path, dict[str, Any]]) -> None:
    _, found = trained
    part = found["alone"]
    assert (part["flops"], part["complete"], part["high"]) == (found["by torch"], False, None)
    assert f"run {part['runs'][0]} went on after the checkpoint, and its record is not in" in " ".join(part["reasons"])


def test_a_folder_that_cannot_be_written_harms_nothing(trained: tuple[Path, dict[str, Any]]) -> None:
    _, found = trained
    assert (found["no folder"]["flops"], found["no folder"]["complete"]) == (found["by torch"], True)


def test_the_trainer_may_make_the_callback_anew(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, found = trained
    last = found["restored by the Trainer"][-1]
    assert last["ftprof/flops"] == found["by torch"] * 3 // 2
    record = json.loads((folder / "resumed" / "ftprof.json").read_text())
    assert record["flops"] == str(last["ftprof/flops"]), "a training of its own in the same folder leaves it"
    assert len(found["over another's checkpoint"]) == 1
    assert found["over another's checkpoint"][0]["ended_us"] is not None, "it ended there"
    (own,) = (path for path in (folder / "resumed").glob("ftprof-*.json"))
    assert json.loads(own.read_text())["flops"] == str(found["by torch"] // 2)


def test_totals_beyond_2_to_the_64_stay_exact(tmp_path: Path) -> None:
    """A record that says so much stands in for a training that executed it."""
    found = run(
        tmp_path,
        """
        from dataclasses import replace
        from ftprof.record.interval import Interval
        from ftprof.record.record import load_record, save_record
        from ftprof.record.timeline import Timeline
        train("long", at_step(2, stop))
        more = 2**64 + 1
        for path in [*Path("long/_ftprof").rglob("*.json"), Path("long/checkpoint-2/ftprof.json")]:
            record = load_record(path)
            cell = next(iter(record.counts))
            counts = {**record.counts, cell: (record.counts[cell][0], record.counts[cell][1] + more)}
            total = record.interval.value + more
            time = Timeline()
            time.add(record.runs[0].began_us, record.runs[0].ended_us, total)
            processes = (replace(record.processes[0], flops=total),)
            interval = Interval(total, total, total)
            changed = replace(record, counts=counts, interval=interval, timeline=time, processes=processes)
            save_record(changed, path, overwrite=True)
        found["whole"] = train("whole")
        found["resumed"] = train("long", resume=True)
        """,
    )
    exact = 2**64 + 1 + found["whole"]["flops"]
    assert found["resumed"]["flops"] == found["resumed"]["high"] == exact
    last = found["resumed"]["logs"][-1]
    assert (last["ftprof/flops"], last["ftprof/flops_exact"]) == (float(exact), str(exact))
    assert int(float(exact)) != exact
    checked = subprocess.run(
        [FTPROF, "check", str(tmp_path / "long" / "ftprof.json"), "--json"], capture_output=True, text=True
    )
    assert json.loads(checked.stdout)["flops"] == str(exact)


def test_trls_sft_trainer(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
        WITH_ALL = {"eval_strategy": "steps", "eval_steps": 2, "gradient_checkpointing": True}
        found["by torch"] = counted_by_torch(lambda: sft(Path("bare"), []).train())
        found["by torch, with all"] = counted_by_torch(lambda: sft(Path("bare"), [], **WITH_ALL).train())
        found["whole"] = train("whole", of=sft, **WITH_ALL)
        train("resumed", at_step(2, stop), of=sft, **WITH_ALL)
        found["resumed"] = train("resumed", of=sft, resume=True, **WITH_ALL)
        """,
    )
    for name in ("whole", "resumed"):
        part = found[name]
        assert (part["flops"], part["complete"]) == (found["by torch, with all"], True), name
        assert part["guidelines"] == part["by_phase"]["train"] == found["by torch"]
        assert set(part["by_phase"]) == {"train", "evaluate", "recompute"}
        steps = [log for log in part["logs"] if "loss" in log]
        assert len(steps) == 4
        assert all("ftprof/flops" in log and "mean_token_accuracy" in log for log in steps)
    assert found["whole"]["by_phase"] == found["resumed"]["by_phase"]
