"What is installed, settings.ini and environment.yml name the same versions"
import configparser
from importlib.metadata import version
import yaml
from conftest import ROOT

ini = configparser.ConfigParser()
ini.read(ROOT/"settings.ini")
PINS = dict(p.split("==") for key in ("requirements", "dev_requirements") for p in ini["DEFAULT"][key].split())
EXTRA = {"vllm", "ray"}

def test_installed_versions_are_the_pinned_ones():
    assert {n: version(n).split("+")[0] for n in PINS}==PINS

def test_environment_yml_repeats_the_pins():
    deps = yaml.safe_load((ROOT/"environment.yml").read_text())["dependencies"]
    pips = dict(p.split("==") for p in deps[-1]["pip"])
    assert {n: v for n,v in pips.items() if n not in EXTRA}==PINS
    assert deps[:-1]==["python=3.11", "pip"]
