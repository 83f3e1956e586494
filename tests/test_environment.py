"environment.yml can be solved: its pip part by a resolver that asks the package index, for each supported pair of Python and torch; its conda part names Python and pip alone"
import re, subprocess, urllib.request
import pytest, yaml
from conftest import ROOT, TOOLS

DEPS = yaml.safe_load((ROOT/"environment.yml").read_text())["dependencies"]
PIPS = DEPS[-1]["pip"]
SUPPORTED = {("3.11", "2.13.0"): "0.32.0", ("3.12", "2.11.0"): "0.26.0"} # vllm by Python and torch: each release is built for one torch

@pytest.fixture(scope="module")
def index():
    "The package index, if it answers"
    done = subprocess.run([TOOLS/"pip", "config", "get", "global.index-url"], capture_output=True, text=True)
    url = done.stdout.strip() or "https://pypi.org/simple"
    try: urllib.request.urlopen(f"{url.rstrip('/')}/uv/", timeout=20).close()
    except OSError as e: pytest.skip(f"no package index at {url}: {e}")

def test_the_conda_part_is_python_and_pip():
    assert all(re.fullmatch(r"python=3\.1[12]|pip", d) for d in DEPS[:-1]) and all(re.fullmatch(r"[\w-]+==[\w.]+", p) for p in PIPS)

@pytest.mark.parametrize("python,torch", SUPPORTED, ids="-".join)
def test_the_pins_can_be_solved(index, python, torch, tmp_path):
    swap = dict(torch=torch, vllm=SUPPORTED[python, torch])
    pins = dict(p.split("==") for p in PIPS)
    (tmp_path/"in.txt").write_text("\n".join(f"{n}=={v}" for n,v in {**pins, **swap}.items()))
    done = subprocess.run([TOOLS/"uv", "pip", "compile", "--no-config", "--python-version", python, "--python-platform", "x86_64-manylinux_2_28", "--no-annotate", "--quiet", tmp_path/"in.txt"], capture_output=True, text=True, timeout=300)
    assert done.returncode==0, done.stderr[-2000:]
    solved = dict(l.split("==") for l in done.stdout.splitlines() if "==" in l)
    assert {**pins, **swap}.items()<=solved.items() and len(solved)>200
