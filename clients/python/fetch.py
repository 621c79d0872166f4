#!/usr/bin/env python3
"""Fetches a file by its hash or ticket and prints its path, which is the last line.

The transfer is the daemon's: stopped here, it goes on, and started again this takes it up. Needs pycapnp
(pip install 'pycapnp>=2.2,<3') and nothing else of Kith than its schema, and kithd.py beside it.
"""
import argparse, asyncio, os, sys
import capnp
import kithd

kith, file = kithd.load("kith.capnp"), kithd.load("file.capnp")
# To wait is of no use where everybody has answered.
HOPELESS = ("notPermitted", "verificationFailed")

def why(trouble, otherwise):
    """What the daemon says of it, as a sentence."""
    message = (trouble or otherwise).rstrip(".")
    return message[:1].upper() + message[1:] + "."

class Follower(file.FilesObserver.Server):
    """Looks at one transfer, until that has ended one way or the other."""
    def __init__(self, id, ended):
        self.id, self.ended, self.seen, self.told = id, ended, False, ""

    def end(self, path, problem=None):
        if not self.ended.done():
            self.ended.set_result((path, problem))

    async def changed(self, state, **_):
        transfer = next((transfer for transfer in state.transfers if transfer.id == self.id), None)
        if transfer is None:
            # Not listed yet, or not any more.
            return self.end(None, "It was cancelled.") if self.seen else None
        self.seen, state, kind = True, str(transfer.state), str(transfer.errorKind)
        advice = transfer.advice and " " + transfer.advice
        if state == "done":
            self.end(transfer.savedPath)
        elif state in ("failed", "paused") or (state == "waiting" and kind in HOPELESS):
            self.end(None, why(transfer.error, f"It is {state}") + advice)
        else:
            trouble = f": {why(transfer.error, '')}{advice}" if transfer.error else ""
            print(f"{state}, {transfer.doneBytes} of {transfer.sizeBytes} bytes, {transfer.bytesPerSecond / 1e6:.1f} MB/s, "
                  f"{len(transfer.sources)} sources{trouble}", file=sys.stderr, flush=True)

async def main(socket, target, folder):
    stream = await kithd.connect(socket)
    client, ended = capnp.TwoPartyClient(stream), asyncio.get_running_loop().create_future()
    files = client.bootstrap().cast_as(kith.Kith).node().node.files().files
    outcome = (await files.get(target, {"folder": folder})).outcome
    if outcome.which() == "failed":
        raise SystemExit(f"{why(outcome.failed.message, '')} {outcome.failed.advice}".rstrip())
    if outcome.which() != "transfer":
        raise SystemExit("The daemon answers what this program does not know: it is newer.")
    if str(outcome.transfer.state) == "done":
        return print(outcome.transfer.savedPath)
    # Dropping the handle would end the watch, not the transfer.
    handle = await files.watch(Follower(outcome.transfer.id, ended))
    gone = asyncio.ensure_future(client.on_disconnect())
    await asyncio.wait([gone, ended], return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        raise SystemExit("The daemon has gone. The transfer goes on when it is back.")
    del handle
    path, problem = ended.result()
    if problem:
        raise SystemExit(problem)
    print(path)

if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--socket", default=kithd.socket())
    options.add_argument("--to", default="", help="the folder [default: the daemon's]")
    options.add_argument("target", help="a hash (64 hexadecimal digits) or a ticket (kithfile:...)")
    options = options.parse_args()
    folder = os.path.abspath(options.to) if options.to else ""
    kithd.run(main(options.socket, options.target, folder), "Stopped. A transfer that has begun goes on.")
