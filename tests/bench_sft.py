"""Training speed of `ded.sft` beside TRL's trainer and transformers' at equal settings, and packing. Not part of the tests: `python tests/bench_sft.py [--rounds 9] [--rows 96]`

Arms alternate within one process. A time counts only where all arms had the same losses; the first round warms up and is dropped; ratios are medians over the rounds with their spread. On a GPU the last part times packed against padded passes."""
import argparse, random, statistics, tempfile, time
from pathlib import Path
import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, PrinterCallback, Trainer, TrainingArguments
from transformers.utils.logging import disable_progress_bar
from trl import SFTTrainer
from trl.data_utils import pack_dataset
from ded.launch import division, recipe_for, settings_of, Launch
from ded.pack import PackSampler, best_fit, fill_of, use_packs
from ded.sft import arguments, batch_plan, build, end_token, encode_all, execution, load_student, threads
from ded.tasks import pool

ROOT = Path(__file__).resolve().parents[1]

def corpus(n):
    "Rows of the small world with thoughts of very different length"
    draw = random.Random(0)
    return [dict(q, k=0, text=f"<think>{'b:2,'*min(60, round(draw.lognormvariate(2.5, .7)))}a=b+c</think>\\boxed{{{q['gold']}}}") for q in pool("math", n, 0)]

def plain(cls, lm, tok, ds, args):
    "A trainer as it comes, that reads the rows in our order"
    args.train_sampling_strategy = "sequential"
    if cls is SFTTrainer: return SFTTrainer(model=lm, args=args, train_dataset=ds, processing_class=tok)
    lacks = {k: v for k,v in vars(args).items() if k in TrainingArguments.__dataclass_fields__ and TrainingArguments.__dataclass_fields__[k].init}
    return Trainer(model=lm, args=TrainingArguments(**lacks), train_dataset=ds, data_collator=DataCollatorForSeq2Seq(tok, label_pad_token_id=-100))

def trainer_for(arm, model, data, recipe, how, folder, every):
    lm, tok = load_student(model)
    if arm=="ded":
        trainer = build(lm, tok, data, recipe, how, folder, every)
        trainer.clock = lambda: 0.
        return trainer
    if how["attention"]: lm.set_attn_implementation(how["attention"])
    order = [i for b in batch_plan([len(ids) for ids,_ in data], recipe["batch"], 0, recipe["seed"]) for i in b]
    ds = Dataset.from_list([dict(input_ids=data[i][0], attention_mask=[1]*len(data[i][0]), labels=[t if m else -100 for t,m in zip(*data[i])]) for i in order])
    trainer = plain(dict(trl=SFTTrainer, transformers=Trainer)[arm], lm, tok, ds, arguments(recipe, how, folder, every))
    trainer.remove_callback(PrinterCallback)
    return trainer

def timed(trainer):
    "Seconds of training and the losses"
    start = time.perf_counter()
    trainer.train()
    return time.perf_counter()-start, [h["loss"] for h in trainer.state.log_history if "loss" in h]

def said(name, values, unit=""):
    values = sorted(values)
    print(f"{name:<44} median {statistics.median(values):.3f}{unit}, from {values[0]:.3f} to {values[-1]:.3f}, n {len(values)}", flush=True)

