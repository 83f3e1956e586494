"Second opinions through the command line: they stand in columns of their own and change no verdict; a judge is asked only where the verifier abstains"
import json, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import pytest
from conftest import ded
from test_cli import QUESTION, TRACE, put, refused

ANSWERS = [r"\frac12", "0.5", "at least 1/2", "0.25"]
LOCALES = [dict(LC_ALL="C", PYTHONHASHSEED="1"), dict(LC_ALL="tr_TR.UTF-8", LANG="de_DE.UTF-8", PYTHONHASHSEED="2")]

class Judge(BaseHTTPRequestHandler):
    asked = []
    def log_message(self, *args): pass
    def do_POST(self):
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        self.asked.append(prompt)
        code = prompt.rpartition("the code ")[2][:12]
        data = json.dumps(dict(choices=[dict(message=dict(content=f"Only a bound.\nVERDICT {code} INCORRECT"))])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

@pytest.fixture
def judge():
    http = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown(), http.server_close()

def rows(path): return [json.loads(l) for l in path.read_text().splitlines()]

@pytest.fixture
def files(tmp_path):
    ts = [dict(TRACE, k=k, text=f"<think>x</think>\\boxed{{{a}}}") for k,a in enumerate(ANSWERS)]
    return ["verify", "--traces", put(tmp_path/"t.jsonl", *ts), "--questions", put(tmp_path/"q.jsonl", dict(QUESTION, gold=r"\frac{1}{2}"))]

def test_opinions_change_no_verdict(files, judge, tmp_path):
    out = tmp_path/"v.jsonl"
    done = ded(*files, "--out", out, "--second", "--judge_url", judge, "--judge_model", "m", "--json")
    assert done.returncode==0, done.stderr
    told, got = json.loads(done.stdout), rows(out)
    assert [r["verdict"] for r in got]==["right","right","undecided","wrong"] and told["undecided"]==1
    assert [r.get("judge") for r in got]==[None, None, "wrong", None] and len(Judge.asked)==1
    assert told["with judge"]==dict(right=2, wrong=2) and told["symbolic"]==dict(right=2, undecided=1, wrong=1)
    assert [r["second"] for r in got if r["k"]!=2]==["right","right","wrong"] and all("k 2" in d for d in told["disagreements"])

def test_a_judge_that_is_not_there_is_told(files, tmp_path):
    done = ded(*files, "--out", tmp_path/"v.jsonl", "--judge_url", "http://127.0.0.1:9/v1", "--judge_model", "m")
    assert done.returncode==1 and "trace q1, k 2: judge: no connection" in done.stderr
    assert rows(tmp_path/"v.jsonl")[2]["verdict"]=="undecided"
    refused(2, *files, "--out", tmp_path/"w.jsonl", "--judge_url", "http://127.0.0.1:9/v1", says="go together")

@pytest.mark.parametrize("env", LOCALES, ids=lambda e: e["LC_ALL"])
def test_verdicts_do_not_depend_on_the_surroundings(files, env, tmp_path):
    a, b = tmp_path/"a.jsonl", tmp_path/"b.jsonl"
    assert ded(*files, "--out", a, "--workers", "1").returncode==0
    put(tmp_path/"t.jsonl", *reversed(rows(tmp_path/"t.jsonl")))
    assert ded(*files, "--out", b, "--workers", "2", **env).returncode==0
    assert sorted(a.read_bytes().splitlines())==sorted(b.read_bytes().splitlines())
