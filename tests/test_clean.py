"Notebooks are committed clean: no counts, no stray metadata, and the `parameters` tag still there"
from conftest import NBS, TOOLS, sh

def test_cleaning_changes_nothing(copy):
    folder, env = copy
    done = sh([TOOLS/"nbdev_clean"], cwd=folder, **env)
    assert done.returncode==0, done.stderr
    dirty = [p.name for p in NBS if p.read_bytes()!=(folder/"nbs"/p.name).read_bytes()]
    assert not dirty, f"run `make clean-nbs`: {dirty}"
