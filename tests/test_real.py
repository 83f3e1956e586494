"""From traces to a corpus on the command line: the same bytes whatever the workers, the order of the input, the locale and the hash seed.
A small made-up set is always there; a sample of published traces is read from DED_DATA (default: shared/data beside the checkout) where it is at hand"""
import gzip, json, os, random, shutil
from pathlib import Path
import pytest
from conftest import ROOT, ded

DATA = Path(os.environ.get("DED_DATA") or ROOT.parent/"shared/data")
FILES = {"B_mip_overthinking/gsm8k_traces.jsonl.gz": 8, "B_skythought/aime24_traces.jsonl.gz": 2, "B_skythought/math500_traces.jsonl.gz": 6}
OTHER = dict(LC_ALL="C", LANG="tr_TR.UTF-8", PYTHONHASHSEED="77", TZ="Asia/Tokyo", PYTHONUTF8="0")

def put(path, rows): path.write_text("".join(json.dumps(r)+"\n" for r in rows), encoding="utf-8")
def rows(path): return [json.loads(l) for l in path.read_text(encoding="utf-8").splitlines()]

def run(*args, **env):
    done = ded(*args, "--json", **env)
    assert done.returncode==0, done.stderr
    return json.loads(done.stdout)

def made_up(folder):
    "Answers right, wrong, hidden in LaTeX, cut off, without a box; equal texts, so that ties must be broken; letters beyond ASCII"
    rng, qs, ts = random.Random(0), [], []
    for i,(gold,forms) in enumerate([("12", ("12","012","13")), ("\\frac{1}{2}", ("\\frac12","0.5","2")), ("x+1", ("1+x","x","x+1")), ("7", ("7","seven","7.0")), ("(1,2]", ("(1,2]","[1,2]","(1, 2]"))]):
        qs.append(dict(id=f"q{i}", question=f"Find number {i}.", gold=gold, domain="math"))
        for k in range(9):
            words = " ".join(rng.choices(("soit","für","≤","wait","日","so"), k=rng.randint(3, 40) if k%4 else 5))
            text = f"<think>{words}</think>Thus \\boxed{{{forms[k%3]}}}." if k!=7 else f"<think>{words}</think>No box."
            ts.append(dict(id=f"q{i}", k=k, model="t" if k<6 else "s", text=text, finish_reason="length" if k==8 else "stop", n_tok=len(text)//3, seed=k))
    put(folder/"q.jsonl", qs)
    put(folder/"t.jsonl", [t for t in ts if t["model"]=="t"])
    put(folder/"s.jsonl", [t for t in ts if t["model"]=="s"])

def sampled(folder):
    "A few questions of each file, with all their traces; the student is whoever stands first in the alphabet"
    (folder/"raw").mkdir()
    for name,n in FILES.items():
        with gzip.open(DATA/name, "rt", encoding="utf-8") as f: all_rows = [json.loads(l) for l in f]
        ids = sorted({r["question_id"] for r in all_rows})[:n]
        put(folder/"raw"/Path(name).name.removesuffix(".gz"), [r for r in all_rows if r["question_id"] in ids])
    told = run("load", "--source", "traces", "--path", folder/"raw", "--out", folder/"q.jsonl", "--traces", folder/"all.jsonl")
    assert told["trace_rows"]>100
    known, ts = {q["id"] for q in rows(folder/"q.jsonl")}, rows(folder/"all.jsonl")
    first = {i: min(t["model"] for t in ts if t["id"]==i) for i in known}
    for side,name in ((True,"s.jsonl"), (False,"t.jsonl")): put(folder/name, [t for t in ts if t["id"] in known and (t["model"]==first[t["id"]])==side])

def corpus(folder, source, workers="2", mix=None, **env):
    "Verify the teacher's and the student's traces, count, select; the files and what was said"
    folder.mkdir()
    for name in ("q","t","s"):
        got = rows(source/f"{name}.jsonl")
        if mix: random.Random(mix).shuffle(got)
        put(folder/f"{name}.jsonl", got)
    for name in "ts": run("verify", "--traces", folder/f"{name}.jsonl", "--questions", folder/"q.jsonl", "--out", folder/f"{name}v.jsonl", "--workers", workers, **env)
    run("passrate", "--verdicts", folder/"sv.jsonl", "--out", folder/"r.jsonl", **env)
    told = run("select", "--traces", folder/"t.jsonl", "--verdicts", folder/"tv.jsonl", "--passrates", folder/"r.jsonl", "--questions", folder/"q.jsonl", "--tau", "1", "--keep", "2", "--workers", workers, "--out", folder/"c.jsonl", **env)
    told.pop("out")
    return {n: (folder/n).read_bytes() for n in ("tv.jsonl","sv.jsonl","r.jsonl","c.jsonl")} | dict(told=json.dumps(told))

@pytest.fixture(scope="module", params=["made up", "published"])
def source(request, tmp_path_factory):
    if request.param=="published" and not all((DATA/f).exists() for f in FILES): pytest.skip(f"no published traces in {DATA}: set DED_DATA")
    folder = tmp_path_factory.mktemp("source")
    (made_up if request.param=="made up" else sampled)(folder)
    return folder

def test_the_same_bytes_in_every_circumstance(source, tmp_path):
    want = corpus(tmp_path/"a", source)
    assert len(want["c.jsonl"].splitlines())>=5
    other = corpus(tmp_path/"b", source, workers="1", mix=1, **OTHER)
    assert [n for n in want if want[n]!=other[n]]==[]
    for form in ("trl",) if (source/"raw").exists() else ("trl","llamafactory","verl"):
        for at in "ab": run("export", "--corpus", tmp_path/at/"c.jsonl", "--format", form, "--out", tmp_path/at/form, **(OTHER if at=="b" else {}))
        trees = [{p.relative_to(tmp_path/at): p.read_bytes() for p in (tmp_path/at/form).rglob("*") if p.is_file()} for at in "ab"]
        assert trees[0] and trees[0]==trees[1], form

def test_the_committed_report_is_drawn_again(tmp_path):
    "Without the collections the exhibits come from the committed rows, the same bytes, and the page says where from"
    old, new = ROOT/"reports/real", tmp_path/"reports/real"
    shutil.copytree(old/"data", new/"data")
    shutil.copy(old/"run.json", new)
    told = run("real", DED_DATA=str(tmp_path/"none"), DED_REPORTS=str(tmp_path/"reports"), DED_HOME=str(tmp_path/"home"))
    assert told["measured"] is False
    assert all("drawn from the rows of an earlier run" in (new/f"nbs/{n}.ipynb").read_text() for n in ("19a_real","19b_sets"))
    mine = [p for p in sorted((new/"tables").glob("x1[2-5]*")) if p.suffix!=".json"]
    assert len(mine)==21 and [p.name for p in mine if p.read_bytes()!=(old/"tables"/p.name).read_bytes()]==[]
    assert (new/"figures/x12.png").stat().st_size>5000 and 'id="x12b"' in (new/"index.html").read_text()

PROGRAMS = ("D_quixbugs/functions.jsonl.gz", "D_kodsport/problems.jsonl.gz")
FORGIVING = ("problemhunt", "assassins", "dexsave", "gapastort", "jage")

def programs(row):
    "(source, whether its authors call it right) of a problem; those that take long are left out, since their verdict depends on the machine"
    if "correct_code" in row: return [(row["correct_code"], True)] + [(row["buggy_code"], False)]*("timeout" not in row["buggy_results"])
    return [(s["code"], s["observed"]=="accepted") for s in row["solutions"] if s["max_seconds"]<=.5]

@pytest.mark.skipif(not all((DATA/f).exists() for f in PROGRAMS), reason=f"no programs in {DATA}: set DED_DATA")
def test_programs_are_judged_as_their_authors_do(tmp_path):
    "Functions that yield or round, and contests that forgive case, spaces and rounding"
    ts, right = [], {}
    qs = [q for f in PROGRAMS for q in loaded(tmp_path, f) if "quixbugs" in q["source_id"] or q["source_id"].endswith(FORGIVING)]
    with_id = {q["source_id"]: q["id"] for q in qs}
    for f in PROGRAMS:
        with gzip.open(DATA/f, "rt", encoding="utf-8") as lines: found = [json.loads(l) for l in lines]
        for r in found:
            for k,(code,ok) in enumerate(programs(r) if r["id"] in with_id else ()):
                ts.append(dict(id=with_id[r["id"]], k=k, model="m", text=f"<think>x</think>\n```python\n{code}\n```", finish_reason="stop", n_tok=9, seed=0))
                right[with_id[r["id"]],k] = ok
    put(tmp_path/"q.jsonl", qs)
    put(tmp_path/"t.jsonl", ts)
    run("verify", "--traces", tmp_path/"t.jsonl", "--questions", tmp_path/"q.jsonl", "--out", tmp_path/"v.jsonl")
    assert len(right)>40 and {(v["id"],v["k"]): v["verdict"] for v in rows(tmp_path/"v.jsonl")}=={d: "right" if ok else "wrong" for d,ok in right.items()}

def loaded(folder, name):
    run("load", "--source", "own-code", "--path", DATA/name, "--out", folder/"pool.jsonl")
    return rows(folder/"pool.jsonl")
