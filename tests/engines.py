"""Are the greedy replies of a real engine those of the hf backend?

    python tests/engines.py --server transformers [--python VENV/bin/python] [--models student-a,student-c] [--questions 200] [--dtype float32]

--server: transformers (`transformers serve`), vllm (vLLM's server), offline (vLLM in the process of `ded rollout --backend vllm`). --python names the interpreter that has the engine; the engine may live in an environment of its own.
Both sides are driven by `ded rollout` on the same copy of a bundled model. Rows are added to reports/engines/greedy.csv and .md; rows of the same server, model, type and endpoint are replaced."""
import argparse, json, os, socket, subprocess, sys, tempfile, time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen
from scipy.stats import binomtest
from ded.core import read_csv, read_rows, write_rows, write_text
from ded.report import md_table

ROOT = Path(__file__).resolve().parents[1]
ENV = dict(os.environ, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR", PYTHONPATH=str(ROOT))

def command(server, python, model, port, dtype):
    if server=="transformers": return [Path(python).parent/"transformers", "serve", model, "--host", "127.0.0.1", "--port", port, "--device", "cpu", "--log-level", "error"]
    return [python, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--host", "127.0.0.1", "--port", port, "--enforce-eager", "--generation-config", "vllm", "--dtype", dtype]

@contextmanager
def serving(server, python, model, log, dtype):
    "A real server on a free port of this machine"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with open(log, "w") as f: p = subprocess.Popen([str(x) for x in command(server, python, model, port, dtype)], cwd=ROOT, env=ENV, stdout=f, stderr=f, start_new_session=True)
    try:
        for _ in range(600):
            try: urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
            except (URLError, OSError): time.sleep(.5)
            else: break
            if p.poll() is not None: sys.exit(f"the server ended:\n{Path(log).read_text()[-3000:]}")
        else: sys.exit(f"the server is not up after five minutes:\n{Path(log).read_text()[-3000:]}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError): os.killpg(p.pid, 15)
        p.wait(60)

def copy_of(name, dtype, folder):
    "A bundled model in another number format"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    source, out = ROOT/"ded/models"/name, folder/f"{name}-{dtype}"
    AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype)).save_pretrained(out)
    AutoTokenizer.from_pretrained(source).save_pretrained(out)
    return out

def rollout(python, model, questions, out, *more):
    "`ded rollout`, greedy; its rows and its wall time"
    start = time.monotonic()
    done = subprocess.run([str(x) for x in [python, "-m", "ded.cli", "rollout", "--model", model, "--questions", questions, "--n", 1, "--temperature", 0, "--top_p", 1, "--max_tokens", 256, "--out", out, *more]], cwd=ROOT, env=ENV, text=True, capture_output=True)
    if done.returncode: sys.exit(f"ded rollout {' '.join(map(str, more))}: status {done.returncode}\n{done.stderr[-2000:]}")
    return {r["id"]: r for r in read_rows(out)}, time.monotonic()-start

def drawn(o, model, questions, folder, endpoint):
    "The rows of the engine under test"
    if o.server=="offline": return rollout(o.python, model, questions, folder/"theirs.jsonl", "--backend", "vllm")
    with serving(o.server, o.python, str(model), folder/"server.log", o.dtype) as url:
        return rollout(sys.executable, model, questions, folder/"theirs.jsonl", "--backend", "openai", "--base_url", url, "--endpoint", endpoint, "--parallel", 1 if o.server=="transformers" else 64)

def compare(o, name, endpoint):
    "One row of the table"
    from ded.tasks import bench
    with tempfile.TemporaryDirectory() as d:
        d, model = Path(d), copy_of(name, o.dtype, Path(d))
        write_rows(d/"q.jsonl", bench("w-math500")[:o.questions])
        ours, _ = rollout(sys.executable, model, d/"q.jsonl", d/"ours.jsonl", "--backend", "hf", "--batch", 1 if o.dtype=="bfloat16" else 64)
        theirs, wall = drawn(o, model, d/"q.jsonl", d, endpoint)
    same = lambda k: sum(ours[i][k]==theirs[i][k] for i in ours)
    at = [next((j for j,(a,b) in enumerate(zip(ours[i]["text"], theirs[i]["text"])) if a!=b), min(len(ours[i]["text"]), len(theirs[i]["text"]))) for i in ours if ours[i]["text"]!=theirs[i]["text"]]
    ci = binomtest(same("text"), len(ours)).proportion_ci()
    return dict(server=o.server, engine=next(iter(theirs.values())).get("engine", ""), model=name, dtype=o.dtype, endpoint=endpoint if o.server!="offline" else "", n=len(ours), equal=same("text"), estimate=round(100*same("text")/len(ours), 2),
                lower=round(100*ci.low, 2), upper=round(100*ci.high, 2), same_finish=same("finish_reason"), same_n_tok=same("n_tok"), first_difference=min(at, default=""), wall_s=round(wall, 1))

def table(rows, out):
    "Keep the rows of other runs"
    name = lambda r: tuple(str(r[k] or "") for k in ("server","model","dtype","endpoint"))
    old = read_csv(out/"greedy.csv") if (out/"greedy.csv").exists() else []
    rows = sorted([*(r for r in old if name(r) not in set(map(name, rows))), *rows], key=name)
    write_rows(out/"greedy.csv", rows)
    head = ["engine", "model", "dtype", "endpoint", "prompts", "equal replies, %", "same reason", "same tokens"]
    cells = [[f"{r['server']} ({r['engine']})", r["model"], r["dtype"], r["endpoint"] or "–", r["n"], f"{r['estimate']} [{r['lower']}, {r['upper']}]", r["same_finish"], r["same_n_tok"]] for r in rows]
    write_text(out/"greedy.md", "# Greedy replies of other engines against the hf backend\n\nSame weights, same prompts (the first of w-math500), temperature 0, at most 256 tokens; brackets: 95 % interval over prompts (Clopper-Pearson). "
               "In float32 replies are expected to agree; where one does not, greedy.csv holds the place of the first difference.\n\n"+md_table(head, cells)+"\n\nMade by `python tests/engines.py --server transformers|vllm|offline`.\n")

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--server", choices=("transformers","vllm","offline"), required=True)
    for name,default in dict(python=sys.executable, models="student-a,student-c", questions=200, dtype="float32", endpoints="completions,chat", out=str(ROOT/"reports/engines")).items(): p.add_argument(f"--{name}", type=type(default), default=default)
    o = p.parse_args()
    rows = [compare(o, m, e) for m in o.models.split(",") for e in (o.endpoints.split(",") if o.server!="offline" else [""])]
    table(rows, Path(o.out))
    for r in rows: print(json.dumps(r))
    sys.exit(any(r["lower"]<95 or r["estimate"]<99 for r in rows if r["dtype"]=="float32"))

if __name__=="__main__": main()
