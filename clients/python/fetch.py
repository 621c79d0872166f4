#!/usr/bin/env python3
"""Fetches a file by its hash or ticket and prints its path, which is the last line.

The transfer is the daemon's: stopped here, it goes on, and started again this takes it up. Needs pycapnp
(pip install 'pycapnp>=2.2,<3') and nothing else of Kith than its schema.
"""
import argparse, asyncio, os, pathlib, sys
import capnp

capnp.remove_import_hook()
SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "schema"
# Without this import path pycapnp does not find /capnp/*.capnp, and it aborts the interpreter instead of raising.
IMPORTS = [os.path.dirname(os.path.dirname(capnp.__file__)), str(SCHEMA)]
load = lambda name: capnp.load(str(SCHEMA / name), imports=IMPORTS)
kith, file = load("kith.capnp"), load("file.capnp")

class Follower(file.FilesObserver.Server):
    """Looks at one transfer, until that has ended one way or the other."""
    def __init__(self, id, ended):
        self.id, self.ended = id, ended

    async def changed(self, state, **_):
        for transfer in state.transfers:
            if transfer.id != self.id or self.ended.done():
                continue
            if transfer.state == "done":
                self.ended.set_result((transfer.savedPath, None))
            elif transfer.state in ("failed", "paused"):
                self.ended.set_result((None, f"{transfer.error or 'It was paused.'} {transfer.advice}"))
            else:
                speed = transfer.bytesPerSecond / 1e6
                print(f"{transfer.state}: {transfer.doneBytes} of {transfer.sizeBytes} bytes, {speed:.1f} MB/s, "
                      f"{len(transfer.sources)} sources", file=sys.stderr, flush=True)

async def main(socket, target, folder):
    stream = await capnp.AsyncIoStream.create_unix_connection(path=socket)
    client, ended = capnp.TwoPartyClient(stream), asyncio.get_running_loop().create_future()
    files = client.bootstrap().cast_as(kith.Kith).node().node.files().files
    outcome = (await files.get(target, {"folder": folder})).outcome
    if outcome.which() != "transfer":
        raise SystemExit(f"{outcome.failed.message} {outcome.failed.advice}")
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
    options.add_argument("--socket", default=os.environ.get("XDG_RUNTIME_DIR", "/run") + "/kith/kithd.sock")
    options.add_argument("--to", default="", help="the folder [default: the daemon's]")
    options.add_argument("target", help="a hash (64 hexadecimal digits) or a ticket (kithfile:...)")
    options = options.parse_args()
    folder = os.path.abspath(options.to) if options.to else ""
    asyncio.run(capnp.run(main(options.socket, options.target, folder)))
