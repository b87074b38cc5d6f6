"""A real one-node Slurm on loopback, started here, runs a manifest through the slurm profile."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalib.results import records, weights

QUICK = "--slurm-init-seconds-before-status-checks 2 --seconds-between-status-checks 2 --set-threads train=1".split()
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
SBIN = f"{os.environ['PATH']}:/usr/sbin"
ABSENT = [name for name in PROGRAMS if not shutil.which(name, path=SBIN)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(ABSENT), reason=f"no {', '.join(ABSENT)} here: apt-get install slurm-wlm munge"
    ),
]

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={here}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.pid
SlurmctldLogFile={here}/slurmctld.log
SlurmdLogFile={here}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:3 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def slurm(tmp_path):
    """The environment in which Slurm's commands find the daemons started here."""
    here = tmp_path / "slurm"
    for folder in ("state", "spool", "bin"):
        (here / folder).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    configuration = CONFIGURATION.format(
        here=here, host=host, user=getpass.getuser(), ports=free_ports(2)
    )
    (here / "slurm.conf").write_text(configuration)
    gpus = [f"NodeName={host} Name=gpu File=/dev/{name}\n" for name in ("null", "zero", "full")]
    (here / "gres.conf").write_text("".join(gpus))
    (here / "munge.key").write_bytes(os.urandom(128))
    (here / "munge.key").chmod(0o600)
    wrapper = (
        here / "bin" / "srun"
    )  # Snakemake takes SLURM_CONF out of the environment of the inner srun
    wrapper.write_text(
        f'#!/bin/sh\nSLURM_CONF={here}/slurm.conf exec {shutil.which("srun")} "$@"\n'
    )
    wrapper.chmod(0o755)
    environment = os.environ | {"SLURM_CONF": f"{here}/slurm.conf", "PATH": f"{here}/bin:{SBIN}"}
    munged = f"munged --foreground --force --key-file={here}/munge.key --socket={here}/munge.socket"
    munged += (
        f" --pid-file={here}/munged.pid --log-file={here}/munged.log --seed-file={here}/munged.seed"
    )
    daemons = []
    for command in (munged, "slurmctld -D -i", f"slurmd -D -N {host}"):
        with open(here / f"{command.split()[0]}.out", "w", encoding="utf-8") as output:
            daemons.append(
                subprocess.Popen(command.split(), env=environment, stdout=output, stderr=output)
            )
    try:
        wait_until_idle(environment, here)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", getpass.getuser()], env=environment)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=30)


def wait_until_idle(environment, here):
    for _ in range(100):
        state = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True
        ).stdout
        if state.strip() == "idle":
            return
        time.sleep(0.2)
    pytest.fail(
        "\n".join(path.read_text(errors="replace")[-2000:] for path in here.glob("*.[ol][uo]*"))
    )


def reproduced(wanted, out, environment, *options):
    """What ``reproduce`` printed, and each run's state; all are done, each leaves a record, a
    notebook, weights that give its count.
    """
    command = [sys.executable, "-m", "evalib", "reproduce", "--no-book"]
    command += ["--manifest", str(wanted), "--out", str(out)]
    done = subprocess.run(
        [*command, *options], env=environment | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=7200,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    found = list(Path(out).glob("smoke/*.json"))
    assert f"{len(found)} runs: {len(found)} done" in done.stdout
    for path in found:
        records.read(path)
        assert (path.with_suffix("") / "train.ipynb").is_file()
        assert weights.verify(path)["fault"] == ""
    return done.stdout, len(found)


def test_a_manifest_of_two_runs_through_the_slurm_profile(tmp_path, slurm):
    wanted = tmp_path / "manifest.csv"
    wanted.write_text("experiment,seeds\nresnet20-small,0 1\n")
    shown, runs = reproduced(
        wanted, tmp_path / "my results", slurm, "--epochs", "1", "--profile", "slurm", "--", *QUICK
    )
    assert runs == 2
    assert shown.count("SLURM jobid") >= 2  # one a run
    logs = list(tmp_path.glob("my results/smoke/*/train.log"))
    assert len(logs) == 2
    for log in logs:
        assert re.match(r"GPU (\d) of \1\n", log.read_text())  # the one that Slurm chose
