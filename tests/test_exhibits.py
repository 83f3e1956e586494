"What is committed can be redrawn from its small files alone: the same tables, byte by byte, no model loaded, nothing trained"
import csv, shutil
import pytest
from conftest import ROOT, ded

PAPER = [f"t{i}" for i in range(1,8)] + [f"f{i}" for i in range(1,5)]

def committed(): return sorted(p.parent.name for p in (ROOT/"reports").glob("*/run.json") if p.parent.name not in ("smoke","real"))
def texts(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for kind in ("tables/*", "claims*", "gaps*") for p in sorted(folder.glob(kind))}

@pytest.fixture(scope="module", params=committed())
def redrawn(request, tmp_path_factory):
    "A committed report, and the same drawn again from its data in another folder"
    old, folder = ROOT/"reports"/request.param, tmp_path_factory.mktemp("redrawn")
    new = folder/"reports"/request.param
    shutil.copytree(old/"data", new/"data")
    shutil.copy(old/"run.json", new)
    done = ded("exhibits", "--preset", request.param, DED_HOME=str(folder/"home"), DED_REPORTS=str(folder/"reports"))
    assert done.returncode==0, done.stdout+done.stderr
    return old, new

def test_tables_and_claims_are_the_same_bytes(redrawn):
    old, new = map(texts, redrawn)
    assert sorted(old)==sorted(new)
    assert [f for f in old if old[f]!=new[f]]==[]

def test_every_exhibit_of_the_paper_is_there(redrawn):
    for i in PAPER:
        shown = redrawn[1]/(f"tables/{i}.md" if i[0]=="t" else f"figures/{i}.png")
        assert shown.stat().st_size>(5000 if i[0]=="f" else 300), shown
    assert all(f'id="{i}"' in (redrawn[1]/"index.html").read_text() for i in PAPER)

def test_every_claim_has_one_verdict(redrawn):
    rows = list(csv.DictReader(open(redrawn[1]/"claims.csv", encoding="utf-8")))
    assert [r["claim"] for r in rows]==[f"C{i}" for i in range(1,17)]
    assert {r["verdict"] for r in rows} <= {"holds here", "holds in part", "does not hold here", "undecided: interval too wide"}

def test_a_score_never_stands_alone(redrawn):
    for t in sorted((redrawn[1]/"tables").glob("t*.csv")):
        for c in csv.DictReader(open(t, encoding="utf-8")):
            if c["unit"]=="%" and c["estimate"]: assert all(c[k] for k in ("lower","upper","n","k","seeds")), (t.name, c["row"], c["column"])
