"""A real one-node Slurm on this machine: munged, slurmctld and slurmd on free ports, without systemd or cgroups.

Two pretended GPUs: Slurm wants character devices for them, so links to /dev/null and /dev/zero stand for them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def why_not() -> str | None:
    """Why there can be no Slurm here."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"Slurm is not installed ({', '.join(missing)} missing)"
    return None if os.getuid() == 0 else "slurmd needs root"


class Cluster:
    """Started by `up`; `environment` is what its commands need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}
        self._controller: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []

    def up(self) -> None:
        """Until the node is idle: about a second."""
        folder = self.folder
        for name in ("state", "spool", "log", "munge"):
            (folder / name).mkdir()
        (folder / "munge").chmod(0o711)
        key = folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        for index, device in enumerate(("null", "zero")):
            (folder / f"gpu{index}").symlink_to(f"/dev/{device}")
        self._write_conf()
        munge = folder / "munge"
        munged = [f"--{name}={munge / value}" for name, value in (("socket", "sock"), ("key-file", "key"))]
        munged += [f"--pid-file={munge}/pid", f"--log-file={folder}/log/munged", f"--seed-file={munge}/seed"]
        self._others.append(self._start("munged", "--force", "--foreground", *munged))
        deadline = time.monotonic() + 30
        while not (munge / "sock").exists():
            assert time.monotonic() < deadline, "munged did not start"
            time.sleep(0.05)
        self.start_controller(clean=True)
        self._others.append(self._start("slurmd", "-D", "-N", _HOST))
        while self.ask("sinfo", "-h", "-o", "%T") != "idle":
            assert time.monotonic() < deadline, (folder / "log" / "slurmctld").read_text()[-2000:]
            time.sleep(0.1)

    def start_controller(self, *, clean: bool = False) -> None:
        self._controller = self._start("slurmctld", "-D", *(["-c"] if clean else []))

    def stop_controller(self) -> None:
        """kill -9, as a machine room would lose it."""
        if self._controller is not None:
            self._controller.kill()
            self._controller.wait()

    def down(self) -> None:
        for process in [self._controller, *reversed(self._others)]:
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def ask(self, *words: str) -> str:
        done = subprocess.run(words, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        path = shutil.which(words[0], path=_PATH)
        assert path is not None
        with (self.folder / "log" / f"{words[0]}.out").open("ab") as log:
            environment = os.environ | self.environment
            return subprocess.Popen(
                [path, *words[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def _write_conf(self) -> None:
        folder = self.folder
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10 >> 20
        (folder / "gres.conf").write_text(f"NodeName={_HOST} Name=gpu Type=fake File={folder}/gpu[0-1]\n")
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (folder / "slurm.conf").write_text(
            f"""ClusterName=test
SlurmctldHost={_HOST}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/sock
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,bf_interval=1
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
GresTypes=gpu
InactiveLimit=0
KillWait=5
MinJobAge=900
SlurmctldTimeout=30
SlurmdTimeout=60
NodeName={_HOST} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={memory} Gres=gpu:fake:2 State=UNKNOWN
PartitionName=debug Nodes={_HOST} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""
        )


_HOST = socket.gethostname().partition(".")[0]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
