"Two shelves: library notebooks (0x) are tested, run and exhibit notebooks (1x, 2x) take parameters; none is both"
import ast, re
import papermill, pytest
from conftest import LIBRARY, RUNS, exports, read_nb

def tagged(nb): return [c for c in nb.cells if "parameters" in c.metadata.get("tags", [])]
name = lambda p: p.stem

@pytest.mark.parametrize("path", RUNS, ids=name)
def test_run_notebook(path):
    nb = read_nb(path)
    cells = tagged(nb)
    assert len(cells)==1, "exactly one cell tagged `parameters`"
    assert "- skip_exec: true" in nb.cells[0].source, "the first cell keeps nbdev_test away"
    assert not any(c.get("outputs") for c in nb.cells), "executed copies go to reports/, not here"
    assert not any(re.search(r"^\s*(def|class) ", c.source, re.M) for c in nb.cells if c.cell_type=="code"), "logic belongs in the library"
    for node in ast.parse(cells[0].source).body:
        assert isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant), "literals only: injected values land below this cell"

def test_the_plan_passes_what_the_notebooks_declare():
    from ded.pipeline import PLAN, REAL
    plan, real = ({s.notebook: s.passed for s in steps} for steps in (PLAN, REAL))
    declared = {p.stem: set(papermill.inspect_notebook(str(p))) for p in RUNS}
    assert {**real, **declared}=={**real, **plan}

def test_library_notebooks_carry_no_tag():
    assert [p.name for p in LIBRARY if tagged(read_nb(p))]==[]

def test_imports_go_downhill():
    order = {}
    for p in LIBRARY:
        nb = read_nb(p)
        module, code = exports(nb)
        assert module and module not in order, f"{p.name}: one notebook, one module"
        used = {m[1] for m in re.finditer(r"\b(?:from ded\.|import ded\.|from ded import )(\w+)", code)}
        up = used - set(order)
        assert not up, f"{p.name} imports {sorted(up)}, which come later"
        own = re.search(rf"from ded\.{module}\b|import ded\.{module}\b", "\n".join(c.source for c in nb.cells if c.cell_type=="code"))
        assert not own, f"{p.name} imports its own module, so it would test the last export"
        order[module] = p
