"""How fast is the choice of the farthest few beside all distances by rapidfuzz's cdist? Ratios measured in one run, on this machine.

Arms take turns on the same questions, in an order that turns from round to round. What they answer is compared before a time counts, the first question serves as
warm-up, and a ratio is the median of the rounds with its least and greatest. Real traces are read from the folder that DED_DATA names (default ../shared/data).
"""
import argparse, gzip, json, os, random, sys, time
from itertools import combinations
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[0] = str(Path(__file__).resolve().parents[1])
import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from ded.distance import NORMS, distances, farthest, lazy_max_min, max_min

VOCABULARY, TOKENS, TRACES, KEEP = 32_000, 4_000, 16, 4
LENGTHS = {"equal lengths": lambda rng: np.full(TRACES, TOKENS),
           "lengths within 10 %": lambda rng: rng.integers(.9*TOKENS, 1.1*TOKENS, TRACES, endpoint=True),
           "log-normal lengths": lambda rng: np.exp(rng.normal(np.log(TOKENS), .3, TRACES)).astype(int)}
REAL = {"AMC23, 15 models": "B_skythought/amc23_traces.jsonl.gz", "puzzles, 4 models x 3": "B_misguided_attention/traces.jsonl.gz", "open questions, 1 model x 10": "B_thought_anchors/open_ended_10samples.jsonl.gz"}

def zipf(lengths, rng):
    "Tokens drawn by Zipf's law with exponent 1, one character each, the most frequent first"
    weight = np.cumsum(1/np.arange(1, VOCABULARY+1))
    return ["".join(map(chr, np.searchsorted(weight, rng.random(n)*weight[-1]))) for n in lengths]

def real(folder, name, most):
    "The first replies to each question, in characters"
    found = {}
    with gzip.open(folder/name, "rt", encoding="utf-8") as f:
        for r in map(json.loads, f): found.setdefault(r["question_id"], []).append(r["response"] or f"{r.get('thinking') or ''}{r.get('final') or ''}")
    return [x[:TRACES] for _,x in sorted(found.items()) if len(x)>KEEP][:most]

def matrix(x, workers): return cdist(x, x, scorer=Levenshtein.distance, dtype=np.int32, workers=workers)

def same(a, b): return all(p.dtype==q.dtype and (p==q).all() if isinstance(p, np.ndarray) else p==q for p,q in zip(a, b))

def race(slow, fast, questions, rounds):
    "Ratios of the times of two arms, one a round"
    for x in questions[:1]: slow(x), fast(x)
    out = []
    for r in range(rounds):
        spent, got = {}, {}
        for arm in (slow, fast)[::1-2*(r%2)]:
            start = time.perf_counter()
            got[arm] = [arm(x) for x in questions]
            spent[arm] = time.perf_counter()-start
        if not same(got[slow], got[fast]): sys.exit("the arms answer differently; no time is reported")
        out.append(spent[slow]/spent[fast])
    return out

def edits(a, b):
    "Levenshtein distance by its definition"
    last = list(range(len(b)+1))
    for i,x in enumerate(a, 1):
        here = [i]
        for j,y in enumerate(b, 1): here.append(min(last[j]+1, here[-1]+1, last[j-1]+(x!=y)))
        last = here
    return last[-1]

def exact(n):
    "How many of `n` random instances are chosen as by plain search with plain distances, ties included"
    rng, right = random.Random(0), 0
    for _ in range(n):
        letters = rng.choice(("ab", "aβ", "abcdefgh"))
        texts = ["".join(rng.choices(letters, k=rng.randint(0, 9))) for _ in range(rng.randint(3, 7))]
        keep, norm = rng.randint(2, len(texts)-1), rng.choice(NORMS)
        d = {(i,j): edits(texts[i], texts[j]) for i,j in combinations(range(len(texts)), 2)}
        if norm!="none": d = {(i,j): 2*v/max(len(texts[i])+len(texts[j])+v, 1) for (i,j),v in d.items()}
        want = list(max(combinations(range(len(texts)), keep), key=lambda s: min(d[p] for p in combinations(s, 2))))
        right += farthest(texts, keep, norm=norm)==(want, True) and lazy_max_min(texts, keep, norm, rng.randint(1, 2))==want
    return right

def sets(args):
    "The questions of each setting"
    rng, folder = np.random.default_rng(0), Path(os.environ.get("DED_DATA") or Path(__file__).resolve().parents[2]/"shared/data")
    out = {f"zipf, {name}": [zipf(f(rng), rng) for _ in range(args.questions)] for name,f in LENGTHS.items()}
    if not folder.is_dir(): print(f"no real traces: {folder} is not there; set DED_DATA", file=sys.stderr)
    return out | {name: real(folder, file, args.questions) for name,file in REAL.items() if (folder/file).exists()}

def main():
    "Measure and show"
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--questions", type=int, default=20, help="per setting (default 20)")
    p.add_argument("--rounds", type=int, default=7, help="default 7")
    p.add_argument("--workers", type=int, default=2, help="threads of every arm (default 2)")
    p.add_argument("--json", metavar="F", help="write the rows to this file too")
    args, rows = p.parse_args(), []
    w = args.workers
    arms = {"all distances": (1, lambda x: matrix(x, w), lambda x: distances(x, workers=w)), f"farthest {KEEP}": (3, lambda x: max_min(matrix(x, w), KEEP), lambda x: farthest(x, KEEP, workers=w).indices)}
    for name,qs in sets(args).items():
        for what,(bar,slow,fast) in arms.items():
            r = race(slow, fast, qs, args.rounds)
            rows.append(dict(setting=name, questions=len(qs), what=what, ratio=round(median(r), 2), least=round(min(r), 2), greatest=round(max(r), 2), bar=bar, reached=median(r)>=bar))
            print("{setting}, {questions} questions, {what}: {ratio} x cdist [{least}, {greatest}], bar {bar}, {said}".format(**rows[-1], said="reached" if rows[-1]["reached"] else "missed"), flush=True)
    n = 1000
    right = exact(n)
    rows.append(dict(setting="random instances", questions=n, what="chosen as by plain search", ratio=right/n, least="", greatest="", bar=1, reached=right==n))
    print(f"{right} of {n:,} random instances chosen as by plain search, ties included")
    if args.json: Path(args.json).write_text(json.dumps(rows, indent=1)+"\n", encoding="utf-8")

if __name__=="__main__": main()
