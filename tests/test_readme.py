"The README is not written twice"
import re
from readme import ROOT, readme

def test_readme_is_the_index_notebook():
    assert (ROOT/"README.md").read_text(encoding="utf-8")==readme(), "run `make readme`"

def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT/"README.md").read_text(encoding="utf-8"))
    assert [l for l in links if "://" not in l and not (ROOT/l).exists()]==[]
