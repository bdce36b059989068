"""The queue with real supervisors that wait: order, two workspaces, kill -9, a restart, hold, cancel, time, GPUs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.hardware import GpuReading, read_gpus
from core.problems import Severity, UserError
from core.runs import launch, order, proc, queue, slots, store
from core.runs.model import Run, RunState
from core.runs.queue import Wish
from core.runs.ready import check_taken
from tests.core.runs_kit import Runs, log_of, wait_for
from tests.fake_nvml.machine import Machine

pytest_plugins = ("tests.core.runs_fixtures", "tests.fake_nvml.fixtures")

NO_GPU = GpuReading(message="No NVIDIA driver was found on this machine.")


def waits_for(path: Path) -> str:
    """A training that goes on until the file is there, then saves and finishes."""
    return f"say('up'); until({str(path)!r}); save('lora.safetensors'); say('model saved.')"


class Queue:
    """Queued runs of one workspace; their trainers end when the test says so."""

    def __init__(self, kit: Runs, reading: GpuReading = NO_GPU) -> None:
        self.kit, self.reading = kit, reading

    def add(self, name: str, wish: Wish | None = None) -> Run:
        out = str(self.kit.out / name)
        spec = self.kit.spec(waits_for(self.file(name)), name=name, env={"OUT": out}, output_dir=out)
        return queue.add(self.kit.folder, spec, {}, wish or Wish(), self.reading)

    def file(self, name: str) -> Path:
        return self.kit.folder.parent / f"end-{name}"

    def end(self, name: str) -> None:
        self.file(name).write_text("")

    def begins(self, run: Run) -> Run:
        """The run once it runs."""
        wait_for(lambda: store.observe(run.dir).state is RunState.RUNNING)
        return store.observe(run.dir)


@pytest.fixture
def line(runs: Runs) -> Queue:
    return Queue(runs)


def state(run: Run) -> RunState:
    return store.observe(run.dir).state


def names() -> list[str]:
    return [run.spec.name for run in queue.waiting()]


def kill_waiting(run: Run) -> None:
    """kill -9 of its supervisor, and nothing left of it."""
    pid = store.observe(run.dir).status.supervisor_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not store.observe(run.dir).supervised)


def test_runs_come_one_after_the_other_in_their_order(line: Queue) -> None:
    """The first one starts at once; the next when it is over, also when it failed."""
    first, second, third = line.add("a"), line.add("b"), line.add("c")
    line.begins(first)
    assert [(run.spec.name, run.place.position if run.place else 0) for run in queue.waiting()] == [("b", 1), ("c", 2)]
    fresh = [replace(run, status=replace(run.status, waits_for=None)) for run in queue.waiting()]
    assert [queue.said(run) for run in fresh] == ["next", "in line"]  # until they have said what they wait for
    assert state(second) is RunState.QUEUED
    wait_for(lambda: "under way" in (store.observe(second.dir).status.waits_for or ""))
    os.kill(store.observe(first.dir).status.pid or 0, signal.SIGKILL)
    line.begins(second)
    assert state(first) is RunState.FAILED
    assert state(third) is RunState.QUEUED
    line.end("b")
    line.begins(third)


def test_two_workspaces_wait_in_one_line(line: Queue, tmp_path: Path) -> None:
    """One GPU, one order, whoever asks and from where."""
    (tmp_path / "other").mkdir()
    other = Queue(Runs(tmp_path / "other"))
    try:
        running = line.add("a")
        line.begins(running)
        theirs, ours = other.add("b"), line.add("c")
        assert names() == ["b", "c"]
        line.end("a")
        other.begins(theirs)
        assert state(ours) is RunState.QUEUED
        other.end("b")
        line.begins(ours)
    finally:
        for run in store.list_runs(other.kit.folder):
            proc.send(launch.group_of(run), 9)


def test_the_order_can_be_changed(line: Queue) -> None:
    """Up, down, first, last, to a position; beyond the ends is the end."""
    running = line.add("a")
    line.begins(running)
    runs = {name: line.add(name) for name in "bcd"}
    assert queue.move(runs["d"], "first") == 1
    assert names() == ["d", "b", "c"]
    assert queue.move(runs["d"], "down") == 2
    assert queue.move(runs["c"], "up") == 2
    assert names() == ["b", "c", "d"]
    assert queue.move(runs["b"], 9) == 3
    assert queue.move(runs["b"], 2) == 2
    assert names() == ["c", "b", "d"]
    line.end("a")
    line.begins(runs["c"])


def test_a_held_run_lets_others_pass(line: Queue) -> None:
    """Until it is released."""
    held = line.add("a", Wish(held=True))
    other = line.add("b")
    line.begins(other)
    assert queue.said(store.observe(held.dir)) == "held"
    line.end("b")
    wait_for(lambda: state(other) is RunState.FINISHED)
    queue.hold(held)
    queue.release(held)
    queue.release(held)
    line.begins(held)
    with pytest.raises(UserError, match="not in the queue"):
        queue.hold(held)


def test_a_hurried_run_starts_beside_what_is_going(line: Queue) -> None:
    """Held, for tomorrow and behind two: it begins at once; the others keep their order."""
    first = line.begins(line.add("first"))
    second, third = line.add("second"), line.add("third", Wish(at=time.time() + 86_400, held=True))
    queue.hurry(third)
    line.begins(third)
    assert store.observe(first.dir).live
    assert [run.spec.name for run in queue.waiting()] == ["second"]
    line.end("first")
    wait_for(lambda: store.observe(first.dir).state is RunState.FINISHED)
    assert store.observe(second.dir).state is RunState.QUEUED  # the hurried one has the place
    line.end("third")
    line.begins(second)
    line.end("second")


def test_a_cancelled_run_never_begins(line: Queue) -> None:
    """Stopped, without a log; a second time it is told that it is not in the queue."""
    line.begins(line.add("a"))
    run = line.add("b")
    queue.cancel(run)
    wait_for(lambda: state(run) is RunState.STOPPED)
    assert log_of(run) == ""
    assert "before it started" in (store.observe(run.dir).status.reason or "")
    assert names() == []
    with pytest.raises(UserError, match="not in the queue"):
        queue.cancel(run)


def test_a_killed_supervisor_is_told_and_release_starts_it_again(line: Queue) -> None:
    """`nobody waits`; others pass it; its place is kept."""
    running = line.add("a")
    line.begins(running)
    lost, other = line.add("b"), line.add("c")
    kill_waiting(lost)
    found = store.observe(lost.dir)
    assert found.is_abandoned
    assert "nobody waits (its supervisor was killed)" in queue.said(found)
    assert [run.spec.name for run in queue.abandoned()] == ["b"]
    line.end("a")
    line.begins(other)
    found = queue.release(lost)
    assert found.supervised
    assert names() == ["b"]
    line.end("c")
    line.begins(lost)


def test_after_a_restart_everything_is_held_until_it_is_released(line: Queue) -> None:
    """Another boot: nothing begins by itself, and what is queued now goes before."""
    line.begins(line.add("a"))
    old = [line.add("b"), line.add("c")]
    for run in old:
        kill_waiting(run)
    path = Path(order.queue_file(slots.folder()))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot_id": "the one before"}))
    assert [run.place.held for run in queue.waiting() if run.place] == ["reboot", "reboot"]
    assert "restart of the machine" in queue.said(queue.waiting()[0])
    fresh = line.add("d")
    line.end("a")
    line.begins(fresh)
    assert [run.spec.name for run in queue.abandoned()] == ["b", "c"]
    line.end("d")
    for run in queue.abandoned():
        queue.release(run)
    line.begins(old[0])
    assert state(old[1]) is RunState.QUEUED


def test_the_gpu_is_held_as_long_as_the_trainer_lives(line: Queue) -> None:
    """The supervisor of the run before was killed with -9: its trainer goes on, and the next one waits for its end."""
    first = line.begins(line.add("a"))
    second = line.add("b")
    os.kill(first.status.supervisor_pid or 0, signal.SIGKILL)
    wait_for(lambda: store.observe(first.dir).unsupervised)
    time_to_look = time.monotonic() + 1.5
    wait_for(lambda: time.monotonic() > time_to_look)
    assert state(second) is RunState.QUEUED
    os.killpg(first.status.pid or 0, signal.SIGKILL)
    line.begins(second)


def test_a_run_waits_for_its_time(line: Queue) -> None:
    """`--at`: others pass until then."""
    late = line.add("a", Wish(at=time.time() + 2))
    assert queue.said(late).startswith("at ")
    other = line.begins(line.add("b"))
    line.end("b")
    begun = line.begins(late)
    assert (begun.status.started or 0) >= (late.place.at if late.place and late.place.at else 0)
    assert other.status.started is not None
    assert begun.status.started is not None
    assert other.status.started < begun.status.started


def test_how_a_run_waits_can_be_changed(line: Queue) -> None:
    """Its time, the run before it, its GPU; not so that two runs would wait for each other."""
    first, second = line.add("a", Wish(at=time.time() + 3600)), line.add("b", Wish(at=time.time() + 3600))
    queue.edit(second, {"at": None, "after": first.dir, "only_if_finished": True}, NO_GPU)
    place = store.observe(second.dir).place
    assert place is not None
    assert (place.at, place.after, place.only_if_finished) == (None, str(first.dir), True)
    with pytest.raises(UserError, match="wait for itself"):
        queue.edit(first, {"after": second.dir}, NO_GPU)
    with pytest.raises(UserError, match="no GPU 3"):
        queue.edit(first, {"gpu": "3"}, NO_GPU)
    queue.edit(first, {"at": None}, NO_GPU)
    line.begins(first)
    line.end("a")
    line.begins(second)


@pytest.mark.parametrize(("strict", "expected"), [(False, RunState.RUNNING), (True, RunState.STOPPED)])
def test_a_run_comes_after_another(line: Queue, strict: bool, expected: RunState) -> None:
    """`--after RUN`: when that is over; with `--only-if-finished` not at all when it failed."""
    first = line.begins(line.add("a"))
    second = line.add("b", Wish(after=first.dir, only_if_finished=strict))
    assert queue.said(second).startswith("after ")
    os.killpg(first.status.pid or 0, signal.SIGKILL)
    wait_for(lambda: state(second) is expected)
    if strict:
        assert "did not finish" in (store.observe(second.dir).status.reason or "")


def test_the_queue_file_may_be_deleted(line: Queue) -> None:
    """Everybody who waits comes back in the old order."""
    line.begins(line.add("a"))
    for name in "bc":
        line.add(name)
    Path(order.queue_file(slots.folder())).unlink()
    wait_for(lambda: names() == ["b", "c"])


def test_a_state_folder_that_fails_for_a_while_ends_no_wait(line: Queue) -> None:
    """A quota, a network home that is away: the run says why it waits, and begins when that is over."""
    line.begins(line.add("a"))
    run = line.add("b")
    lock = Path(order.slot_file(slots.folder(), order.CPU))
    lock.rename(lock.with_suffix(".aside"))
    lock.mkdir()
    wait_for(lambda: "cannot be read" in (store.observe(run.dir).status.waits_for or ""))
    lock.rmdir()
    lock.with_suffix(".aside").rename(lock)
    line.end("a")
    line.begins(run)


def test_a_run_that_waits_has_no_next_checkpoint(line: Queue) -> None:
    """`stop --after-checkpoint` would be forgotten when its turn comes: refused, with the way out."""
    line.begins(line.add("a"))
    run = line.add("b")
    with pytest.raises(UserError, match="has not begun"):
        launch.stop(run, "stop-after-checkpoint")
    assert names() == ["b"]


def test_a_queue_of_a_newer_program_is_left_alone(line: Queue) -> None:
    """Shown, not written."""
    line.begins(line.add("a"))
    run = line.add("b")
    path = Path(order.queue_file(slots.folder()))
    value = json.loads(path.read_text()) | {"v": 2, "runs": json.loads(path.read_text())["runs"]}
    path.write_text(json.dumps(value))
    assert names() == ["b"]
    with pytest.raises(UserError, match="newer kohya-tui"):
        queue.move(run, "up")
    assert json.loads(path.read_text()) == value


def test_many_at_once_do_not_lose_each_other(line: Queue) -> None:
    """Eight processes move and hold at the same moment: the file stays whole, everybody is in it once."""
    line.begins(line.add("a"))
    runs = [line.add(name) for name in "bcde"]
    code = (
        "import sys; from pathlib import Path; from core.runs import queue, store\n"
        "run = store.observe(Path(sys.argv[1]))\n"
        "for where in ('first', 'down', 'last', 'up'):\n    queue.move(run, where); queue.hold(run)\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(run.dir)]) for run in runs * 2]
    assert [worker.wait(60) for worker in workers] == [0] * 8
    assert sorted(names()) == ["b", "c", "d", "e"]


@pytest.fixture
def gpus(fake_gpus: Machine, nvml_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Two GPUs, also for the supervisors that are started."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_library.parent))
    fake_gpus.gpu(0, uuid="GPU-aaaa", mem_used=400 << 20).gpu(1, uuid="GPU-bbbb", mem_used=400 << 20)
    yield fake_gpus


def visible_devices(run: Run) -> str:
    pid = store.observe(run.dir).status.pid
    environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((item.partition(b"=")[2].decode() for item in environ if item.startswith(b"CUDA_VISIBLE_DEVICES=")), "")


def test_two_gpus_take_two_runs(runs: Runs, gpus: Machine) -> None:
    """`any` takes the first free one, by its UUID; a third waits, one for GPU 0 waits for that one."""
    line = Queue(runs, read_gpus())
    first, second = line.begins(line.add("a")), line.begins(line.add("b"))
    assert [visible_devices(run) for run in (first, second)] == ["GPU-aaaa", "GPU-bbbb"]
    assert [run.gpu for run in (first, second)] == ["0", "1"]
    named, third = line.add("c", Wish(gpu="0")), line.add("d")
    line.end("b")
    line.begins(third)
    assert state(named) is RunState.QUEUED
    assert third.gpu is None
    line.end("a")
    assert line.begins(named).gpu == "0"
    with pytest.raises(UserError, match="no GPU 7"):
        line.add("e", Wish(gpu="7"))


def test_the_instances_of_a_split_card_are_places_of_their_own(runs: Runs, gpus: Machine) -> None:
    """MIG: `0:1` is instance 1 of card 0, known to CUDA by its UUID; the split card itself is no place."""
    gpus.set(count=1).gpu(0, mig=1, mig_count=2)
    gpus.set({"gpu.0.mig.0.uuid": "MIG-aaaa", "gpu.0.mig.1.uuid": "MIG-bbbb"})
    line = Queue(runs, read_gpus())
    assert slots.of_start("0:1", read_gpus()) == ("MIG-bbbb",)
    assert slots.of_start("MIG-a", read_gpus()) == ("MIG-aaaa",)
    named, other = line.begins(line.add("a", Wish(gpu="0:1"))), line.begins(line.add("b"))
    assert [visible_devices(run) for run in (named, other)] == ["MIG-bbbb", "MIG-aaaa"]
    assert [run.gpu for run in (named, other)] == ["0:1", "0:0"]
    third = line.add("c")
    with pytest.raises(UserError, match="There are: 0:0, 0:1"):
        line.add("d", Wish(gpu="0"))
    line.end("a")
    assert line.begins(third).gpu == "0:1"


def test_a_home_that_machines_share_has_a_queue_for_each(line: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes of a cluster, one home on NFS: neither sees, holds or restarts what waits on the other."""
    monkeypatch.setattr(store, "is_on_network", lambda _: True)
    slots.is_shared.cache_clear()

    def on(host: str) -> None:
        monkeypatch.setattr(os, "uname", lambda: type("Uname", (), {"nodename": host}))

    try:
        on("node1")
        first = line.begins(line.add("a"))
        waits = line.add("b")
        on("node2")
        assert queue.waiting() == []
        line.begins(line.add("c"))  # its own CPU is free
        on("node1")
        assert names() == ["b"]
        line.end("a")
        line.begins(waits)
        assert Path(str(first.spec.wait["dir"])).name == "node1"  # type: ignore[index]
    finally:
        slots.is_shared.cache_clear()


