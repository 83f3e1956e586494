"""What the analysis gains at scale: `python tests/bench_analysis.py`, about two minutes on one core; `--large` adds the exact decomposition of 10,000 x 3,584 states.

Each bar compares two arms in one run: outputs first, then times in alternation, and peak memory each in a process of its own. A ratio is the median over pairs with its range; one whose halves differ by more than a fifth is marked."""
import argparse, statistics, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np, torch
from ded.analysis import axes, batch_means
from ded.entropy import tiled_entropy

def clock(f):
    "What a call gives, and the processor seconds of this process; they depend less than the clock on what else the machine does"
    start = time.process_time()
    return f(), time.process_time()-start

def compare(name, slow, fast, bar, n=7):
    "Time two arms in alternation after one warm-up each"
    clock(slow), clock(fast)
    pairs = [(clock(slow)[1], clock(fast)[1]) for _ in range(n)]
    r = [a/b for a,b in pairs]
    halves = [statistics.median(h) for h in (r[:n//2], r[n//2:])]
    unsteady = "" if max(halves)/min(halves)<1.2 else f"  UNSTEADY, halves {halves[0]:.2f} and {halves[1]:.2f}"
    print(f"{name}: {statistics.median(r):.2f}x [{min(r):.2f}, {max(r):.2f}] of n={n} pairs, medians {statistics.median(a for a,_ in pairs):.3f} and {statistics.median(b for _,b in pairs):.3f} CPU-s; bar {bar}{unsteady}", flush=True)

def head(positions, vocab=151936, width=256, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(positions, width, generator=g), torch.randn(vocab, width, generator=g).div_(4), torch.randint(vocab, (positions,), generator=g)

def full(h, w, t):
    "Entropy and log-probability from all logits at once"
    lp = (h @ w.T).log_softmax(-1)
    return -(lp.exp()*lp).sum(-1), lp.gather(1, t[:,None])[:,0]

ARMS = dict(full=full, tiled=tiled_entropy)

def memory(field):
    "A line of this process's status in bytes: VmRSS now, VmHWM at most"
    return next(int(l.split()[1])*1024 for l in open("/proc/self/status") if l.startswith(field))

def child(arm, positions):
    "Peak resident memory of one arm above its inputs, MB"
    args = head(positions)
    tiled_entropy(args[0][:2], args[1][:64], args[2][:2]*0)
    before = memory("VmRSS")
    ARMS[arm](*args)
    print((memory("VmHWM")-before)/1e6)

def peak(arm, positions):
    return float(subprocess.run([sys.executable, __file__, "--arm", arm, "--positions", str(positions)], text=True, capture_output=True, check=True).stdout)

def entropy(positions):
    args = head(positions)
    lp = torch.cat([(x.double() @ args[1].double().T).log_softmax(-1) for x in args[0][:64].split(16)])
    for f in ARMS.values():
        H,said = f(*args)
        worst = max((H[:64]+(lp.exp()*lp).sum(-1)).abs().max(), (said[:64]-lp.gather(1, args[2][:64,None])[:,0]).abs().max())
        assert worst<1e-4, worst
        print(f"entropy, {f.__name__}: largest error against float64 {worst:.1e} nat; bar 1e-4")
    m = {a: [peak(a, positions) for _ in range(3)] for a in ARMS}
    print(f"entropy, {positions} x 151,936: peak memory above the inputs full {max(m['full']):,.0f} MB, tiled {max(m['tiled']):,.0f} MB: {min(m['full'])/max(m['tiled']):.1f}x less (worst of 3 each); bar 5")
    whole = peak("tiled", 16384)
    print(f"entropy, 16,384 x 151,936: tiled {whole:,.0f} MB above the inputs, logits alone {16384*151936*4/1e6:,.0f} MB: {16384*151936*4/1e6/whole:.0f}x less; bar 10")
    compare("entropy, full / tiled", lambda: full(*args), lambda: tiled_entropy(*args), ">= 1")

def spectrum(n, d, seed=0):
    "Texts whose states fall off along the axes like those of a trained model"
    r = np.random.default_rng(seed)
    return r.standard_normal((n, d), dtype=np.float32).astype(float)*(np.arange(1, d+1)**-.5)

def pca(n, d, repeats):
    "`repeats` pairs; the large case is timed once, without a warm-up"
    x = spectrum(n, d)
    arms = [lambda s=s: axes(x, solver=s) for s in ("full","randomized")]
    (exact,a),(quick,b) = map(clock, arms)
    angle = 2*np.arcsin(np.linalg.norm(exact-quick, axis=1)/2).max()
    assert angle<1e-3, angle
    print(f"axes, {n:,} x {d:,}: angle of the randomised to the exact ones {angle:.1e} rad, bar 1e-3; first calls {a:.1f} and {b:.1f} CPU-s, {a/b:.1f}x; bar 5 at 10,000 x 3,584", flush=True)
    if repeats: compare(f"axes, {n:,} x {d:,}, exact / randomised", *arms, "-", repeats)

def states(texts=32, length=128, width=256, layers=8):
    "Pooling as the model goes on, against a forward pass that keeps nothing and one that keeps all layers"
    from transformers import LlamaConfig, LlamaForCausalLM
    lm = LlamaForCausalLM(LlamaConfig(vocab_size=512, hidden_size=width, intermediate_size=3*width, num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=8)).eval()
    ids = torch.randint(512, (texts, length), generator=torch.Generator().manual_seed(0))
    ones = torch.ones_like(ids)
    def forward(**kw):
        with torch.inference_mode(): return lm.model(input_ids=ids, attention_mask=ones, use_cache=False, **kw)
    kept = lambda: torch.stack([s.double().mean(1) for s in forward(output_hidden_states=True).hidden_states])
    assert (kept()-batch_means(lm, ids, ones, ones)).abs().max()<1e-9
    compare("states, plain forward / pooled on the way", forward, lambda: batch_means(lm, ids, ones, ones), ">= 0.95")
    compare("states, all layers kept / pooled on the way", kept, lambda: batch_means(lm, ids, ones, ones), "-")

if __name__=="__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--arm", choices=ARMS, help="one arm of the memory comparison, in this process")
    p.add_argument("--positions", type=int, default=512)
    p.add_argument("--only", choices=["entropy","pca","states"])
    p.add_argument("--large", action="store_true", help="the exact decomposition of 10,000 x 3,584 too")
    a = p.parse_args()
    if a.arm: child(a.arm, a.positions)
    else:
        print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
        if a.only in (None,"entropy"): entropy(a.positions)
        if a.only in (None,"pca"): pca(3000, 1024, 7)
        if a.only in (None,"states"): states()
        if a.large: pca(10000, 3584, 0)
