"Batches that other processes make are those that one process makes, and so are the weights learned from them; nothing is left behind"
import os, signal, subprocess, sys, time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from ded.base import RECIPES, batches, make_tokenizer, train_base

TOY = replace(RECIPES["trunk-a1"], batch=4, width=32, layers=2, warmup=5, tokens=6000)

def first(n, **how):
    with closing(batches(make_tokenizer(), TOY, **how)) as it: return [[x.tolist() for x in next(it)] for _ in range(n)]

def test_same_batches_in_the_same_order(): assert first(40, start=5, makers=2)==first(40, start=5)

def test_same_weights(tmp_path):
    made = [train_base(TOY, tmp_path/str(n), makers=n, log=lambda s: None)/"model.safetensors" for n in (0, 1)]
    assert made[0].read_bytes()==made[1].read_bytes()

KEPT = "from ded.base import *\nif __name__=='__main__':\n    import multiprocessing, time\n    it = batches(make_tokenizer(), RECIPES['trunk-a1'], makers=1)\n    next(it)\n    print(multiprocessing.active_children()[0].pid, flush=True)\n    time.sleep(60)\n"

def alive(pid):
    try: return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]!="Z"
    except OSError: return False

def test_a_killed_training_leaves_no_process(tmp_path):
    (tmp_path/"kept.py").write_text(KEPT)
    with subprocess.Popen([sys.executable, tmp_path/"kept.py"], stdout=subprocess.PIPE, text=True) as p:
        maker = int(p.stdout.readline())
        os.kill(p.pid, signal.SIGKILL)
    end = time.monotonic()+60
    while alive(maker) and time.monotonic()<end: time.sleep(.2)
    assert not alive(maker)
