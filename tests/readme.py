"README.md is nbs/index.ipynb as markdown: `python tests/readme.py` writes it, test_readme.py compares"
import re
from pathlib import Path
import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]

def readme():
    "Hidden cells dropped; links, which start in nbs/, made to start in the root"
    nb = nbformat.read(ROOT/"nbs/index.ipynb", as_version=4)
    nb.cells = [c for c in nb.cells if not c.source.lstrip().startswith("#| hide")]
    text = MarkdownExporter().from_notebook_node(nb)[0]
    return re.sub(r"\]\(\.\./", "](", text).strip()+"\n"

if __name__=="__main__": (ROOT/"README.md").write_text(readme(), encoding="utf-8")