def test_a_gpu_that_others_use_is_waited_for(runs: Runs, gpus: Machine) -> None:
    """18 GiB of somebody else: told with who it is; the run starts when they are gone. `share` does not wait."""
    gpus.set(count=1).gpu(0, mem_total=24 << 30, mem_used=18 << 30, compute=f"{os.getpid()}:{18 << 30}")
    line = Queue(runs, read_gpus())
    run = line.add("a")
    wait_for(lambda: store.observe(run.dir).status.waits_for)
    note = store.observe(run.dir).status.waits_for or ""
    assert note.startswith("GPU 0 is used by others: 18.0 of 24.0 GiB")
    assert str(os.getpid()) in note
    sharing = line.begins(line.add("b", Wish(share=True)))
    assert visible_devices(sharing) == ""  # there is but one
    line.end("b")
    gpus.gpu(0, mem_used=100 << 20, compute="")
    line.begins(run)


def test_a_run_past_the_queue_holds_its_gpu(runs: Runs, gpus: Machine) -> None:
    """Two of them may share a GPU; a queued one waits for the end of both."""
    line = Queue(runs, read_gpus())
    direct = [
        queue.start_now(runs.folder, runs.spec(waits_for(line.file(name)), gpu="1"), {}, read_gpus()) for name in "ab"
    ]
    assert slots.holders(["GPU-bbbb"]) == [run.dir for run in direct]
    queued = line.add("c", Wish(gpu="1"))
    line.end("a")
    wait_for(lambda: slots.holders(["GPU-bbbb"]) == [direct[1].dir])
    assert state(queued) is RunState.QUEUED
    line.end("b")
    line.begins(queued)


