"""``ftprof sign`` and ``ftprof verify`` as their users call them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from signed_runs import run_folder
from test_counters_journal import WHOLE, counters_journal, run_journal

from ftprof.cli import main
from ftprof.record.record import load_record, save_record

Run = tuple[int, str, str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> object:
    def call(*arguments: str) -> Run:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def place(tmp_path: Path, run: object) -> Path:
    """A run directory, its record, a key and an adapter, in the current directory."""
    run_folder(Path("run"))
    assert run("merge", "run", "-o", "record.json")[0] == 0  # type: ignore[operator]
    assert run("sign", "--new-key", "key.pem")[0] == 0  # type: ignore[operator]
    Path("adapter/inner").mkdir(parents=True)
    Path("adapter/adapter_model.safetensors").write_bytes(b"weights")
    Path("adapter/inner/config.json").write_bytes(b"{}")
    return tmp_path


def test_the_whole_way(place: Path, run: object) -> None:
    code, out, err = run("sign", "record.json", "--key", "key.pem", "--journals", "run", "--subject", "adapter")  # type: ignore[operator]
    assert (code, err) == (0, "")
    assert "record.intoto.json" in out
    next_step = out.splitlines()[-1].split()
    assert next_step[:4] == ["next", "ftprof", "verify", "record.json"]
    whole = next_step[2:]
    code, out, err = run(*whole)  # type: ignore[operator]
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "record.json holds"
    assert "not checked" not in out
    answer = json.loads(run(*whole, "--json")[1])  # type: ignore[operator]
    assert (answer["schema"], answer["holds"], answer["place"]) == ("ftprof.verify/1", True, None)
    assert len(answer["key_id"]) == 64
    assert {check["result"] for check in answer["checks"]} == {"holds"}


def test_what_was_not_checked_is_said(place: Path, run: object) -> None:
    code, out, _ = run("verify", "record.json")  # type: ignore[operator]
    assert code == 0
    assert out.splitlines()[0] == "record.json holds as far as it was checked"
    assert "nobody vouches for this record" in out
    assert "journals  not checked" in out
    run("sign", "record.json", "--key", "key.pem", "--subject", "adapter")  # type: ignore[operator]
    code, out, _ = run("verify", "record.json", "--journals", "run")  # type: ignore[operator]
    assert code == 0
    for what in ("no public key was given", "they were not at hand at signing", "signed and not given with --subject"):
        assert what in out


def test_a_guidelines_basis_without_a_verdict_is_checked_too(place: Path, run: object) -> None:
    record = load_record(Path("record.json"))
    assert record.guidelines is not None
    for flops, code in ((record.guidelines["flops"], 0), ("0", 1)):
        other = replace(record, verdicts=(), guidelines={**record.guidelines, "flops": flops})
        save_record(other, Path("other.json"), overwrite=True)
        found, out, _ = run("verify", "other.json")  # type: ignore[operator]
        assert (found, "guidelines_basis" in out) == (code, code == 1)


def test_a_record_alone_can_be_signed(place: Path, run: object) -> None:
    code, out, _ = run("sign", "record.json", "--key", "key.pem", "-o", "other.json")  # type: ignore[operator]
    assert code == 0
    assert "the record stands alone" in out
    code, out, _ = run("verify", "record.json", "--envelope", "other.json", "--public-key", "key.pem.pub")  # type: ignore[operator]
    assert code == 0
    assert "signature  holds" in out


@pytest.mark.parametrize(
    ("change", "arguments", "place_of"),
    [
        ("record.json", [], "record.json, line "),
        ("adapter/inner/config.json", ["--subject", "adapter"], "adapter/inner/config.json: its bytes"),
        ("adapter/adapter_model.safetensors", ["--subject", "adapter/adapter_model.safetensors"], "it was not signed"),
        ("run/failures.txt", [], "run/failures.txt: its bytes"),
        ("record.intoto.json", [], "record.intoto.json, line "),
    ],
)
def test_a_change_is_named_and_ends_with_1(
    place: Path, run: object, change: str, arguments: list[str], place_of: str
) -> None:
    run("sign", "record.json", "--key", "key.pem", "--journals", "run", "--subject", "adapter")  # type: ignore[operator]
    Path(change).write_bytes(Path(change).read_bytes()[:-1] + b"?")
    whole = ["verify", "record.json", "--public-key", "key.pem.pub", "--journals", "run", *arguments]
    code, out, err = run(*whole)  # type: ignore[operator]
    assert (code, err) == (1, "")
    assert out.splitlines()[0] == "record.json does not hold"
    assert place_of in out.splitlines()[-1]
    answer = json.loads(run(*whole, "--json")[1])  # type: ignore[operator]
    assert answer["holds"] is False
    assert answer["place"]["file"]


def test_a_file_may_be_renamed_and_one_of_a_folder_may_not_be_missing(place: Path, run: object) -> None:
    run("sign", "record.json", "--key", "key.pem", "--subject", "adapter")  # type: ignore[operator]
    Path("renamed").write_bytes(b"weights")
    assert run("verify", "record.json", "--subject", "renamed")[0] == 0  # type: ignore[operator]
    Path("adapter/inner/config.json").unlink()
    code, out, _ = run("verify", "record.json", "--subject", "adapter")  # type: ignore[operator]
    assert (code, "adapter/inner/config.json: it was signed, and is not there" in out) == (1, True)


def test_what_does_not_hold_is_not_signed(place: Path, run: object) -> None:
    journal = next(Path("run").glob("*-7-*-counters.journal"))
    journal.write_bytes(journal.read_bytes().replace(b'"100"', b'"101"', 1))
    code, out, err = run("sign", "record.json", "--key", "key.pem", "--journals", "run")  # type: ignore[operator]
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert f"{journal}, line 4" in err
    assert not Path("record.intoto.json").exists()


def test_journals_of_another_run_are_said_to_be(place: Path, run: object) -> None:
    run_journal(Path("other"), run="another")
    counters_journal(Path("other"), *WHOLE, run="another")
    for command in (["sign", "record.json", "--key", "key.pem"], ["verify", "record.json"]):
        code, out, err = run(*command, "--journals", "other")  # type: ignore[operator]
        assert code == 1
        assert "these are the journals of another run" in out + err


def test_keys_are_private_and_never_overwritten(place: Path, run: object) -> None:
    assert stat.S_IMODE(Path("key.pem").stat().st_mode) == 0o600
    before = Path("key.pem").read_bytes()
    code, _, err = run("sign", "--new-key", "key.pem")  # type: ignore[operator]
    assert (code, "key.pem exists" in err) == (2, True)
    assert Path("key.pem").read_bytes() == before
    Path("key.pem").unlink()
    code, _, err = run("sign", "--new-key", "key.pem")  # type: ignore[operator]
    assert (code, "key.pem.pub exists" in err) == (2, True)
    assert not Path("key.pem").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["sign", "record.json"], 2, "--key FILE"),
        (["sign", "--key", "key.pem"], 2, "needs a RECORD"),
        (["sign", "record.json", "--new-key", "other"], 2, "signs nothing"),
        (["sign", "record.json", "--key", "record.json"], 1, "no private Ed25519 key"),
        (["sign", "record.json", "--key", "key.pem.pub"], 1, "no private Ed25519 key"),
        (["sign", "record.json", "--key", "none"], 1, "cannot be read"),
        (["sign", "none.json", "--key", "key.pem"], 1, "none.json cannot be read"),
        (["sign", "run", "--key", "key.pem"], 1, "run cannot be read"),
        (["sign", ".", "--key", "key.pem"], 1, "is no file"),
        (["verify", "."], 1, "is no file"),
        (["sign", "record.json", "--key", "key.pem", "-o", "key.pem.pub"], 2, "exists"),
        (["sign", "record.json", "--key", "key.pem", "-o", "none/x"], 1, "cannot be written"),
        (["sign", "record.json", "--key", "key.pem", "--journals", "none"], 1, "is gone"),
        (["sign", "record.json", "--key", "key.pem", "--subject", "none"], 2, "does not exist"),
        (["sign", "record.json", "--key", "key.pem", "--subject", "empty"], 2, "holds no file"),
        (["sign", "record.json", "--key", "key.pem", "--subject", "record.json"], 2, "name of the record"),
        (["sign", "record.json", "--key", "key.pem", "--subject", "key.pem", "--subject", "key.pem"], 2, "two files"),
        (["verify", "none.json"], 1, "none.json cannot be read"),
        (["verify", "record.json", "--public-key", "key.pem.pub"], 1, "there is no envelope"),
        (["verify", "record.json", "--envelope", "none"], 1, "cannot be read"),
        (["verify", "record.json", "--journals", "none"], 1, "is gone"),
        (["verify", "record.json", "--envelope", "key.pem", "--public-key", "key.pem"], 1, "no public Ed25519 key"),
        (["verify"], 2, "RECORD"),
    ],
)
def test_what_goes_wrong_is_one_line(place: Path, run: object, arguments: list[str], code: int, what: str) -> None:
    Path("empty").mkdir()
    found, out, err = run(*arguments)  # type: ignore[operator]
    assert (found, out, len(err.splitlines())) == (code, "", 1), err
    assert what in err


def test_keys_of_openssl_are_taken_and_a_passphrase_is_named(place: Path, run: object) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    encryption = BestAvailableEncryption(b"secret")
    content = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    Path("locked.pem").write_bytes(content)
    code, _, err = run("sign", "record.json", "--key", "locked.pem")  # type: ignore[operator]
    assert (code, "passphrase" in err) == (1, True)


def test_without_the_extra_it_says_what_to_install(place: Path) -> None:
    """Also that nothing of it is imported before a key is used."""
    blocked = "import sys; sys.modules['securesystemslib'] = None; from ftprof.cli import main; main(sys.argv[1:])"
    for arguments, code in ((["verify", "record.json"], 0), (["sign", "--help"], 0), (["sign", "--new-key", "x"], 1)):
        done = subprocess.run([sys.executable, "-c", blocked, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
    assert "pip install 'ftprof[sign]'" in done.stderr
    assert not Path("x").exists()
