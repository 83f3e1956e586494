"Draws from a server: every request ends in a row or in a listed cause, nothing is lost or doubled, and the exit status says which"
import importlib.util, json, os, random, signal, subprocess, sys, time
import pytest
from conftest import ROOT, ded, sh
from fake_server import serving, stats
from ded.core import DedError, RowLog, UsageError
from ded.rollout import Missing, rollout, settled

MODEL = "fake/model"
ask = lambda *texts: [dict(id=f"q{i}", question=t, gold="1", domain="math") for i,t in enumerate(texts)]

@pytest.fixture(scope="module")
def url():
    with serving() as u: yield u

def draw(url, questions, n=1, **kw): return rollout(MODEL, questions, n, backend="openai", base_url=url, progress=False, **dict(dict(backoff=.01, temperature=1., max_tokens=100), **kw))

def causes(url, text, **kw):
    with pytest.raises(Missing) as e: draw(url, ask(text), **kw)
    return e.value.rows[0][2]

def test_rows_are_whole(url):
    rows = draw(url, ask("a", "b"), 3, seed=7)
    assert [(r["id"], r["k"]) for r in rows]==[(q, k) for q in ("q0","q1") for k in range(3)]
    assert len({r["seed"] for r in rows})==6 and {r["n_tok"] for r in rows}=={19} and {r["finish_reason"] for r in rows}=={"stop"}
    assert all(r["text"]==f"<think>{'x'*20}</think>\\boxed{{{r['seed']%10}}}" and r["template"]=="server" and r["backend"]=="openai" for r in rows)
    assert {"temperature","top_p","max_tokens","seed","n","frequency_penalty","presence_penalty"} <= set(stats(url)["fields"])

def test_newer_servers_name_thoughts_otherwise_and_cut_replies_are_told():
    with serving(thoughts="reasoning") as u: row, = draw(u, ask("a"), max_tokens=5)
    assert row["text"].startswith("<think>xxxxx</think>") and (row["finish_reason"], row["n_tok"])==("length", 5)

def test_a_thought_whose_opening_the_server_wrote_into_the_prompt_is_whole():
    "A template that ends in <think>, and no parser of thoughts on the server"
    with serving(thoughts="unparsed") as u: row, = draw(u, ask("a"))
    assert row["text"]==f"<think>{'x'*20}</think>\\boxed{{{row['seed']%10}}}" and row["opened"]=="<think>"

@pytest.mark.parametrize("fault", ["500", "502", "503", "drop", "half", "cut", "empty", "list", "error", "two", "none", "abort", "deep"])
def test_a_passing_fault_costs_one_request(url, fault):
    row, = draw(url, ask(f"passing !{fault}"))
    assert row["tries"]==2 and row["text"].endswith("}")

@pytest.mark.parametrize("fault,why", [("500","status 500: engine died"), ("502","status 502"), ("429","status 429: slow down"), ("drop","connection lost"), ("half","connection lost"), ("cut","not JSON"), ("empty","no choices"),
                                       ("error","out of memory"), ("two","2 choices"), ("none","no text in the reply, although there are tokens"), ("abort","finish_reason 'abort'")])
def test_a_lasting_fault_is_a_listed_cause(url, fault, why):
    told = causes(url, f"lasting {f'!{fault} '*3}", tries=3)
    assert why in told and "asked 3 times" in told and "\n" not in told

def test_a_refusal_is_not_repeated(url):
    assert causes(url, "refused !400")=="status 400: prompt too long"
    assert [n for q,n in stats(url)["asked"].items() if q.startswith("refused")]==[1]

def test_a_silent_server_is_left(url):
    start = time.monotonic()
    assert "no reply within 0.3 s (asked 2 times)" in causes(url, "silent !hang !hang", timeout=.3, tries=2)
    assert time.monotonic()-start<3

def test_retry_after_holds_everyone_back(url):
    start = time.monotonic()
    rows = draw(url, ask("first !429=0.4", *"abcdefgh"), parallel=1)
    assert .4<time.monotonic()-start<3 and len(rows)==9
    assert "wants to be asked in 3600 s" in causes(url, "much later !429=3600")

