"Bad input is told in one line with the file, the row, the cause and the remedy; the exit status says what happened; nothing is left behind"
import json, re
import pytest
from conftest import ded

QUESTION = dict(id="q1", question="b:1?b", gold="1", domain="math")
TRACE = dict(id="q1", k=0, model="t", text="<think>b:1</think>\\boxed{1}", finish_reason="stop", n_tok=9, seed=0)
CORPUS = dict(id="q1", k=0, text=TRACE["text"], model="t", n_tok=9, question="b:1?b")

def put(path, *rows):
    path.write_text("".join(json.dumps(r)+"\n" for r in rows))
    return path

def refused(status, *args, says):
    "The command ends with this status and a single line on stderr"
    done = ded(*args)
    lines = done.stderr.strip().splitlines()
    assert done.returncode==status, done.stderr
    assert "Traceback" not in done.stderr and re.search(says, lines[-1]), done.stderr
    if status==1: assert len(lines)==1, done.stderr

def commands(): return re.findall(r"^  (\w+) ", ded("--help").stdout, re.M)

def test_every_command_explains_itself():
    names = commands()
    assert {"reproduce","exhibits","load","overlap","rollout","verify","passrate","teacher","select","sft","eval","entropy","shift","export","doctor"} <= set(names)
    for n in names:
        done = ded(n, "--help")
        assert done.returncode==0 and "--json" in done.stdout, n

def test_wrong_usage_is_status_2():
    refused(2, "reproduce", "--preset", "huge", says="invalid choice: 'huge'.*smoke.*cpu.*gpu.*paper")
    refused(2, "reproduce", "--only", "13_trian", says="13_trian: unknown; choose 10_world")
    refused(2, "relect", says="no such command; choose from reproduce")
    refused(2, "select", "--tau", "0.5", says="required: --traces")
    refused(2, "sft", says="required: --model")
    student = ("sft", "--model", "m", "--corpus", "c.jsonl", "--out", "s")
    refused(2, *student, "--machines", "2", says="--machines 2 needs --processes, over all machines, and --host")
    refused(2, *student, "--host", "10.0.0.1", says="--host and --port are for several machines")

def test_what_a_machine_lacks_is_listed_before_anything_runs(tmp_path):
    where = dict(DED_HOME=str(tmp_path/"home"), DED_REPORTS=str(tmp_path/"reports"), CUDA_VISIBLE_DEVICES="")
    for preset,n in (("paper", 27), ("gpu", 2)):
        done = ded("reproduce", "--preset", preset, **where)
        told = done.stderr.strip().splitlines()
        assert done.returncode==1 and len(told)>=n and all(l.startswith("failed: ") for l in told), done.stderr
        assert "gpus: 0 where preset" in done.stderr and list(tmp_path.iterdir())==[]

def test_a_missing_column_names_the_line(tmp_path):
    bad = put(tmp_path/"v.jsonl", dict(id="q1", k=0, verdict="right"), dict(id="q1", k=1))
    refused(1, "passrate", "--verdicts", bad, "--out", tmp_path/"r.jsonl", says=r"v\.jsonl:2: the row lacks 'verdict'; add it")
    assert not (tmp_path/"r.jsonl").exists()

def test_a_broken_line_names_the_line(tmp_path):
    bad = tmp_path/"q.jsonl"
    bad.write_text(json.dumps(QUESTION)+"\n{\"id\": \n")
    refused(1, "verify", "--traces", put(tmp_path/"t.jsonl", TRACE), "--questions", bad, "--out", tmp_path/"v.jsonl", says=r"q\.jsonl:2: not JSON")
    refused(1, "verify", "--traces", tmp_path/"none.jsonl", "--questions", bad, "--out", tmp_path/"v.jsonl", says=r"none\.jsonl: cannot read it: No such file")
    refused(1, "verify", "--traces", put(tmp_path/"t.jsonl"), "--questions", bad, "--out", tmp_path/"v.jsonl", says=r"t\.jsonl: holds no rows")

def test_an_unbalanced_think_tag_is_malformed(tmp_path):
    ts = put(tmp_path/"t.jsonl", TRACE, dict(TRACE, k=1, text="<think>b:1 \\boxed{1}"))
    done = ded("verify", "--traces", ts, "--questions", put(tmp_path/"q.jsonl", QUESTION), "--out", tmp_path/"v.jsonl", "--json")
    assert done.returncode==0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["rows"], facts["right"], facts["malformed"]) == (2, 1, 1)

def test_a_trace_without_its_question_is_listed(tmp_path):
    ts = put(tmp_path/"t.jsonl", TRACE, dict(TRACE, id="q2"))
    refused(1, "verify", "--traces", ts, "--questions", put(tmp_path/"q.jsonl", QUESTION), "--out", tmp_path/"v.jsonl", says=r"t\.jsonl, row 2: trace q2, k 0, has no question in .*q\.jsonl \(1 such\)")
    assert not (tmp_path/"v.jsonl").exists()

