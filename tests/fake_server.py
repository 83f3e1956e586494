"""A server that answers like OpenAI's: a fixed number of slots, a time per token, log-normal lengths, and faults on demand.

A question says for itself what goes wrong: each word that begins with `!` spoils one request for it, in order (`7*8? !500 !429=0.2 !drop`); the same row asked once more after that is answered."""
import argparse, asyncio, heapq, json, math, random, subprocess, sys
from contextlib import contextmanager
from urllib.request import urlopen

STATUS = {"500": (500, b'{"error":{"message":"engine died"}}'), "502": (502, b"<html>bad gateway</html>"), "400": (400, b'{"error":{"message":"prompt too long"}}'), "401": (401, b'{"error":{"message":"no such key"}}')}
BODIES = {"cut": b'{"choices":[{"te', "empty": b"{}", "list": b"[1]", "error": b'{"error":{"message":"out of memory"}}', "two": b'{"choices":[{},{}]}', "none": b'{"choices":[{"message":{"content":null},"finish_reason":"stop"}],"usage":{"completion_tokens":9}}',
          "abort": b'{"choices":[{"message":{"content":"x"},"finish_reason":"abort"}]}', "deep": b"["*100000}

def length(question, seed, o):
    "Tokens of a reply: some questions have longer ones, and every draw differs"
    draw = lambda x: random.Random(x).gauss(0, 1)
    return max(2, min(o.cap, round(o.median*math.exp(o.between*draw(f"q{question}")+o.within*draw(f"s{seed}")))))

class Fake(asyncio.Protocol):
    def __init__(self, o, state): self.o, self.state, self.data, self.tasks = o, state, b"", []
    def connection_made(self, transport): self.out = transport
    def connection_lost(self, error):
        for t in self.tasks: t.cancel()

    def data_received(self, data):
        self.data += data
        while (i := self.data.find(b"\r\n\r\n"))>=0:
            head = self.data[:i].decode().split("\r\n")
            size = next((int(l.split(":")[1]) for l in head if l.lower().startswith("content-length:")), 0)
            if len(self.data)<i+4+size: return
            body, self.data = self.data[i+4:i+4+size], self.data[i+4+size:]
            if any(l.lower().startswith("authorization:") for l in head): self.state["keys"] += 1
            if head[0].startswith("POST"): self.tasks = [t for t in self.tasks if not t.done()]+[asyncio.ensure_future(self.answer(json.loads(body)))]
            else: self.get(head[0].split()[1])

    def send(self, status, body, **headers):
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k,v in headers.items())]
        self.out.write("\r\n".join(lines).encode()+b"\r\n\r\n"+body)

    def get(self, path):
        if path=="/v1/models": return self.send(200, json.dumps(dict(data=[dict(id=self.o.model, owned_by=self.o.owner)])).encode())
        if path=="/stats": return self.send(200, json.dumps(self.state).encode())
        self.send(404, b"{}")

    async def answer(self, body):
        question = body["messages"][0]["content"] if "messages" in body else str(body["prompt"])
        faults, row = [w[1:] for w in question.split() if w.startswith("!")], f"{question}/{body['seed']}"
        seen = self.state["asked"].get(row, 0)
        self.state["asked"][row] = seen+1
        self.state["requests"] += 1
        self.state["fields"] = sorted(body)
        self.state["busy"] += 1
        try: return await (self.spoil(faults[seen]) if seen<len(faults) else self.reply(body, question))
        finally: self.state["busy"] -= 1

    async def work(self, seconds):
        "Wait for a slot, then for the tokens. Slots are booked on the clock, so that a busy machine does not make the engine slower"
        now = asyncio.get_running_loop().time()
        end = max(now, self.free[0])+seconds
        heapq.heapreplace(self.free, end)
        await asyncio.sleep(end-now)

    async def reply(self, body, question):
        n = length(question.split("!")[0], body["seed"], self.o)
        stop = n<=body["max_tokens"]
        n = min(n, body["max_tokens"])
        await self.work(n*self.o.token_ms/1000)
        text, thought = f"\\boxed{{{body['seed']%10}}}", "x"*int(n*self.o.chars)
        said = dict(text=f"<think>{thought}</think>{text}") if "prompt" in body else dict(message=dict(content=f"{thought}</think>{text}") if self.o.thoughts=="unparsed" else dict(content=text, **{self.o.thoughts: thought}))
        self.state["tokens"] += n
        self.send(200, json.dumps(dict(choices=[dict(index=0, finish_reason="stop" if stop else "length", **said)], usage=dict(prompt_tokens=len(body.get("prompt", "")), completion_tokens=n))).encode())

    async def spoil(self, fault):
        name, _, value = fault.partition("=")
        if name=="hang": await asyncio.sleep(3600)
        if name=="drop": return self.out.abort()
        if name=="half":
            self.out.write(b'HTTP/1.1 200 X\r\nContent-Length: 500\r\n\r\n{"choices":')
            return self.out.close()
        if name in ("429","503"): return self.send(int(name), b'{"error":"slow down"}', **({"Retry-After": value} if value else {}))
        if name in STATUS: return self.send(*STATUS[name])
        self.send(200, BODIES[name])

async def main(o):
    state = dict(asked={}, requests=0, busy=0, tokens=0, keys=0, fields=[])
    Fake.free = [0.]*o.slots
    server = await asyncio.get_running_loop().create_server(lambda: Fake(o, state), "127.0.0.1", o.port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

def options(argv=None):
    p = argparse.ArgumentParser(description=__doc__)
    for name,default in dict(port=0, slots=64, token_ms=0., median=20, between=0., within=0., cap=8192, chars=1., model="fake/model", owner="fake", thoughts="reasoning_content").items():
        p.add_argument(f"--{name}", type=type(default), default=default)
    return p.parse_args(argv)

@contextmanager
def serving(**o):
    "A fake server in a process of its own; gives its address"
    p = subprocess.Popen([sys.executable, __file__, *(f"--{k}={v}" for k,v in o.items())], stdout=subprocess.PIPE, text=True)
    try: yield f"http://127.0.0.1:{int(p.stdout.readline())}/v1"
    finally:
        p.kill()
        p.wait()
        p.stdout.close()

def stats(url):
    "What the server has seen"
    with urlopen(url.removesuffix("/v1")+"/stats") as r: return json.loads(r.read())

if __name__=="__main__": asyncio.run(main(options()))
