"""What the programs here begin with: the interface of Kith's daemon, and where it listens.

Whoever takes one of them elsewhere takes this along, and says where the schema is.
"""
import os, pathlib
import capnp

capnp.remove_import_hook()
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
