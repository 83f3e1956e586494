"A Ray cluster of two nodes on this machine: whatever is killed, no row is lost, none comes twice and none is another one"
import json, os, random, re, socket, subprocess, sys, time
import pytest
from conftest import ROOT, ded

ray = pytest.importorskip("ray", reason="Ray is optional and not installed: pip install 'ray[data]==2.60.0'")
import psutil
from ray.cluster_utils import Cluster

MODEL = ROOT/"ded/models/student-a"
HOW = ["--model", MODEL, "--n", "8", "--temperature", "1", "--top_p", "1", "--max_tokens", "192", "--batch", "8"]

def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def node():
    "One core on loopback; with ports that are known beforehand a node need not wait until its slow helpers have told theirs"
    return dict(num_cpus=1, node_ip_address="127.0.0.1", **{p: free() for p in ("metrics_agent_port","metrics_export_port","runtime_env_agent_port","dashboard_agent_listen_port")})

@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    c = Cluster(initialize_head=True, head_node_args=dict(node(), include_dashboard=False))
    c.add_node(**node())
    yield c
    c.shutdown()

@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    "Questions, and their rows from one process"
    folder = tmp_path_factory.mktemp("calm")
    rows = [dict(id=f"q{i}", question=f"a=b+c;b:{i%9};c:{i%7}?a", gold=str(i%9+i%7), domain="math") for i in range(32)]
    (folder/"q.jsonl").write_text("".join(json.dumps(r)+"\n" for r in rows))
    done = ded("rollout", *HOW, "--questions", folder/"q.jsonl", "--out", folder/"calm.jsonl")
    assert done.returncode==0, done.stderr
    return folder

def lines(path): return path.read_bytes().count(b"\n") if path.exists() else 0

def start(asked, out, cluster, said):
    cmd = [sys.executable, "-m", "ded.cli", "rollout", *map(str, HOW), "--questions", str(asked/"q.jsonl"), "--out", str(out), "--ray", cluster.address]
    return subprocess.Popen(cmd, cwd=ROOT, env=dict(os.environ, OMP_NUM_THREADS="1"), stdout=said, stderr=said)

def until(n, run, part, seconds=300):
    "Wait for rows in the log"
    end = time.monotonic()+seconds
    while lines(part)<n:
        assert run.poll() is None and time.monotonic()<end, f"{lines(part)} rows, status {run.poll()}"
        time.sleep(.05)

def kill_a_worker(cluster):
    "SIGKILL one process that holds an engine"
    raylets = [psutil.Process(p.process.pid) for n in cluster.list_all_nodes() for p in n.all_processes.get("raylet", [])]
    at_work = [w for r in raylets for w in r.children(recursive=True) if "Sampler" in " ".join(w.cmdline())]
    assert at_work, [" ".join(w.cmdline())[:60] for r in raylets for w in r.children(recursive=True)]
    at_work[-1].kill()

@pytest.mark.parametrize("round", range(int(os.environ.get("DED_RAY_ROUNDS", 1))))
def test_worker_node_and_driver_killed(cluster, asked, tmp_path, round):
    rng, out, part, total = random.Random(round), tmp_path/"t.jsonl", tmp_path/"t.jsonl.part", lines(asked/"calm.jsonl")
    at = sorted(rng.sample(range(1, total*3//4), 3))
    with open(tmp_path/"said", "wb") as said:
        run = start(asked, out, cluster, said)
        until(at[0], run, part)
        kill_a_worker(cluster)
        until(at[1], run, part)
        cluster.remove_node(next(n for n in cluster.list_all_nodes() if not n.is_head()), allow_graceful=False)
        cluster.add_node(**node())
        until(at[2], run, part)
        run.kill()
        run.wait()
        held = part.read_bytes()
        assert at[2]<=held.count(b"\n")<total and not out.exists()
        again = start(asked, out, cluster, said)
        assert again.wait(timeout=300)==0, (tmp_path/"said").read_text()[-2000:]
    assert out.read_bytes()==(asked/"calm.jsonl").read_bytes() and not part.exists()
    print(f"killed at {at} of {total} rows; {held.count(bytes([10]))} were held")

def test_a_cluster_that_is_not_there(asked, tmp_path):
    done = ded("rollout", *HOW, "--questions", asked/"q.jsonl", "--out", tmp_path/"t.jsonl", "--ray", "127.0.0.1:1")
    assert done.returncode==1 and re.search(r"127\.0\.0\.1:1: no Ray cluster can be reached", done.stderr.splitlines()[-1]), done.stderr[-500:]
    assert not (tmp_path/"t.jsonl").exists()
