"The run at the paper's size with tiny stand-ins, as a user starts it: it ends with every exhibit marked, and a log that says which model class each stage used"
import csv, json, re
import numpy as np, pytest
from PIL import Image
from conftest import ded

IDS = [f"t{i}" for i in range(1,8)] + [f"f{i}" for i in range(1,5)]
CLASSES = {"DeepSeek-R1-Distill-Qwen-32B": "Qwen2", "Qwen2.5-32B-Instruct": "Qwen2", "phi-4": "Phi3", "DeepSeek-R1": "DeepseekV3", "QwQ-32B": "Qwen2", "Qwen3-32B": "Qwen3", "Qwen3-235B-A22B": "Qwen3Moe"}
STUDENTS = dict(a="DeepSeek-R1-Distill-Qwen-32B", b="Qwen2.5-32B-Instruct", c="phi-4")
WATERMARK = (243, 210, 184) # #D55E00 at 28 % on white

@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsal")
    done = ded("reproduce", "--preset", "paper", "--rehearse", timeout=1500, DED_HOME=str(folder/"home"), DED_REPORTS=str(folder/"reports"))
    assert done.returncode==0, done.stdout[-2000:]+done.stderr[-2000:]
    assert not list(folder.rglob("*-failed.ipynb"))
    return folder/"reports/rehearsal"

def test_every_exhibit_is_drawn_and_marked(report):
    for i in IDS:
        if i[0]=="t": assert "REHEARSAL" in (report/f"tables/{i}.md").read_text().split("\n")[0] and "REHEARSAL" in (report/f"tables/{i}.tex").read_text(), i
        else:
            picture = np.asarray(Image.open(report/f"figures/{i}.png").convert("RGB")).astype(int)
            assert (abs(picture-WATERMARK).max(axis=2)<=2).sum()>1000, i
    page = (report/"index.html").read_text()
    assert 'class="banner"' in page and all(f'id="{i}"' in page for i in IDS)
    assert all("REHEARSAL" in (report/f"{f}.md").read_text() for f in ("claims","gaps"))

def test_no_score_without_its_number_of_questions(report):
    cells = [c for i in IDS if i[0]=="t" for c in csv.DictReader(open(report/f"tables/{i}.csv")) if c["estimate"] and c["unit"] in ("%","points")]
    assert len(cells)>100 and all(int(c["n"])>0 and c["lower"] and c["upper"] for c in cells)

def test_nothing_is_said_of_the_small_world(report):
    told = {p.name: p.read_text() for pattern in ("tables/*.md", "tables/*.tex", "figures/*.json", "claims*", "gaps*", "index.html") for p in report.glob(pattern)}
    assert len(told)>30
    for words in ("small world", "960 questions", "of 960", "power-math-960", "made by this project", "from a generator", "testbed", "GRPO"): assert [n for n,t in told.items() if words in t]==[], words

def test_every_stage_used_the_class_that_its_model_stands_for(report):
    log = (report/"rehearsal.log").read_text()
    for name,kind in CLASSES.items(): assert re.search(rf"/{re.escape(name)}, played by stand-in-{re.escape(name)}, {kind}ForCausalLM,", log), name
    used = re.findall(r"(stand-in-)([\w.-]+) (\w+)ForCausalLM", log.split("Stages, and")[1])
    assert {(n, k) for _,n,k in used}==set(CLASSES.items())
    for arm,kind in re.findall(r"^  13_train +(\S+) +stand-in-\S+ (\w+)ForCausalLM", log, re.M):
        assert kind==CLASSES[STUDENTS[arm[0] if arm[1]=="-" else "a"]], arm

def test_the_calls_of_the_paper_run_were_made(report):
    "vLLM's through its stand-in, the launcher's with two processes; what is counted out is there to be counted"
    log = (report/"rehearsal.log").read_text()
    assert re.search(r"^  \d+ trajectories drawn by vllm 0\+stand\.in$", log, re.M) and "backend" not in log.split("Models\n")[0]
    assert re.search(r"^  13_train +diverse .*, 2 processes under ddp, packed$", log, re.M) and re.search(r"^  14_score +self ", log, re.M)
    zero, between, one = map(int, re.search(r"pass rates: (\d+) are 0, (\d+) lie between, (\d+) are 1", log).groups())
    assert min(zero, between, one)>0 and all(int(n)>0 for n in re.search(r"cut off (\d+), too long for the student (\d+), wrong (\d+), too easy (\d+)", log).groups())
    funnel = [r for r in csv.DictReader(open(report/"data/funnel.csv")) if r["arm"]=="diverse"]
    assert "too long for the student 1" in next(r["dropped"] for r in funnel if r["step"]=="within length")
    assert "instead of 1000: few" in log and "Not tried" in log

def test_the_page_says_what_differs(report):
    page, differs = (report/"index.html").read_text(), json.loads((report/"run.json").read_text())["unlike_preset_paper"]
    assert all(f"unlike_preset_paper.{k}" in page for k in differs) and not {"backend","gen_tokens","max_len","batch"} & {*differs}
