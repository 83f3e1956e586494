"""How fast is the verifier beside Math-Verify, and the box beside a process for each test? Ratios measured in one run, on this machine.

Arms take turns on the same input, in an order that turns from round to round. What they answer is compared before a time counts, a warm-up is left out, and a ratio
is the median of the rounds with its least and greatest. `tests/bench_diversity.py` does the same for distances.
"""
import argparse, json, logging, os, platform, random, shutil, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[0] = str(Path(__file__).resolve().parents[1])
from ded.equal import same_math
from ded.runner import Runner, runner_limits
from ded.verify import Judge, in_parallel, judge_code, judge_math

WORKERS = 2

# Rounds

def clock(run, job):
    start = time.perf_counter()
    return run(job), time.perf_counter()-start

def alternate(arms, jobs, same):
    "Seconds of each arm in each round; `same` says of a job and its answers whether they may count"
    spent = {name: [] for name in arms}
    for r,job in enumerate(jobs):
        names = list(arms)[r%len(arms):] + list(arms)[:r%len(arms)]
        got = {name: clock(arms[name], job) for name in names}
        if not same(job, {name: got[name][0] for name in arms}): sys.exit("bench: the arms answer differently; no time is reported")
        for name in names: spent[name].append(got[name][1])
    return {name: s[1:] for name,s in spent.items()}

def alike(job, answers): return len({json.dumps(a) for a in answers.values()})==1

def row(path, values, unit="x", bar=None, most=False, note=""):
    "The rounds of a path, and whether the bar is reached"
    mid = median(values)
    return dict(path=path, median=round(mid, 3), least=round(min(values), 3), greatest=round(max(values), 3), rounds=len(values), unit=unit, bar=bar and f"{'<=' if most else '>='} {bar:g} {unit}",
                reached=None if bar is None else mid<=bar if most else mid>=bar, note=note)

def ratios(spent, slow, fast): return [a/b for a,b in zip(spent[slow], spent[fast])]

# Answers of mathematics

def aime_like(rng):
    "An integer from 0 to 999, answered right three times out of four"
    gold = rng.randrange(1000)
    return str(gold if rng.random()<.75 else rng.randrange(1000)), str(gold)

def math_like(rng):
    "An answer of the kinds that MATH has; half of the right ones are spelled as the gold"
    a, b, c = rng.randint(2, 40), rng.choice([7,11,13,17,19,23]), rng.randint(1, 9)
    x = rng.choice([2,3,5,6,7,10])
    kinds = [(8, str(a*b), str(a*b), str(a*b+c)),
             (4, rf"\frac{{{a}}}{{{b*41}}}", rf"\dfrac{{{a*c}}}{{{b*41*c}}}", rf"\frac{{{a+1}}}{{{b*41}}}"),
             (2, rf"{c+1}\sqrt{{{x}}}", rf"\sqrt{{{(c+1)**2*x}}}", rf"{c+2}\sqrt{{{x}}}"),
             (1, rf"\frac{{{c}\pi}}{{{b}}}", rf"\frac{{{c}}}{{{b}}}\pi", rf"\frac{{{c+1}\pi}}{{{b}}}"),
             (2, rf"x^2+{a+c}x+{a*c}", f"(x+{a})(x+{c})", f"(x+{a+1})(x+{c})"),
             (1, rf"(-\infty,{a})", rf"\left(-\infty, {a}\right)", rf"(-\infty,{a+1})"),
             (1, f"({a},{b})", f"({a}, {b})", f"({b},{a+50})"),
             (1, f"{a}+{b}i", f"{b}i+{a}", f"{a}-{b}i")]
    _, gold, other, wrong = rng.choices(kinds, [k[0] for k in kinds])[0]
    return rng.choices([gold, other, wrong], [3,3,2])[0], gold

STUCK = [(r"9^{9^{9}}", "7"), ("1000000!", "7"), (r"(x+1)^{5000}", r"(x+2)^{5000}"), (r"9^{9^{9^{9}}}-x", "x^2"), (r"7^{7^{7^7}}-7^{7^7}", "343"), (r"\binom{10^6}{5\cdot 10^5}", "1"), (r"\log_{2}(3^{100000000})", "1"),
         (r"\sum_{k=1}^{1000000} \frac{1}{k^2}", r"\frac{\pi^2}{6}"), (r"10^{10^{10}}", "7"), (r"(x^2+y^2+z^2+1)^{30}", r"(x^2+y^2+z^2+1)^{29}(x^2+y^2+z^2+2)"), (r"(a+b+c+d)^{40}", r"(a+b+c+d+1)^{40}")]

def inline(pairs):
    "Math-Verify as its documentation calls it, in this process, with its alarm of 5 s"
    from math_verify import parse, verify
    return [verify(parse(f"${gold}$"), parse(f"${answer}$")) for answer,gold in pairs]

def said(verdicts): return [{"right": True, "wrong": False}.get(v["verdict"]) for v in verdicts]

def pooled(pairs, workers=WORKERS): return said(in_parallel(judge_math, pairs, workers, Judge, 1.))

def alike_but_stuck(job, answers):
    "Alike, but that Math-Verify calls wrong what it could not finish, and we say undecided or wrong"
    theirs, ours = answers.values()
    return all(a==b or p in STUCK and not a and not b for p,a,b in zip(job, theirs, ours))

def mixed(rng, hostile):
    "Ninety-nine ordinary answers for each hostile one"
    pairs = [(aime_like, math_like)[i%2](rng) for i in range(99*len(hostile))]
    for i,h in enumerate(hostile): pairs.insert(i*100+50, h)
    return pairs

