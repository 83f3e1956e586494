"Neither Python's hash seed nor the locale changes which rows overlap, which cluster together and where they go"
import os, subprocess, sys
from conftest import ROOT

PROGRAM = """
from ded.clusters import clusters, split
from ded.core import canonical, sha
from ded.overlap import hits
rows = [dict(id=str(i), question=" ".join(str((i//3*7+j)%11) if j!=i%3 else "x" for j in range(15))) for i in range(60)]
found = hits(rows, dict(e=rows[:20]))
assert len({h["kind"] for h in found})>1
print(sha(canonical([found, clusters(rows), split(rows, dict(a=.5, b=.5))])))
"""

def run(**env): return subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=True).stdout

def test_hash_seed_and_locale_change_nothing():
    assert run(PYTHONHASHSEED="1", LC_ALL="C")==run(PYTHONHASHSEED="2", LC_ALL="C.UTF-8")!=""
