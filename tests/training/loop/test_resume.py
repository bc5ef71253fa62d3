"""An interrupted training goes on as if nothing had happened: the same weights and the same curves, to the bit."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from training import preference, reference, sft
from training.criteria.next_item import Targets
from training.criteria.preferred import PreferenceBatch
from training.criteria.sampled_next_item import TargetsAndSample
from training.loop.replies import Replies

SFT = {
    "kind": "sft",
    "backbone": {"kind": "scratch", "hidden": 16, "layers": 1, "heads": 2, "context": 16, "dropout": 0.1},
    "optimizer": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.01},
    "budget": {"epochs": 3, "batch_size": 64, "validations": 3},
}
MCPO = {
    "kind": "preference",
    "start_from": "sft",
    "objective": {"kind": "mcpo", "beta": 1.0},
    "optimizer": {"kind": "lion", "lr": 1e-3},
    "budget": {"epochs": 3, "batch_size": 64, "validations": 5, "patience": 3},
}
OF_THE_PROCESS = ("rows_per_s", "seconds", "peak_memory_bytes")
"""What differs between two runs of the same training."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing is saved on the way out."""


class Trainings:
    """Runs commands on one data set, all with the same folder of checkpoints."""

    def __init__(self, tables: Any, folder: Path) -> None:
        self.tables, self.folder, self.checkpoints = tables, folder, folder / "checkpoints"
        self.numbers = count()

    def spec(self, **fields: Any) -> Path:
        output = self.folder / f"output {next(self.numbers)}"
        output.mkdir()
        fields = {
            "histories": self.tables.histories,
            "items": self.tables.items,
            "output": output,
            "checkpoints": self.checkpoints,
            "compute": {"log_every": 2, "checkpoint_every_s": 0, "threads": 1},
            "experiment": SFT,
            **fields,
        }
        (output / "spec.json").write_text(json.dumps(fields, default=str))
        return output

    def run(self, command: Any, **fields: Any) -> Path:
        output = self.spec(**fields)
        assert command.main([str(output / "spec.json")]) == 0
        return output

    def killed(
        self,
        monkeypatch: pytest.MonkeyPatch,
        at_step: int,
        command: Any = sft,
        batch: Any = Targets,
        **fields: Any,
    ) -> None:
        """A training whose process dies in the middle of a step."""
        losses, steps = batch.losses, count(1)

        def die(self: Any, logps: Any) -> Any:
            if next(steps) == at_step:
                raise Killed
            return losses(self, logps)

        output = self.spec(**fields)
        with monkeypatch.context() as patch:
            patch.setattr(batch, "losses", die)
            with pytest.raises(Killed):
                command.main([str(output / "spec.json")])


@pytest.fixture
def trainings(tables: Any, tmp_path: Path) -> Trainings:
    return Trainings(tables, tmp_path)


@pytest.fixture
def curves(telemetry_lines: Callable[[Path], list[dict[str, Any]]]) -> Callable[[Path], list[Any]]:
    """Everything that was measured: no clocks and memory, no progress, no word of checkpoints."""

    def read(output: Path) -> list[Any]:
        return [
            (
                line["kind"],
                line["step"],
                line["epoch"],
                {name: value for name, value in line["metrics"].items() if name not in OF_THE_PROCESS},
            )
            for line in telemetry_lines(output)
            if line["kind"] != "progress" and not {"saved_step", "resumed_from_step"} & line["metrics"].keys()
        ]

    return read


