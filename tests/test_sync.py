"ded/ is what the notebooks export: into an empty folder, so that a module whose notebook is gone shows up too"
from conftest import ROOT, TOOLS, sh

def test_ded_is_the_export_of_the_notebooks(copy):
    folder, env = copy
    done = sh([TOOLS/"nbdev_export"], cwd=folder, **env)
    assert done.returncode==0, done.stderr
    ours, fresh = ({p.name: p.read_text() for p in (d/"ded").glob("*.py")} for d in (ROOT, folder))
    assert sorted(ours)==sorted(fresh), "a module without a notebook, or a notebook that was not exported"
    stale = [n for n in ours if ours[n]!=fresh[n]]
    assert not stale, f"run `make export`: {stale}"