@pytest.mark.parametrize("name", ["rollout", "sft", "eval"])
def test_a_folder_that_is_no_model(name, tmp_path):
    (tmp_path/"model").mkdir()
    args = dict(rollout=["--questions", put(tmp_path/"q.jsonl", QUESTION), "--n", "1"], sft=["--corpus", put(tmp_path/"c.jsonl", CORPUS)], eval=["--bench", "w-aime24"])[name]
    refused(1, name, "--model", tmp_path/"model", *args, "--out", tmp_path/"out", says="model: .*(config.json|no model|not a model)")
    assert not (tmp_path/"out").exists()

def test_an_unknown_benchmark(tmp_path):
    (tmp_path/"model").mkdir()
    refused(2, "eval", "--model", tmp_path/"model", "--bench", "w-aime99", "--out", tmp_path/"s.csv", says="unknown benchmark 'w-aime99'; known: w-aime24")

def test_a_corpus_without_questions_cannot_be_exported(tmp_path):
    c = put(tmp_path/"c.jsonl", {k: v for k,v in CORPUS.items() if k!="question"})
    refused(1, "export", "--corpus", c, "--format", "trl", "--out", tmp_path/"x", says=r"c\.jsonl:1: the row lacks 'question'")
    assert not (tmp_path/"x").exists()

def test_a_published_file_of_another_form_names_the_line(tmp_path):
    limo = put(tmp_path/"limo.jsonl", dict(question="Find $1+1$.", answer="2"), dict(problem="Find $2+2$.", answer="4"))
    refused(1, "load", "--source", "limo", "--path", limo, "--out", tmp_path/"q.jsonl", says=r"limo\.jsonl:2: the row lacks 'question'; give limo as published in GAIR/LIMO")
    refused(2, "load", "--source", "limo", "--out", tmp_path/"q.jsonl", says="unpinned.*give --revision")
    refused(1, "overlap", "--rows", limo, "--against", limo, "--out", tmp_path/"h.jsonl", says=r"limo\.jsonl:1: the row lacks 'id'")
    assert not (tmp_path/"q.jsonl").exists() and not (tmp_path/"h.jsonl").exists()

def test_a_start_that_failed_leaves_nothing(tmp_path):
    (tmp_path/"model").mkdir()
    (tmp_path/"model/config.json").write_text("{}")
    args = ["--model", tmp_path/"model", "--questions", put(tmp_path/"q.jsonl", QUESTION), "--n", "1", "--out", tmp_path/"t.jsonl"]
    refused(1, "rollout", *args, says="model: cannot be loaded as a causal LM")
    refused(2, "rollout", "--top_p", "0", *args, says="top_p 0.0: must be above 0 and at most 1")
    assert sorted(p.name for p in tmp_path.iterdir())==["model", "q.jsonl"]

def test_the_doctor_tells_pins_sandbox_and_options():
    done = ded("doctor", "--json")
    facts = json.loads(done.stdout)
    assert all(isinstance(facts[k], list) for k in ("unlike_pins","sandbox_lacks","optional","failed")) and facts["sandbox_lacks"][-1]=="system call filter"
    assert done.returncode==(1 if facts["failed"] else 0) and not any("ray" in f for f in facts["failed"])

VERDICT = dict(id="q1", k=0, verdict="right")
RATE = dict(id="q1", right=0, total=1, truncated=0, undecided=0)
ROWS = dict(questions=QUESTION, traces=TRACE, verdicts=VERDICT, passrates=RATE, corpus=CORPUS)
TAKES = dict(verify=["traces","questions"], passrate=["verdicts"], select=["traces","verdicts","passrates","questions"], rollout=["questions"], teacher=["questions"], sft=["corpus"], entropy=["traces","questions"], export=["corpus","verdicts","questions"])
MORE = dict(rollout=["--model","m","--n","1"], teacher=["--student","m","--teachers","m","--bench","w-aime24"], sft=["--model","m"], entropy=["--model","m"], export=["--format","trl"])
FLAWS = dict(questions=[(dict(id=None), "'id' is null where text or an integer"), (dict(gold=4), "'gold' is the number 4 where text or null is expected; write it as a string"), (dict(gold=["4"]), "'gold' is a list"), (dict(question=5), "'question' is the number 5"), (dict(domain=None), "'domain' is null")],
             traces=[(dict(text=None), "'text' is null where text"), (dict(text=5), "'text' is the number 5"), (dict(k="0"), "'k' is the text \"0\" where an integer from 0 on is expected; write it as a number"), (dict(n_tok="5"), "'n_tok' is the text"), (dict(n_tok=float("nan")), "'n_tok' is the number NaN"), (dict(finish_reason=None), "'finish_reason' is null"), (dict(seed=True), "'seed' is true")],
             verdicts=[(dict(k="1"), "'k' is the text \"1\""), (dict(verdict=["right"]), "'verdict' is a list")],
             passrates=[(dict(right="0"), "'right' is the text \"0\""), (dict(total=None), "'total' is null"), (dict(undecided=-1), "'undecided' is the number -1")],
             corpus=[(dict(n_tok=None), "'n_tok' is null"), (dict(text=["a"]), "'text' is a list"), (dict(k=1.5), "'k' is the number 1.5")])
