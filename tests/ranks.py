"""Trains in forked processes on request: a process that has TRL loaded is forked in milliseconds, a fresh one needs half a minute of a core.

Reads one JSON line per request, {"n": processes, "do": function below, "job": of `ded.launch`, "env": more environment}, and answers with one JSON line, a list of what each process returned."""
import json, os, socket, sys, traceback
import torch, trl.trainer.sft_trainer
from ded.core import DedError, read_rows
from ded.launch import recipe_for, run_process, trainer_of
from ded.sft import encode_all, load_student, sft

quiet = lambda line: None

def train(job): return str(run_process(job, log=quiet))
def alone(job): return str(sft(job["model"], read_rows(job["corpus"]), job["out"], log=quiet, **job["settings"]))

def ready(job):
    lm, tok = load_student(job["model"])
    data = encode_all(tok, read_rows(job["corpus"]), job["settings"]["max_len"])
    return trainer_of(job, lm, tok, data, recipe_for(job["model"], data, job["settings"]), quiet)[0], data

def order(job):
    "Rows of every pass of this process in two epochs, told by their tokens; the empty row is -1"
    trainer, data = ready(job)
    known, loader = {tuple(ids): i for i,(ids,_) in enumerate(data)}, trainer.get_train_dataloader()
    row = lambda ids, keep: known.get(tuple(t for t,k in zip(ids.tolist(), keep.tolist()) if k), -1)
    got = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        got.append([[row(*r) for r in zip(b["input_ids"], b["attention_mask"])] for b in loader])
    return got

def sharded(job):
    "Losses of a training step by step, without the trainer's loop; on several processes the model is divided by `fully_shard`. In float64, where rounding hides nothing"
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor
    trainer, data = ready(job)
    lm, world = trainer.model.double(), job["plan"]["processes"]
    all_reduce = distributed.all_reduce if world>1 else lambda x: x
    if world>1:
        mesh = init_device_mesh("cpu", (world,))
        for part in (*lm.model.layers, lm): fully_shard(part, mesh=mesh)
        assert all(isinstance(p, DTensor) for p in lm.parameters())
    loader, losses = trainer.get_train_dataloader(), []
    trainer.create_optimizer_and_scheduler(num_training_steps=len(loader)*job["settings"]["epochs"])
    for epoch in range(job["settings"]["epochs"]):
        loader.set_epoch(epoch)
        for b in loader:
            labels = b.pop("labels")[:,1:]
            n = (labels!=-100).sum()
            all_reduce(n)
            part = torch.nn.functional.cross_entropy(lm(**b, use_cache=False).logits[:,:-1].transpose(1, 2), labels, ignore_index=-100, reduction="sum")/n
            (part*world).backward()
            torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.)
            for step in (trainer.optimizer.step, trainer.lr_scheduler.step, trainer.optimizer.zero_grad): step()
            total = part.detach().clone()
            all_reduce(total)
            losses.append(total.item())
    return losses

def child(rank, n, port, ask, pipe):
    "What a forked process does, found by the others as under torchrun"
    os.dup2(2, 1)
    if n>1: os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.update(GLOO_SOCKET_IFNAME="lo", **ask.get("env", {}))
    try: said = globals()[ask["do"]](ask["job"])
    except DedError as e: said = dict(error=str(e))
    except BaseException as e:
        traceback.print_exc()
        said = dict(error=repr(e))
    os.write(pipe, json.dumps(said).encode())
    os._exit(0)

def answer(ask):
    with socket.create_server(("127.0.0.1", 0)) as s: port = s.getsockname()[1]
    ends = []
    for rank in range(ask["n"]):
        out, into = os.pipe()
        if not os.fork(): child(rank, ask["n"], port, ask, into)
        os.close(into)
        ends.append(out)
    said = [json.loads(os.fdopen(e).read() or "null") for e in ends]
    for _ in ends: os.wait()
    return said

if __name__=="__main__":
    for line in sys.stdin: print(json.dumps(answer(json.loads(line))), flush=True)
