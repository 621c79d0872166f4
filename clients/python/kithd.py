"""What the programs here begin with: the interface of Kith's daemon, and where it listens.

Whoever takes one of them elsewhere takes this along, and says where the schema is.
"""
import asyncio, os, pathlib, sys
import capnp

capnp.remove_import_hook()
# How a program ends without a daemon, and stopped by Ctrl-C: 128 and the number of the signal, as shells have it.
NO_DAEMON, STOPPED = 3, 130
SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "schema"
# Without this import path pycapnp does not find /capnp/*.capnp, and it aborts the interpreter instead of raising.
IMPORTS = [os.path.dirname(os.path.dirname(capnp.__file__)), str(SCHEMA)]

def load(name):
    return capnp.load(str(SCHEMA / name), imports=IMPORTS)

def socket():
    """Where kithd listens: in the runtime directory, or without one in the data directory."""
    runtime, data = os.environ.get("XDG_RUNTIME_DIR", ""), os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(runtime):
        return runtime + "/kith/kithd.sock"
    return (data if os.path.isabs(data) else os.path.expanduser("~/.local/share")) + "/kith/run/kithd.sock"

def end(why, status):
    print(why, file=sys.stderr, flush=True)
    raise SystemExit(status)

async def connect(path):
    """The stream to the daemon. Without one the program ends."""
    try:
        return await capnp.AsyncIoStream.create_unix_connection(path=path)
    except OSError as error:
        why = error.strerror or error
        end(f"No daemon answers at {path}: {why}. Start kithd, or name its socket with --socket.", NO_DAEMON)

def run(program, stopped="Stopped."):
    """Runs it to its end; Ctrl-C ends it with that sentence."""
    try:
        asyncio.run(capnp.run(program))
    except KeyboardInterrupt:
        end(stopped, STOPPED)