def test_a_driver_that_is_gone_is_no_reason_to_train_on_the_cpu(runs: Runs, gpus: Machine) -> None:
    """It waits, and says what the driver says."""
    line = Queue(runs, read_gpus())
    gpus.fault("nvmlInit", 18)
    run = line.add("a")
    wait_for(lambda: "driver" in (store.observe(run.dir).status.waits_for or ""))
    assert state(run) is RunState.QUEUED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("23:30", "2026-11-30 23:30:00"),
        ("01:15", "2026-12-01 01:15:00"),
        ("+2h", "2026-12-01 00:00:00"),
        ("+90", "2026-11-30 23:30:00"),
        ("2026-12-24 18:00", "2026-12-24 18:00:00"),
    ],
)
def test_times_as_people_write_them(text: str, expected: str) -> None:
    """An hour is the next one."""
    now = time.mktime(time.strptime("2026-11-30 22:00:00", "%Y-%m-%d %H:%M:%S"))
    found = queue.moment(text, now)
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found)) == expected
    with pytest.raises(UserError, match="not a time"):
        queue.moment("tomorrow", now)


def test_a_waiting_supervisor_costs_next_to_nothing(line: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 15 MiB; and a hundredth of a second of CPU in three seconds of waiting."""
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    line.begins(line.add("a"))
    run = line.add("b")
    wait_for(lambda: store.observe(run.dir).status.waits_for)
    pid = store.observe(run.dir).status.supervisor_pid

    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before, until = ticks(), time.monotonic() + 3
    wait_for(lambda: time.monotonic() > until)
    assert ticks() - before <= 1
    fields = dict(row.split(":", 1) for row in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert int(fields["VmRSS"].split()[0]) <= 15 * 1024


def test_a_start_on_a_gpu_that_is_taken_is_refused_with_the_way_out(runs: Runs, gpus: Machine) -> None:
    """One of ours, of any workspace: an error that names it; strangers: a warning with what they hold."""
    line = Queue(runs, read_gpus())
    run = line.begins(line.add("a", Wish(gpu="1")))
    (taken,) = check_taken("1", read_gpus(), "rinni")
    assert (taken.code, taken.where, taken.severity) == ("KT411", run.id, Severity.ERROR)
    assert "kohya-tui train rinni --queue" in (taken.hint or "")
    assert check_taken(None, read_gpus(), "rinni") == []  # that would be GPU 0
    gpus.gpu(0, mem_total=24 << 30, mem_used=20 << 30)
    (used,) = check_taken(None, read_gpus(), "rinni")
    assert (used.code, used.severity) == ("KT412", Severity.WARNING)
    assert "20.0 of 24.0 GiB" in used.message
    (gone,) = check_taken("5", read_gpus(), "rinni")
    assert "There is no GPU 5" in gone.message


def test_two_gpus_for_one_run_are_waited_for(runs: Runs, gpus: Machine) -> None:
    """`any:2` takes both when both are free, and what needs only one does not pass it for ever."""
    line = Queue(runs, read_gpus())
    first = line.begins(line.add("a"))
    both, later = line.add("b", Wish(gpu="any:2")), line.add("c")
    wait_for(lambda: "under way" in (store.observe(both.dir).status.waits_for or ""))
    line.end("a")
    begun = line.begins(both)
    assert begun.gpu == "0,1"
    assert visible_devices(begun) == "GPU-aaaa,GPU-bbbb"
    assert state(later) is RunState.QUEUED
    assert store.observe(later.dir).status.started is None
    assert first.status.started is not None
    line.end("b")
    line.begins(later)
    with pytest.raises(UserError, match="not 3 GPUs"):
        line.add("d", Wish(gpu="any:3"))
