"Paths, the notebooks by shelf, and processes that start without the user's own configuration"
import os, re, subprocess, sys
from pathlib import Path
import nbformat, pytest

ROOT = Path(__file__).resolve().parents[1]
NBS = sorted(p for p in (ROOT/"nbs").glob("*.ipynb") if not p.name.startswith(("_", ".")))
LIBRARY, RUNS = ([p for p in NBS if re.match(shelf, p.name)] for shelf in (r"0\d", r"[12]\d"))
TOOLS = Path(sys.executable).parent

def read_nb(path): return nbformat.read(path, as_version=4)

def exports(nb):
    "The module a notebook writes, and its exported code"
    code = [c.source for c in nb.cells if c.cell_type=="code"]
    name = [m[1] for s in code if (m := re.match(r"#\|\s*default_exp\s+(\w+)", s))]
    return (name or [None])[0], "\n".join(s for s in code if re.match(r"#\|\s*export", s))

def sh(cmd, cwd=ROOT, timeout=300, **env):
    "Run a command; its result with stdout and stderr as text"
    clean = {k: v for k,v in os.environ.items() if not k.startswith(("PYTEST_", "DED_"))}
    return subprocess.run([str(c) for c in cmd], cwd=cwd, env={**clean, "OMP_NUM_THREADS": "1", **env}, text=True, capture_output=True, timeout=timeout)

def ded(*args, **kw): return sh([sys.executable, "-m", "ded.cli", *args], **kw)

@pytest.fixture
def copy(tmp_path):
    "The notebooks with settings.ini, in a folder where tools may write, and the environment for those tools"
    import shutil
    shutil.copy(ROOT/"settings.ini", tmp_path)
    (tmp_path/"nbs").mkdir()
    for p in NBS: shutil.copy(p, tmp_path/"nbs")
    (tmp_path/"ded").mkdir()
    (tmp_path/"nbs/ded").symlink_to("../ded")
    return tmp_path, dict(JUPYTER_DATA_DIR=str(tmp_path/"jupyter"), HOME=str(tmp_path))
