"A training that is divided over processes learns what it learns on one; a killed one loses nothing that is sealed; a launch that got something else than asked refuses"
import json, os, shutil, signal, subprocess, sys, threading, time
from dataclasses import asdict
from pathlib import Path
import pytest
from conftest import ROOT, ded
from ded.core import DedError, read_csv, write_rows
from ded.launch import Launch, launch, settings_of

MODEL = ROOT/"ded/models/student-a"
ROWS = [dict(id=f"q{i}", k=0, model="t", n_tok=40, question=f"a=b+c;b:{i};c:2?a", text=f"<think>{'b:2,'*(i%4)}a=b+c,a:{i+2}</think>\\boxed{{{i+2}}}") for i in range(10)]
SETTINGS = dict(batch=4, epochs=8, max_len=64, lr=1e-4, bf16=False, save_every=4)
os.environ["OMP_NUM_THREADS"] = "1"

@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    "Asks a process that has TRL loaded to train in forks of itself"
    run = subprocess.Popen([sys.executable, ROOT/"tests/ranks.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    def ask(n, do, job, **env):
        print(json.dumps(dict(n=n, do=do, job=job, env=env)), file=run.stdin, flush=True)
        return json.loads(run.stdout.readline())
    yield ask
    run.stdin.close()
    run.wait(20)

@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    write_rows(folder/"corpus.jsonl", ROWS)
    return folder

def job(place, name, plan=Launch(1), **more):
    return dict(model=str(MODEL), corpus=str(place/"corpus.jsonl"), out=str(place/name), plan=asdict(plan), settings=settings_of({**SETTINGS, **more}))

def losses(folder): return [r["loss"] for r in read_csv(Path(folder)/"log.csv")]
def apart(a, b): return max(abs(x-y) for x,y in zip(a, b, strict=True))

def members(path):
    "Rank -> pid of the processes of a launch; the ones that start others are -1"
    found = {}
    for p in Path("/proc").glob("[0-9]*"):
        try: line, env = (p/"cmdline").read_text(), (p/"environ").read_text()
        except OSError: continue
        if str(path) in line: found[next((int(v[5:]) for v in env.split("\0") if v.startswith("RANK=")), -1)] = int(p.name)
    return found

def kill_after(seal, path, rank):
    "Kill one rank as soon as there is a sealed checkpoint"
    def watch():
        while not seal.exists(): time.sleep(.01)
        os.kill(members(path)[rank], signal.SIGKILL)
    threading.Thread(target=watch, daemon=True).start()

@pytest.fixture(scope="module")
def stopped(place, forked):
    "A training under torchrun whose second process was killed"
    out, said = place/"two", []
    kill_after(place/"two.part/checkpoint-4/seal.json", place/"two.launch/job.json", rank=1)
    with pytest.raises(DedError) as e: launch(str(MODEL), ROWS, out, Launch(2, "ddp"), said.append, **SETTINGS)
    shutil.copytree(place/"two.part", place/"one.part")
    return out, str(e.value), members(place/"two.launch/job.json")

@pytest.fixture(scope="module")
def single(place, forked):
    "The losses of the same training on one process"
    return losses(forked(1, "alone", job(place, "single"))[0])

def test_the_training_moves(single): assert len(single)==24 and single[-1]<single[0]-.01

def test_rows_come_in_the_order_of_the_plan(place, forked):
    got = forked(2, "order", job(place, "order", Launch(2, "ddp")))
    one = forked(1, "order", job(place, "order", Launch(1)))[0]
    for epoch in range(2):
        mixed = [row for passes in zip(*(g[epoch] for g in got), strict=True) for rows in passes for row in rows]
        assert [r for r in mixed if r>=0]==[r for rows in one[epoch] for r in rows] and sorted(mixed)==[-1,-1,*range(10)]

def test_two_processes_under_ddp(place, forked, single):
    out = forked(2, "train", job(place, "ddp", Launch(2, "ddp")))
    assert apart(losses(out[0]), single)<1e-6, out

def test_two_processes_under_fully_shard(place, forked, single):
    got = forked(2, "sharded", job(place, "sharded", Launch(2, "ddp"), micro=2))
    alone = forked(1, "sharded", job(place, "unsharded", micro=4))[0]
    assert got[0]==got[1] and apart(got[0], alone)<1e-6, (got, alone)
    assert apart(alone, single)<1e-6*max(single)

def test_a_launch_that_got_something_else_refuses(place, forked):
    one = forked(1, "train", job(place, "fewer", Launch(2, "ddp")))
    assert "asked for 2 processes under ddp, got 1 under one process" in one[0]["error"]
    other = forked(2, "train", job(place, "other", Launch(2, "fsdp2")), ACCELERATE_USE_FSDP="true", FSDP_VERSION="2")
    assert all("asked for 2 processes under fsdp2, got 2 under ddp" in o["error"] for o in other)

def test_a_killed_rank_ends_the_launch_in_one_line(stopped):
    out, told, left = stopped
    assert "training on 2 processes stopped" in told and "the same command goes on from there" in told and "\n" not in told
    assert not out.exists() and not left, left

def test_resumed_on_two_processes(stopped, single):
    said = []
    launch(str(MODEL), ROWS, stopped[0], Launch(2, "ddp"), said.append, **SETTINGS)
    assert apart(losses(stopped[0]), single)<1e-6
    assert not [p for p in stopped[0].parent.glob("two.*")]

def test_resumed_on_one_process(place, stopped, forked, single):
    assert apart(losses(forked(1, "alone", job(place, "one"))[0]), single)<1e-6

def test_the_command_refuses_what_the_machine_cannot_do(place):
    ask = lambda *more: ded("sft", "--model", MODEL, "--corpus", place/"corpus.jsonl", "--out", place/"cli", *more)
    done = ask("--processes", "2", "--strategy", "fsdp2")
    assert done.returncode==1 and len(done.stderr.strip().splitlines())==1 and "needs GPUs and there are none" in done.stderr
    done = ask("--processes", "5", "--strategy", "ddp")
    assert done.returncode==1 and "batch 48 is not divisible by 5 processes" in done.stderr
    assert "--processes" in ded("sft", "--help").stdout
