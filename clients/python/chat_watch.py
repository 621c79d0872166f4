#!/usr/bin/env python3
"""Follows all messages of a node into a file, one JSON line for each message and for each change of one.

The cursor of the last line is where it goes on. Killed, cut off or started again a week later, it gets everything that
it lacks and nothing twice. Needs pycapnp (pip install 'pycapnp>=2.2,<3') and nothing else of Kith than its schema, and
kithd.py beside it.
"""
import argparse, asyncio, json, os
import capnp
import kithd

kith, chat = kithd.load("kith.capnp"), kithd.load("chat.capnp")
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

class Journal:
    """The lines on the disk, each with the cursor of its change; they are in the order of the cursors."""
    def __init__(self, path):
        self.file, self.cursor, end = open(path, "a+b"), 0, 0
        self.file.seek(0)
        for line in self.file:
            # Without its end it was being written when the program died: it goes, and comes again.
            if line.endswith(b"\n"):
                self.cursor, end = json.loads(line)["cursor"], end + len(line)
        self.file.truncate(end)

    def append(self, messages):
        rows = ({"cursor": m.cursor, "id": m.id, "conversation": m.conversation, "author": m.author, "text": m.text,
                 "direction": str(m.direction), "state": str(m.state), "edited": m.edited, "deleted": m.deleted,
                 "sent_unix_ms": m.sentUnixMs} for m in messages)
        self.file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
        self.file.flush()
        os.fsync(self.file.fileno())
        self.cursor = messages[-1].cursor

class Follower(chat.MessagesObserver.Server):
    """To return is to say "I have them". What it does not return from comes again, with the cursor of the last line."""
    def __init__(self, journal, failed):
        self.journal, self.failed = journal, failed

    async def messages(self, messages, cursor, **_):
        try:
            if len(messages):
                self.journal.append(messages)
                print(self.journal.cursor, flush=True)
        except Exception as error:
            # The daemon drops an observer that throws; whoever waits must hear of it.
            if not self.failed.done():
                self.failed.set_exception(error)
            raise

async def follow(socket, journal):
    """Until the connection ends. An error of the journal ends the program."""
    stream = await capnp.AsyncIoStream.create_unix_connection(path=socket)
    client, failed = capnp.TwoPartyClient(stream), asyncio.get_running_loop().create_future()
    messages = client.bootstrap().cast_as(kith.Kith).node().node.chat().chat
    # Dropping the handle would end it.
    handle = await messages.watch(journal.cursor, Follower(journal, failed))
    gone = asyncio.ensure_future(client.on_disconnect())
    await asyncio.wait([gone, failed], return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        failed.result()
    del handle

async def main(socket, path):
    journal, pause = Journal(path), SHORTEST_PAUSE
    while True:
        before = journal.cursor
        try:
            await follow(socket, journal)
        except (ConnectionError, FileNotFoundError):
            pass  # No daemon yet: it is started again, or will be.
        except capnp.KjException as error:
            if error.type != "DISCONNECTED":
                raise
        pause = SHORTEST_PAUSE if journal.cursor != before else min(2 * pause, LONGEST_PAUSE)
        await asyncio.sleep(pause)

if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--socket", default=kithd.socket())
    options.add_argument("--journal", default="messages.jsonl")
    options = options.parse_args()
    kithd.run(main(options.socket, options.journal))