NEEDED = dict(questions=("id",) , traces=tuple(TRACE), verdicts=tuple(VERDICT), passrates=tuple(RATE), corpus=tuple(CORPUS))

def flawed(command, kind):
    "Second rows of a file that must be refused, and what is said: a missing key, a value of another type, a repeated name"
    known = QUESTION if kind=="questions" and command!="export" else {k: ROWS[kind][k] for k in NEEDED[kind]}
    other = dict(ROWS[kind], id="q2")
    yield {k: v for k,v in other.items() if k!="id"}, ":2: the row lacks 'id'; add it"
    for odd,said in FLAWS[kind]:
        if set(odd)<=set(known): yield {**other, **odd}, ":2: "+said
    yield ROWS[kind], ":2: repeats id q1" + (", k 0" if "k" in known else "") + " of row 1; keep one of the two"
    yield dict(ROWS[kind], id=1), ":2: 'id' is the number 1, unlike those before it"

@pytest.mark.parametrize("command,kind", [(c, k) for c,kinds in TAKES.items() for k in kinds])
def test_a_row_of_another_form_is_named(command, kind, tmp_path, monkeypatch, capsys):
    from ded import cli
    monkeypatch.setattr(cli, "models", lambda *names: None)
    for row,said in flawed(command, kind):
        files = {k: put(tmp_path/f"{k}.jsonl", *([ROWS[k], row] if k==kind else [ROWS[k]])) for k in TAKES[command]}
        status = cli.main([command, *MORE.get(command, []), *(str(x) for k,f in files.items() for x in (f"--{k}", f)), "--out", str(tmp_path/"out")])
        err = capsys.readouterr().err
        assert (status, err.count("\n"), err.startswith(f"ded: {files[kind]}{said}"), (tmp_path/"out").exists())==(1, 1, True, False), err

def test_a_gold_answer_that_cannot_be_read_spoils_its_own_rows(tmp_path):
    files = ["--traces", put(tmp_path/"t.jsonl", TRACE, dict(TRACE, id="q2")), "--questions", put(tmp_path/"q.jsonl", QUESTION, dict(QUESTION, id="q2", gold="\\frac{"))]
    done = ded("verify", *files, "--out", tmp_path/"v.jsonl")
    assert done.returncode==1 and done.stderr.splitlines()==["failed: trace q2, k 0: the gold answer '\\\\frac{' can't be read; mend it as LaTeX, or set its domain to text"]
    assert [json.loads(l)["verdict"] for l in (tmp_path/"v.jsonl").read_text().splitlines()]==["right","error"]

@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_wrong_usage(timeout, tmp_path):
    refused(2, "verify", "--traces", "t", "--questions", "q", "--out", "v", "--timeout", timeout, says="must be a number of seconds above 0")

@pytest.mark.parametrize("told", [[1,2], dict(funnel=3, settings="x"), dict(funnel=[1], settings={}), dict(settings={})], ids=str)
def test_a_selection_of_another_form(told, tmp_path):
    refused(1, "export", "--corpus", put(tmp_path/"c.jsonl", CORPUS), "--format", "trl", "--out", tmp_path/"x", "--selection", put(tmp_path/"s.json", told), says=r"s\.json: no funnel or no settings in it; give the output of ded select --json")
    assert not (tmp_path/"x").exists()

@pytest.mark.parametrize("odd,said", [(dict(upstream=dict(completion_tokens="12")), "'completion_tokens' is the text"), (dict(gold_answer=["4"]), "'gold_answer' is a list"), (dict(response=None, thinking="a", final=3), "'final' is the number 3"), (dict(model=None), "the row lacks 'model'"), (dict(sample="0"), "'sample' is no integer")], ids=str)
def test_a_published_trace_of_another_form(odd, said, tmp_path):
    traces = put(tmp_path/"p.jsonl", dict(dict(problem="2+2?", gold_answer="4", model="m", response="<think>a</think>\\boxed{4}"), **odd))
    refused(1, "load", "--source", "traces", "--path", traces, "--out", tmp_path/"q.jsonl", "--traces", tmp_path/"t.jsonl", says=r"p\.jsonl:1: "+said)
    assert not (tmp_path/"q.jsonl").exists() and not (tmp_path/"t.jsonl").exists()