def test_a_wrong_key_ends_the_run_in_one_line_and_shows_nothing(url, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0815")
    before = stats(url)["keys"]
    with pytest.raises(DedError, match="status 401: no such key; check") as e: draw(url, ask("key !401"))
    assert "0815" not in str(e.value) and stats(url)["keys"]>before

def test_a_server_that_is_gone_is_given_up(url):
    with pytest.raises(Missing) as e: draw(url, ask(*(f"dead {i} !500 !500" for i in range(60))), tries=2, parallel=4)
    told = [why for *_,why in e.value.rows]
    assert len(told)==60 and sum(why.startswith("not asked") for why in told)>=30
    with pytest.raises(DedError, match="start the server"): draw("http://127.0.0.1:9/v1", ask("a"))
    with pytest.raises(DedError, match="does not serve other but fake/model"): rollout("other", ask("a"), backend="openai", base_url=url)

def test_wrong_usage():
    with pytest.raises(UsageError, match="--base_url"): draw("", ask("a"))
    with pytest.raises(UsageError, match="choose one of auto, fast, hf, vllm, openai"): rollout(str(ROOT/"ded/models/student-a"), ask("a"), backend="magic")

def test_what_can_change_a_row_is_its_identity(url, tmp_path):
    log = tmp_path/"t.jsonl"
    first = draw(url, ask("a", "b"), 2, log=log)
    assert draw(url, ask("a", "b"), 2, log=log, parallel=3, timeout=9.)==first and len(RowLog.read(log))==4
    for change in (dict(temperature=.5), dict(top_p=.9), dict(max_tokens=50), dict(seed=1)): draw(url, ask("a", "b"), 2, log=log, **change)
    draw(url, ask("a", "c"), 2, log=log)
    assert len(RowLog.read(log))==4*5+2

def test_longest_first(tmp_path):
    "One slot: the order of the log is the order of the draws"
    with serving(slots=1) as u:
        pilot = [dict(id=f"q{i}", n_tok=t) for i,t in enumerate((5,50,500))]
        draw(u, ask("a", "b", "c"), 2, parallel=1, pilot=pilot, log=tmp_path/"t.jsonl")
    assert [r["id"] for r in RowLog.read(tmp_path/"t.jsonl")]==["q2","q2","q1","q1","q0","q0"]

def test_draws_stop_when_the_decision_is_certain(url, tmp_path):
    rows = draw(url, ask("a", "b"), 8, parallel=1, log=tmp_path/"t.jsonl", enough=lambda rows: settled(len(rows), len(rows), 8, .25))
    assert [sum(r["id"]==q for r in rows) for q in ("q0","q1")]==[3,3]
    assert sum(r.get("skipped")=="settled" for r in RowLog.read(tmp_path/"t.jsonl"))==10

def command(url, folder, n=4, questions=30, **kw):
    q = folder/"q.jsonl"
    q.write_text("".join(json.dumps(r)+"\n" for r in ask(*(f"question {i}" for i in range(questions)))))
    extra = [f"--{k}={v}" for k,v in kw.items()]
    return [sys.executable, "-m", "ded.cli", "rollout", "--model", MODEL, "--questions", q, "--n", n, "--backend", "openai", "--base_url", url, "--parallel", 8, "--max_tokens", 100, "--out", folder/"t.jsonl", *extra]

def start(*args): return subprocess.Popen([str(x) for x in command(*args)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

def test_a_killed_run_loses_and_doubles_nothing(tmp_path):
    "SIGKILL at random moments until it is done; the rows are those of an undisturbed run"
    chance, whole, torn = random.Random(0), tmp_path/"whole", tmp_path/"torn"
    whole.mkdir(), torn.mkdir()
    with serving(token_ms=2, within=.5) as u:
        assert sh(command(u, whole)).returncode==0
        asked, kills = stats(u)["asked"], 0
        while (p := start(u, torn)).poll() is None:
            goal = stats(u)["requests"]+chance.randint(10, 50)
            while p.poll() is None and stats(u)["requests"]<goal: time.sleep(.01)
            kills += p.poll() is None
            p.kill()
            if p.wait()==0: break
        assert p.returncode==0 and kills>=2 and set(stats(u)["asked"])==set(asked)
    rows = [sorted((json.loads(l) for l in (f/"t.jsonl").read_text().splitlines()), key=lambda r: r["key"]) for f in (whole, torn)]
    assert rows[0]==rows[1] and len(rows[0])==120 and not (torn/"t.jsonl.part").exists()

def test_ctrl_c_frees_the_server_and_keeps_the_rows(tmp_path):
    with serving(token_ms=10, within=1.) as u:
        p = start(u, tmp_path)
        while len(stats(u)["asked"])<12: time.sleep(.02)
        p.send_signal(signal.SIGINT)
        assert p.wait(20)==130 and "stopped; what was finished is kept" in p.stderr.read()
        for _ in range(100):
            if not stats(u)["busy"]: break
            time.sleep(.05)
        assert stats(u)["busy"]==0 and not (tmp_path/"t.jsonl").exists()
        assert len(RowLog.read(tmp_path/"t.jsonl.part"))>=4

def test_the_command_lists_what_is_missing_with_status_1_and_goes_on(url, tmp_path):
    qs = tmp_path/"q.jsonl"
    qs.write_text("".join(json.dumps(r)+"\n" for r in ask("well", "ill !400")))
    args = ["rollout", "--model", MODEL, "--questions", qs, "--n", 2, "--backend", "openai", "--base_url", url, "--out", tmp_path/"t.jsonl", "--json"]
    first = ded(*map(str, args))
    assert first.returncode==1 and "Traceback" not in first.stderr
    assert json.loads(first.stdout)["failed"]==[f"question q1, k {k}: status 400: prompt too long" for k in (0, 1)] and not (tmp_path/"t.jsonl").exists()
    second = ded(*map(str, args))
    assert second.returncode==0 and json.loads(second.stdout)["rows"]==4

def test_backends_elsewhere_are_told_apart(tmp_path):
    (tmp_path/"q.jsonl").write_text(json.dumps(ask("a")[0])+"\n")
    common = ["rollout", "--questions", tmp_path/"q.jsonl", "--out", tmp_path/"t.jsonl"]
    told = ded(*map(str, [*common, "--model", ROOT/"ded/models/student-a", "--base_url", "http://127.0.0.1:9/v1"]))
    assert told.returncode==2 and "--base_url needs --backend openai" in told.stderr

STUDENT = str(ROOT/"ded/models/student-a")

def test_prompts_are_of_our_own_renderer_and_a_server_is_held_to_them():
    from ded.rollout import prompt_ids, reader, template_hash
    tok, _ = reader(STUDENT)
    with serving(model=STUDENT, owner="vllm") as u:
        row, = rollout(STUDENT, ask("b:7?b"), backend="openai", base_url=u, progress=False, max_tokens=10**6)
        seen = stats(u)
    assert row["template"]==template_hash(tok) and row["engine"]=="vllm" and {"top_k","min_p","repetition_penalty","skip_special_tokens","return_token_ids"} <= set(seen["fields"])
    assert list(seen["asked"])==[f"{prompt_ids(tok, 'b:7?b')}/{row['seed']}"]
    with serving(model=STUDENT) as u, pytest.raises(DedError, match=r"reads 0 prompt tokens where our template has \d+"): rollout(STUDENT, ask("b:7?b"), backend="openai", base_url=u, progress=False)

@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_vllm_is_an_extra_that_says_how_to_get_it():
    with pytest.raises(DedError, match="pip install vllm==.*--backend openai --base_url"): rollout(STUDENT, ask("a"), backend="vllm", progress=False)

VLLM = """
import json, math, os
class SamplingParams:
    def __init__(self, **settings): self.settings = settings
class LLM:
    "Gives every prompt back in reverse, one request a step; a copy with DIE=its GPU dies at the third; of a prompt it knows that each token has half a chance, and id 7 a quarter"
    def __init__(self, **how):
        self.llm_engine, self.held, self.steps = self, [], 0
        if os.environ.get("REFUSE"): raise ValueError("no room")
        with open(os.environ["STARTS"], "a") as f: print(json.dumps(dict(how, gpus=os.environ.get("CUDA_VISIBLE_DEVICES"))), file=f)
    def add_request(self, key, prompt, settings): self.held.append((key, prompt["prompt_token_ids"], settings.settings))
    def step(self):
        self.steps += 1
        if self.steps==3 and os.environ.get("DIE", "none")==os.environ.get("CUDA_VISIBLE_DEVICES"): os._exit(1)
        key, ids, how = self.held.pop(0)
        at = lambda p: type("Logprob", (), dict(logprob=math.log(p)))
        told = [None, *({7: at(.25), i: at(.5)} for i in ids[1:])] if how.get("prompt_logprobs") else None
        said = ids[::-1][:how["max_tokens"]-1]+[how.get("stop_token_ids", [3])[0]]
        return [type("Reply", (), dict(finished=True, request_id=key, prompt_logprobs=told, outputs=[type("Out", (), dict(token_ids=said, finish_reason="stop"))]))]
"""

needs_none = pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")

@pytest.fixture
def fake_vllm(tmp_path, monkeypatch):
    "A stand-in for vLLM in the processes that hold it; gives what was started"
    for name,text in {"vllm/__init__.py": VLLM, "vllm/sampling_params.py": "class RequestOutputKind: FINAL_ONLY = 2",
                      "vllm-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 0.1\n", "vllm-0.1.dist-info/top_level.txt": "vllm\n"}.items():
        (tmp_path/name).parent.mkdir(exist_ok=True)
        (tmp_path/name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("STARTS", str(tmp_path/"starts"))
    return lambda: [json.loads(l) for l in (tmp_path/"starts").read_text().splitlines()]

def offline(n=4, model=STUDENT, questions=("b:7?b", "b:6?b", "b:5?b"), **how): return rollout(model, ask(*questions), n, backend="vllm", progress=False, **how)

@needs_none
def test_copies_of_vllm_side_by_side(tmp_path, monkeypatch, fake_vllm):
    "One queue, a copy that dies, the second start"
    from ded.rollout import prompt_ids, reader
    tok, _ = reader(STUDENT)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("DIE", "1")
    run = lambda: offline(data=2, log=tmp_path/"t.jsonl")
    with pytest.raises(Missing, match="4 rows missing.*the engine ended before it; run again to resume"): run()
    monkeypatch.delenv("DIE")
    rows = run()
    assert [(r["id"], r["k"]) for r in rows]==[(f"q{i}", k) for i in range(3) for k in range(4)] and len(RowLog.read(tmp_path/"t.jsonl"))==12
    assert rows[0]["text"]==tok.decode(prompt_ids(tok, "b:7?b")[::-1]) and rows[0]["engine"]=="vllm 0.1" and rows[0]["backend"]=="vllm"

@needs_none
def test_a_model_gets_the_gpus_that_it_needs_and_a_cache_for_its_rows(monkeypatch, fake_vllm):
    "A 32B model, by the size of its files, on eight GPUs of 80 GB; of a context of 512 tokens, what the rows need at most"
    from ded import offline as module
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,6,5,4,3,2,1,0")
    monkeypatch.setattr(module, "machine", lambda: (8, 80e9))
    monkeypatch.setattr(module, "weights", lambda model: 65.6e9)
    monkeypatch.setattr(module, "GRAIN", 64)
    assert len(offline(max_tokens=40))==12
    started = fake_vllm()
    assert sorted(s["gpus"] for s in started)==["1,0","3,2","5,4","7,6"] and {s["tensor_parallel_size"] for s in started}=={2} and {s["max_model_len"] for s in started}=={64}
    with pytest.raises(UsageError, match="8 copies on 2 GPUs each, and 8 are here"): offline(data=8)
    monkeypatch.setattr(module, "weights", lambda model: 689e9)
    with pytest.raises(DedError, match="689 GB of weights do not fit on 8 of the 8 GPUs of 80 GB here"): offline()

@needs_none
def test_an_engine_outlives_its_draws_where_it_is_kept(monkeypatch, fake_vllm):
    from ded.offline import KEPT, kept
    from ded import offline as module
    monkeypatch.setattr(module, "GRAIN", 64)
    with kept():
        for seed in (0, 1): offline(seed=seed, max_tokens=40)
        assert len(fake_vllm())==1
        offline(max_tokens=100)
        offline(max_tokens=40, seed=2)
        assert [s["max_model_len"] for s in fake_vllm()]==[64, 128]
        offline(model=str(ROOT/"ded/models/student-b"), max_tokens=40)
        held, = KEPT["copies"].links.values()
    assert held.exitcode==0 and KEPT==dict(depth=0, copies=None) and len(fake_vllm())==3
    offline(max_tokens=40)
    assert len(fake_vllm())==4 and KEPT["copies"] is None

@needs_none
def test_an_engine_that_does_not_start_says_why(monkeypatch, fake_vllm):
    monkeypatch.setenv("REFUSE", "1")
    with pytest.raises(DedError, match=r"vLLM cannot serve it \(ValueError: no room\)"): offline()

@needs_none
def test_an_interrupted_draw_leaves_no_engine(tmp_path, monkeypatch, fake_vllm):
    from ded.offline import KEPT, kept
    def stop(rows): raise KeyboardInterrupt
    with kept():
        with pytest.raises(KeyboardInterrupt): offline(enough=stop)
        offline(max_tokens=40)
        assert len(fake_vllm())==1
    assert KEPT["copies"] is None

def test_a_model_too_large_for_one_gpu_is_loaded_onto_several(monkeypatch):
    import ded.rollout, transformers
    module, load, asked = sys.modules["ded.rollout"], transformers.AutoModelForCausalLM.from_pretrained, []
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", lambda *args, **how: asked.append(how.get("device_map")) or load(*args, **how))
    for gpus,size in ((0, 689e9), (8, 29e9), (8, 65.6e9), (8, 689e9)):
        monkeypatch.setattr(module, "machine", lambda: (gpus, 80e9))
        monkeypatch.setattr(module, "weights", lambda model: size)
        if size<600e9 or not gpus: module.load.__wrapped__(STUDENT)
        else:
            with pytest.raises(DedError, match="689 GB of weights do not fit"): module.load.__wrapped__(STUDENT)
    assert asked==[None, None, "auto"]

DRAW = """
import multiprocessing, os
from ded.rollout import rollout
def die(rows):
    if not rows: return False
    print(multiprocessing.active_children()[0].pid, flush=True)
    os.kill(os.getpid(), 9)
if __name__=="__main__": rollout(MODEL, [dict(id="q", question="b:7?b")], 600, backend="vllm", max_tokens=40, progress=False, enough=die)
"""

@needs_none
def test_a_copy_ends_with_the_process_that_feeds_it(tmp_path, fake_vllm):
    "Killed after its first reply, with more than a window of rows to draw"
    (tmp_path/"draw.py").write_text(DRAW.replace("MODEL", repr(STUDENT)))
    done = subprocess.run([sys.executable, tmp_path/"draw.py"], cwd=ROOT, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=f"{tmp_path}:{ROOT}"), timeout=120)
    assert done.returncode==-signal.SIGKILL, done.stderr
    copy, end = int(done.stdout), time.monotonic()+10
    while os.path.exists(f"/proc/{copy}/exe") and time.monotonic()<end: time.sleep(.1)
    assert not os.path.exists(f"/proc/{copy}/exe")

@needs_none
def test_rows_of_vllm_are_the_same_rows_on_ray(tmp_path, fake_vllm):
    "A log that was drawn here is complete there"
    from ded.cluster import rollout_ray
    here = offline(log=tmp_path/"t.jsonl")
    assert rollout_ray(STUDENT, ask("b:7?b", "b:6?b", "b:5?b"), 4, backend="vllm", log=tmp_path/"t.jsonl", progress=False)==here

@needs_none
def test_stages_at_the_papers_size_draw_and_read_with_one_start_per_model(tmp_path, monkeypatch, fake_vllm):
    import ded.core as core
    from dataclasses import replace
    from ded.core import get_preset, read_csv
    from ded.rehearsal import prepare
    from ded.study import do
    monkeypatch.setenv("DED_HOME", str(tmp_path/"home"))
    prepare()
    monkeypatch.setitem(core.PRESETS, "rehearsal", replace(get_preset("rehearsal"), backend="vllm", gen_tokens=32768))
    do("10a_pool", "rehearsal", 0, "student-a@math")
    do("14_score", "rehearsal", 0, "base-a")
    started = fake_vllm()
    assert len(started)==2 and {s["max_model_len"] for s in started}=={36864}
    do("11_traces", "rehearsal", 0, "t-explore")
    probe, = do("16_probe", "rehearsal", 0, "t-explore")
    later = [s["model"].rpartition("stand-in-")[2] for s in fake_vllm()[2:]]
    assert later==["DeepSeek-R1", "DeepSeek-R1", "DeepSeek-R1-Distill-Qwen-32B", "Qwen2.5-32B-Instruct", "phi-4"] and {s["max_logprobs"] for s in fake_vllm()[3:]}=={20}
    h, = read_csv(probe.path("entropy.csv"))
    assert h["lower"]<h["mean"]<h["upper"] and all(abs(r["mean"]-.6931)<.1 for r in read_csv(probe.path("surprisal.csv")))