def verify(rounds):
    "Rows on answers of mathematics"
    logging.disable(logging.CRITICAL)
    rng, judge, rows = random.Random(0), Judge(5.), []
    alone = lambda pairs: said([judge_math(judge, p) for p in pairs])
    for path,make,bar in ("answers as in AIME, Math-Verify / ded", aime_like, 50), ("answers as in MATH, Math-Verify / ded", math_like, 1):
        spent = alternate({"theirs": inline, "ours": alone}, [[make(rng) for _ in range(300)] for _ in range(rounds+1)], alike)
        rows.append(row(path, ratios(spent, "theirs", "ours"), bar=bar))
    jobs = [[(f"x+{rng.randrange(10**6)}",)*2 for _ in range(1000)] for _ in range(rounds+1)]
    spent = alternate({"inside": lambda pairs: [same_math(g, a) for a,g in pairs], "ours": alone}, jobs, alike)
    rows.append(row("cost of the pool, each answer", [b-a for a,b in zip(spent["inside"], spent["ours"])], "ms", .2, most=True, note="1,000 answers a round, one renewal of the process among them"))
    judge.close()
    jobs = [mixed(rng, rng.sample(STUCK, 2)) for _ in range(rounds+1)]
    spent = alternate({"Math-Verify, 5 s": inline, "ours": pooled}, jobs, alike_but_stuck)
    rows.append(row(f"1 % hostile, Math-Verify with 5 s / ded with {WORKERS} workers and 1 s", ratios(spent, "Math-Verify, 5 s", "ours"), bar=10, note="200 answers a round"))
    got = [pooled(jobs[0], n) for n in (1,2,3)]
    rows.append(row("verdicts of 1, 2 and 3 workers alike", [float(got[0]==got[1]==got[2])], "", 1))
    logging.disable(logging.NOTSET)
    return rows

# Programs

HEAD = "import sys\ndata = list(map(int, sys.stdin.read().split()))\n"
KINDS = ["print(sum(x*{k} for x in data))", "print(max(data)-min(data)+{k})", "print(*sorted(data, key=lambda x: (x%{k}, x)))", "print(len({{x%{k} for x in data}}))", "from math import gcd\nprint(*[gcd(x, {k}) for x in data])"]
BWRAP = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]

def printed(code, text): return subprocess.run([sys.executable, "-I", "-c", code], input=text, capture_output=True, text=True, timeout=9).stdout

def program(i, rng, tests=10):
    "A small program and its tests; one program in five is off by one"
    k, body = rng.randint(2, 30), KINDS[i%len(KINDS)]
    inputs = [" ".join(str(rng.randint(1, 900)) for _ in range(9)) for _ in range(tests)]
    return HEAD+body.format(k=k+(i%5==4)), json.dumps([dict(input=s, output=printed(HEAD+body.format(k=k), s)) for s in inputs]), None, 2.

def processes(*command):
    "A process for each test, two programs at a time, until a test fails"
    def passes(code, test):
        done = subprocess.run([*command, sys.executable, "-I", "-c", code], input=test["input"], capture_output=True, text=True, timeout=9)
        return done.returncode==0 and done.stdout.split()==test["output"].split()
    def run(jobs):
        with ThreadPoolExecutor(WORKERS) as pool: return list(pool.map(lambda job: all(passes(job[0], t) for t in json.loads(job[1])), jobs))
    return run

def programs(rounds):
    "Rows on programs"
    rng = random.Random(0)
    arms = {"python -I -c": processes(), "ded": lambda jobs: said(in_parallel(judge_code, jobs, WORKERS, Runner, False)), **({"bwrap + python": processes(*BWRAP)} if shutil.which("bwrap") else {})}
    spent = alternate(arms, [[program(i, rng) for i in range(10)] for _ in range(rounds+1)], alike)
    rows = [row(f"10 programs x 10 tests, {slow} / ded", ratios(spent, slow, "ded"), bar=8 if "bwrap" in slow else None) for slow in arms if slow!="ded"]
    runner = Runner()
    starts = [1000*clock(lambda _: runner.run("pass", [""]), None)[1] for _ in range(40*rounds)][40:]
    lacks = [name for name,held in runner_limits(runner).items() if not held]
    runner.close()
    return rows + [row("start of an empty program, p50", starts, "ms", 8, most=True, note=f"this host lacks: {', '.join(lacks)}")] + ([] if len(arms)>2 else [dict(path="programs beside bwrap + python", note="not measured: bwrap is not installed", reached=None)])

PATHS = {"verify": verify, "programs": programs}

def main():
    "Measure and show"
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=list(PATHS), help="verify: answers of mathematics; programs: judged in the box")
    p.add_argument("--rounds", type=int, default=7, help="default 7")
    p.add_argument("--json", metavar="F", help="write the rows to this file too")
    args = p.parse_args()
    rows = PATHS[args.what](args.rounds)
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {args.rounds} rounds")
    for r in rows: print(r["path"] + (f": {r['median']} {r['unit']} [{r['least']}, {r['greatest']}]" if "median" in r else "") + (f", bar {r['bar']}: {'reached' if r['reached'] else 'missed'}" if r.get("bar") else "") + (f" ({r['note']})" if r.get("note") else ""))
    if args.json: Path(args.json).write_text(json.dumps(rows, indent=1)+"\n", encoding="utf-8")

if __name__=="__main__": main()