def trainers(rounds, rows):
    "ded against both trainers"
    model, arms = str(ROOT/"ded/models/student-a"), ["ded","trl","transformers"]
    lm, tok = load_student(model)
    data, s = encode_all(tok, corpus(rows), 512), settings_of(dict(epochs=1, lr=3e-4))
    recipe, how = recipe_for(model, data, s), execution(lm, max(len(ids) for ids,_ in data), s["batch"])
    tokens, spent = sum(len(ids) for ids,_ in data), {a: [] for a in arms}
    with threads(how["threads"]):
        for r in range(rounds+1):
            losses = {}
            for a in arms if r%2 else arms[::-1]:
                with tempfile.TemporaryDirectory() as folder: t, losses[a] = timed(trainer_for(a, model, data, recipe, how, folder, 10**6))
                if r: spent[a].append(t)
            gap = max(abs(x-y) for a in arms for x,y in zip(losses["ded"], losses[a], strict=True))
            assert losses["ded"]==losses["trl"] and gap<1e-3, losses
    print(f"{rows} rows, {tokens} tokens, micro-batch {how['micro']}; losses of ded and TRL equal to the digit, transformers within {gap:.1e}")
    for a in arms: said(f"tokens per second, {a}", [tokens/t for t in spent[a]])
    for a in arms[1:]: said(f"ded / {a}", [o/t for t,o in zip(spent["ded"], spent[a])])
    half = [statistics.median(spent["ded"][i::2]) for i in (0,1)]
    if max(half)>1.2*min(half): print("the two halves of the run differ by more than 20 %: take a quieter machine")

def packing():
    "Our packer and TRL's on the same lengths; TRL cuts what exceeds the size"
    draw, size = random.Random(0), 16384
    lengths = [round(draw.lognormvariate(8.3, .8)) for _ in range(100_000)]
    kept = [n for n in lengths if n<=size]
    spent = []
    for _ in range(7):
        start = time.perf_counter()
        packs = best_fit(kept, size)
        spent.append(time.perf_counter()-start)
    said(f"{len(kept)} lengths packed", spent, " s")
    print(f"fill {fill_of(kept, packs, size):.4f}, {len(packs)} packs of {size}, cut rows 0 (the {len(lengths)-len(kept)} longer ones are refused)")
    ds = Dataset.from_dict(dict(input_ids=[[0]*(n//64) for n in lengths[:20_000]]))
    theirs = pack_dataset(ds, size//64, "bfd")
    print(f"TRL's bfd on a fifth, in tokens of 64: cut rows {sum(n//64>size//64 for n in lengths[:20_000])}, lost tokens {sum(map(len, ds['input_ids']))-sum(map(len, theirs['input_ids']))}")

def packed_losses(rounds):
    "Packed against padded: losses everywhere, times on a GPU"
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
    cuda, tok = torch.cuda.is_available(), AutoTokenizer.from_pretrained(ROOT/"ded/models/student-a")
    shape = dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2) if cuda else dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
    data = encode_all(tok, corpus(96), 512)
    if cuda: data = [(ids*32, mask*32) for ids,mask in data]
    s, plan = settings_of(dict(epochs=1, lr=1e-5, bf16=cuda)), Launch(1)
    spent, losses = {True: [], False: []}, {}
    with tempfile.TemporaryDirectory() as folder:
        for r in range(rounds+1 if cuda else 1):
            for packed in (False, True):
                torch.manual_seed(0)
                lm = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tok), max_position_embeddings=32768, **shape))
                how, sampler = division(lm, [len(ids) for ids,_ in data], s, Launch(1, packed=packed))
                recipe = dict(recipe_for(folder, data, s))
                trainer = build(lm, tok, data, recipe, how, f"{folder}/out", 10**6)
                trainer.clock = lambda: 0.
                if sampler: use_packs(trainer, [*data, ([end_token(tok)],[0])], sampler)
                t, losses[packed] = timed(trainer)
                if r: spent[packed].append(t)
    print(f"packed against padded, {how['attention']}: largest difference of a loss {max(abs(a-b) for a,b in zip(losses[True], losses[False], strict=True)):.1e}")
    if cuda: said("padded / packed, seconds", [a/b for a,b in zip(spent[False], spent[True])])
    else: print("timing of packed passes: skipped, no GPU here")

if __name__=="__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=9, help="alternations that count, at least 7")
    p.add_argument("--rows", type=int, default=96, help="rows of the toy corpus")
    args = p.parse_args()
    disable_progress_bar()
    packing()
    packed_losses(args.rounds)
    trainers(max(7, args.rounds), args.rows)