def weights(output: Path) -> bytes:
    return (output / "policy" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("at_step", [1, 2, 5, 6, 13])
def test_a_killed_training_ends_as_an_uninterrupted_one(
    trainings: Trainings, curves: Callable[[Path], list[Any]], monkeypatch: pytest.MonkeyPatch, at_step: int
) -> None:
    whole = trainings.run(sft, checkpoints=None)
    trainings.killed(monkeypatch, at_step)
    trainings.killed(monkeypatch, 2)  # and again, in the second step after it
    resumed = trainings.run(sft)
    assert weights(resumed) == weights(whole)
    assert curves(resumed) == curves(whole)


def test_the_last_weights_are_kept_after_an_interruption_too(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = {**SFT, "budget": {**SFT["budget"], "keep": "last"}, "optimizer": {"kind": "adamw", "lr": 0.3}}
    whole = trainings.run(sft, checkpoints=None, experiment=experiment)
    trainings.killed(monkeypatch, 14, experiment=experiment)
    resumed = trainings.run(sft, experiment=experiment)
    assert weights(resumed) == weights(whole)
    card = json.loads((resumed / "policy" / "policy.json").read_text())
    assert card["selection"]["step"] == 15
    best = trainings.run(sft, checkpoints=None, experiment={**experiment, "budget": SFT["budget"]})
    assert weights(best) != weights(whole)


def test_it_says_from_which_step_it_goes_on(
    trainings: Trainings,
    telemetry_lines: Callable[[Path], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trainings.killed(monkeypatch, 5)
    resumed = trainings.run(sft)
    assert f"resumed from step 4 of 15: {trainings.checkpoints / 'step-00000004'}" in capsys.readouterr().err
    assert resumed_from(telemetry_lines(resumed)) == [4]


@pytest.fixture
def inputs(trainings: Trainings) -> dict[str, Any]:
    """What a preference training reads beside histories and items."""
    start = trainings.run(sft, checkpoints=None) / "policy"
    train = trainings.tables.rows("train")
    rejected = [[(row["target"] + k) % trainings.tables.n_items for k in (1, 2, 3)] for row in train]
    rows = trainings.folder / "preference_rows.parquet"
    columns = {
        "row_id": pa.array([row["row_id"] for row in train], pa.int32()),
        "chosen": pa.array([row["target"] for row in train], pa.int32()),
        "rejected": pa.array(rejected, pa.list_(pa.int32())),
    }
    pq.write_table(pa.table(columns), rows)
    output = trainings.spec(policy=start, preference_rows=rows)
    spec = json.loads((output / "spec.json").read_text())
    (output / "spec.json").write_text(
        json.dumps({k: v for k, v in spec.items() if k not in ("checkpoints", "experiment")})
    )
    assert reference.main([str(output / "spec.json")]) == 0
    logps = output / "reference_logps.parquet"
    return {"start_policy": start, "preference_rows": rows, "reference_logps": logps, "experiment": MCPO}


def test_draws_of_the_loss_lion_and_patience_go_on_too(
    trainings: Trainings,
    inputs: dict[str, Any],
    curves: Callable[[Path], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = trainings.run(preference, **inputs, checkpoints=None)
    trainings.killed(monkeypatch, 6, preference, PreferenceBatch, **inputs)
    resumed = trainings.run(preference, **inputs)
    assert weights(resumed) == weights(whole)
    assert curves(resumed) == curves(whole)


def test_a_training_that_is_told_to_end_ends_there_after_an_interruption_too(
    trainings: Trainings,
    inputs: dict[str, Any],
    curves: Callable[[Path], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    experiment = {**MCPO, "budget": {**MCPO["budget"], "patience": None, "keep": "last", "stop_on_collapse": True}}
    inputs = {**inputs, "experiment": experiment, "awaits_replies": True}

    def judged(end: int, **fields: Any) -> Path:
        output = trainings.spec(**inputs, **fields)
        replies = Replies(output)
        replies.promise()
        for step in range(1, 16):
            replies.give(step, end=step == end)
        assert preference.main([str(output / "spec.json")]) == 0
        return output

    whole = judged(9, checkpoints=None)
    trainings.killed(monkeypatch, 8, preference, PreferenceBatch, **inputs)
    resumed = judged(9)
    assert weights(resumed) == weights(whole)
    assert curves(resumed) == curves(whole)
    assert json.loads((resumed / "policy" / "policy.json").read_text())["selection"]["step"] == 9
    capsys.readouterr()
    alone = trainings.run(preference, **inputs, checkpoints=None)
    assert "nobody judges this training" in capsys.readouterr().err
    assert json.loads((alone / "policy" / "policy.json").read_text())["selection"]["step"] == 15


def test_samples_of_the_softmax_go_on_too(
    trainings: Trainings, curves: Callable[[Path], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = {**SFT, "loss": {"kind": "sampled_softmax", "n": 8, "draw": "popularity"}}
    whole = trainings.run(sft, experiment=experiment, checkpoints=None)
    trainings.killed(monkeypatch, 6, batch=TargetsAndSample, experiment=experiment)
    resumed = trainings.run(sft, experiment=experiment)
    assert weights(resumed) == weights(whole)
    assert curves(resumed) == curves(whole)


def test_a_finished_training_left_checkpoints_of_its_last_steps_only(trainings: Trainings) -> None:
    trainings.run(sft)
    assert sorted(path.name for path in trainings.checkpoints.iterdir()) == ["step-00000014", "step-00000015"]
    assert not list(trainings.checkpoints.rglob("*.pt")) + list(trainings.checkpoints.rglob("*.pkl"))


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "optimizer.safetensors", "random.safetensors", "checkpoint.json"]
)
def test_a_checkpoint_with_a_missing_file_is_skipped_by_name_for_the_one_before(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    whole = trainings.run(sft, checkpoints=None)
    trainings.killed(monkeypatch, 6)
    (trainings.checkpoints / "step-00000005" / name).unlink()
    resumed = trainings.run(sft)
    said = capsys.readouterr().err
    assert (
        f"{trainings.checkpoints / 'step-00000005'} must hold {name}, it is missing. This resume point is skipped."
        in said
    )
    assert "resumed from step 4 of 15" in said
    assert weights(resumed) == weights(whole)


def damage(folder: Path) -> None:
    """Cuts a byte off the weights of every checkpoint."""
    for path in folder.glob("step-*/weights.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])


def test_a_training_that_starts_anew_because_all_checkpoints_are_torn_says_so(
    trainings: Trainings,
    telemetry_lines: Callable[[Path], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = trainings.run(sft, checkpoints=None)
    trainings.killed(monkeypatch, 6)
    damage(trainings.checkpoints)
    again = trainings.run(sft)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"warning: no resume point in {trainings.checkpoints} is whole, 2 are torn: training starts from the beginning."
    )
    assert weights(again) == weights(whole)
    torn = [line for line in telemetry_lines(again) if "torn_checkpoints" in line["metrics"]]
    assert [(line["kind"], line["step"], line["metrics"]) for line in torn] == [
        ("checkpoint", 0, {"torn_checkpoints": 2})
    ]
    assert resumed_from(telemetry_lines(again)) == []


@pytest.mark.parametrize(
    ("place", "key", "said"),
    [
        ("state", "stale", "must describe a resume point of this version of borderline, got state.stale: Field"),
        ("files", "optimizer.safetensors", "must list optimizer.safetensors, it does not."),
    ],
)
def test_a_card_that_lacks_a_key_is_skipped_by_name(
    trainings: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    key: str,
    said: str,
) -> None:
    trainings.killed(monkeypatch, 6)
    path = trainings.checkpoints / "step-00000005" / "checkpoint.json"
    card = json.loads(path.read_text())
    del card[place][key]
    path.write_text(json.dumps(card))
    trainings.run(sft)
    err = capsys.readouterr().err
    assert f"warning: {path} {said}" in err
    assert "resumed from step 4 of 15" in err


def test_what_a_killed_process_had_begun_to_write_is_removed(trainings: Trainings) -> None:
    for step in (2, 9999):
        (trainings.checkpoints / f".step-{step:08d}.tmp").mkdir(parents=True)
    trainings.run(sft)
    assert sorted(path.name for path in trainings.checkpoints.iterdir()) == ["step-00000014", "step-00000015"]


def test_a_flipped_bit_is_seen(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.killed(monkeypatch, 6)
    path = trainings.checkpoints / "step-00000005" / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    trainings.run(sft)
    said = capsys.readouterr().err
    assert f"{path} must be the file that was written, its content differs. This resume point is skipped." in said
    assert "resumed from step 4 of 15" in said


def test_what_was_being_written_is_no_checkpoint(trainings: Trainings, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trainings.run(sft, checkpoints=None)
    trainings.killed(monkeypatch, 3)
    newest = trainings.checkpoints / "step-00000002"
    newest.rename(trainings.checkpoints / ".step-00000003.tmp")
    assert weights(trainings.run(sft)) == weights(whole)


@pytest.mark.parametrize(
    ("named", "change"),
    [("experiment", {"experiment": {**SFT, "seed": 1}}), ("histories", {"histories": "other"})],
)
def test_a_checkpoint_of_another_training_is_refused_by_name(
    trainings: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: str,
    change: dict[str, Any],
) -> None:
    trainings.killed(monkeypatch, 3)
    if named == "histories":
        table = pq.read_table(trainings.tables.histories)
        change = {"histories": trainings.folder / "other.parquet"}
        pq.write_table(table.slice(1), change["histories"])
    output = trainings.spec(**change)
    assert sft.main([str(output / "spec.json")]) == 2
    said = capsys.readouterr().err
    assert f"got {trainings.checkpoints / 'step-00000002'}, made from another {named}" in said
    assert not (output / "policy").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"micro_batch_tokens": 30}, "made with micro_batch_tokens 16384, this is 30: "),
        ({"precision": "bf16"}, "made with precision float32, this is bf16: "),
        ({"gradient_checkpointing": True}, "made with gradient_checkpointing false, this is true: "),
    ],
)
def test_what_changes_the_bits_is_continued_with_a_warning(
    trainings: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    said: str,
) -> None:
    trainings.killed(monkeypatch, 3)
    trainings.run(sft, compute={"checkpoint_every_s": 3600, "threads": 1, **change})
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert [said in line and line.endswith("training continues, but not to the bit.") for line in warnings] == [True]


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Sets the largest size of a file, as a full disk does; undone at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_training_in_one_line_and_leaves_the_checkpoint_before(
    trainings: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small_disk: Callable[[int], None],
) -> None:
    whole = trainings.run(sft, checkpoints=None)
    trainings.killed(monkeypatch, 4)
    files = {path: path.read_bytes() for path in trainings.checkpoints.rglob("*") if path.is_file()}
    output = trainings.spec()
    capsys.readouterr()
    small_disk(20_000)
    assert sft.main([str(output / "spec.json")]) == 2
    small_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"the resume point of step 4 could not be written to {trainings.checkpoints}: ")
    assert "that of step 3 is kept." in said.lower()
    assert {path: path.read_bytes() for path in trainings.checkpoints.rglob("*") if path.is_file()} == files
    assert weights(trainings.run(sft)) == weights(whole)


FULL = [
    ("best", {}),
    ("last", {"keep": "last"}),
    ("out of patience", {"epochs": 30, "validations": 30, "patience": 1}),
]


@pytest.mark.parametrize(("name", "budget"), FULL, ids=[name for name, _ in FULL])
def test_a_policy_that_could_not_be_written_is_not_trained_again(
    trainings: Trainings,
    curves: Callable[[Path], list[Any]],
    telemetry_lines: Callable[[Path], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    budget: dict[str, Any],
) -> None:
    fields = {
        "experiment": {**SFT, "budget": {**SFT["budget"], **budget}, "optimizer": {"kind": "adamw", "lr": 0.3}},
        "compute": {"log_every": 2, "checkpoint_every_s": 3600, "threads": 1},
    }
    whole = trainings.run(sft, **fields, checkpoints=None)
    failed = trainings.spec(**fields)
    with monkeypatch.context() as patch:
        patch.setattr("training.loop.train_and_save.save_policy", killed)
        with pytest.raises(Killed):
            sft.main([str(failed / "spec.json")])
    with monkeypatch.context() as patch:
        patch.setattr(Targets, "losses", killed)  # not a step more
        resumed = trainings.run(sft, **fields)
    assert weights(resumed) == weights(whole)
    assert curves(resumed) == curves(whole)
    last = telemetry_lines(whole)[-1]["step"]
    assert resumed_from(telemetry_lines(resumed)) == [last]
    assert name != "out of patience" or last < 150


def killed(*_: Any) -> None:
    raise Killed


def resumed_from(lines: list[dict[str, Any]]) -> list[int]:
    """The steps that the command says it went on from."""
    return [line["metrics"]["resumed_from_step"] for line in lines if "resumed_from_step" in line["metrics"]]


def run_on_a_small_disk(output: Path, largest: int) -> str:
    """The last line that the command says where no file can be larger."""
    ended = subprocess.run(
        [sys.executable, "-m", "training.sft", str(output / "spec.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)),
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    return ended.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_disk_too_full_for_the_policy_is_one_line_and_leaves_nothing_half(
    trainings: Trainings, telemetry_lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    base = trainings.folder / "base"
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=40, num_attention_heads=2, **sizes)).save_pretrained(base)
    experiment = {
        **SFT,
        "backbone": {"kind": "checkpoint", "name": str(base), "lora": {"rank": 2}, "context": 16},
        "budget": {"epochs": 1, "batch_size": 64, "validations": 1},
    }
    fields = {"experiment": experiment, "compute": {"checkpoint_every_s": 3600, "threads": 1}}
    output = trainings.spec(**fields)
    said = run_on_a_small_disk(output, 100_000)  # enough for a checkpoint of the adapter
    assert said.startswith(f"the policy could not be written to {output / 'policy'}: ")
    assert said.endswith(
        "File too large (os error 27). Free some space, then run the same command: it resumes from step 5."
    )
    assert sorted(path.name for path in output.iterdir()) == ["spec.json", "telemetry.jsonl"]
    assert telemetry_lines(output)[-1]["metrics"]["success"] == 0
    assert sft.main([str(output / "spec.json")]) == 0
    assert resumed_from(telemetry_lines(output)) == [5]
    assert (output / "policy" / "policy.json").exists()


@pytest.mark.slow
def test_a_disk_too_full_for_telemetry_names_the_file(trainings: Trainings) -> None:
    output = trainings.spec()
    said = run_on_a_small_disk(output, 500)
    assert said.startswith(
        f"telemetry could not be written to {output / 'telemetry.jsonl'}: [Errno 27] File too large."
    )
    assert "Free some space, then run the same command" in said


LONG = {**SFT, "budget": {"epochs": 60, "batch_size": 64, "validations": 6}}


def start(output: Path, *, until: Callable[[Path], bool]) -> subprocess.Popen[str]:
    """The command in a process of its own, at the moment at which `until` is true."""
    child = subprocess.Popen(
        [sys.executable, "-m", "training.sft", str(output / "spec.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while child.poll() is None and not until(output):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return child


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_real_signal_in_a_real_process(
    trainings: Trainings, curves: Callable[[Path], list[Any]], number: signal.Signals
) -> None:
    compute = {"log_every": 2, "checkpoint_every_s": 0 if number == signal.SIGKILL else 3600, "threads": 1}
    whole = trainings.run(sft, experiment=LONG, checkpoints=None, compute=compute)
    output = trainings.spec(experiment=LONG, compute=compute)
    child = start(output, until=lambda output: '"train"' in read(output / "telemetry.jsonl"))
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    assert child.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert "is saved" in said
        assert list(trainings.checkpoints.glob("step-*"))  # although the next one was not due for an hour
    resumed = trainings.run(sft, experiment=LONG, compute=compute)
    assert weights(resumed) == weights(whole)
    assert curves(resumed) == curves(whole)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
