"""How long does a server with S slots work for us, against the shortest time it could take?

    python tests/bench_client.py [--requests 10000 --slots 64 --seconds 40]

One fake server, log-normal lengths that are capped as by `--max_tokens`, a time per token scaled so that the ideal makespan is --seconds. Ideal = max(all tokens / slots, longest reply). Arms, one after another:
`barrier`, a loop that waits for all draws of a question before it takes the next (a tenth of the questions); `queue`, `ded.rollout` as it is; `pilot`, the same with lengths of one earlier draw per question.
Client CPU is that of this whole process from call to result: planning, hashing, requests, and the log on disk. The rows go to reports/engines/client.csv."""
import argparse, asyncio, os, tempfile, time
from pathlib import Path
from types import SimpleNamespace
from fake_server import length, serving
from conftest import ROOT
from ded.client import Server, draw, session
from ded.core import write_rows
from ded.rollout import rollout, row_seed

def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name,default in dict(requests=10000, slots=64, seconds=40., n=16, median=2000, between=.5, within=.6, cap=8192, chars=3.).items(): p.add_argument(f"--{name}", type=type(default), default=default)
    return p.parse_args()

def world(o, part=1):
    "Questions, and the ideal makespan of drawing all of them, in tokens"
    qs = [dict(id=f"q{i}", question=f"question {i}") for i in range(max(o.requests//o.n//part, 1))]
    of = SimpleNamespace(**{k: getattr(o, k) for k in ("median","between","within","cap")})
    lengths = [length(q["question"], row_seed(0, q["id"], k), of) for q in qs for k in range(o.n)]
    return qs, max(sum(lengths)/o.slots, max(lengths)), sum(lengths)

async def barrier(url, qs, o):
    "Each of slots/n tasks draws all samples of a question at once and waits for the last of them"
    server, how, todo = Server(url, "fake/model"), dict(temperature=1., top_p=1., max_tokens=o.cap), iter(qs)
    async with session(server) as s:
        async def loop():
            for q in todo: await asyncio.gather(*(draw(s, server, dict(q, k=k, seed=row_seed(0, q["id"], k)), how) for k in range(o.n)))
        await asyncio.gather(*(loop() for _ in range(o.slots//o.n)))

def queue(url, qs, o, **more):
    with tempfile.TemporaryDirectory() as d:
        rows = rollout("fake/model", qs, o.n, backend="openai", base_url=url, parallel=2*o.slots, temperature=1., top_p=1., max_tokens=o.cap, log=Path(d)/"t.jsonl", progress=False, **more)
    assert len(rows)==len(qs)*o.n

def clocked(name, run, ideal_s, requests, tokens):
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter()-wall, time.process_time()-cpu
    row = dict(arm=name, requests=requests, tokens=tokens, ideal_s=round(ideal_s, 2), measured_s=round(wall, 2), ratio=round(ideal_s/wall, 4), cpu_ms=round(1000*cpu/requests, 3), cpu_share=round(cpu/wall, 4), load=round(os.getloadavg()[0], 1))
    print(f"{name:8} {requests:6} requests {tokens:11,} tokens   ideal {ideal_s:6.2f} s   measured {wall:6.2f} s   ideal/measured {ideal_s/wall:.3f}   client CPU {1000*cpu/requests:.2f} ms per request, {cpu/wall:.0%} of wall", flush=True)
    return row

def main():
    o = arguments()
    qs, ideal, tokens = world(o)
    few, ideal_few, tokens_few = world(o, 10)
    ms = 1000*o.seconds/ideal
    of = SimpleNamespace(**{k: getattr(o, k) for k in ("median","between","within","cap")})
    pilot = [dict(id=q["id"], n_tok=length(q["question"], row_seed(1, q["id"], 0), of)) for q in qs]
    with serving(slots=o.slots, token_ms=ms, **vars(of), chars=o.chars) as url:
        naive = ("barrier", lambda: asyncio.run(barrier(url, few, o)), ideal_few*ms/1000, len(few)*o.n, tokens_few)
        ours = lambda name, **more: (name, lambda: queue(url, qs, o, **more), ideal*ms/1000, len(qs)*o.n, tokens)
        rows = [clocked(*arm) for arm in (naive, ours("queue"), naive, ours("pilot", pilot=pilot))]
    write_rows(ROOT/"reports/engines/client.csv", rows)

if __name__=="__main__": main()
