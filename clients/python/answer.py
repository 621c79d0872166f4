#!/usr/bin/env python3
"""Answers the next call: receives pictures and sound, counts them, and sends its own moving picture and a tone.

Needs pycapnp (pip install 'pycapnp>=2.2,<3') and nothing else of Kith than its schema, and kithd.py beside it. Prints
"waiting", and one JSON line when the call has ended.
"""
import argparse, array, asyncio, json, math, time
import capnp
import kithd

kith, media, call_schema = kithd.load("kith.capnp"), kithd.load("media.capnp"), kithd.load("call.capnp")
WIDTH, HEIGHT, FPS, RATE, CHUNK = 640, 360, 15, 48000, 960
micros = lambda: time.monotonic_ns() // 1000

class Pictures(media.VideoSink.Server):
    """Called by the daemon. The data is valid only inside the call: copy what you keep, and return soon."""
    def __init__(self):
        self.count, self.size = 0, None

    async def picture(self, picture, **_):
        assert len(picture.i420) == picture.width * picture.height * 3 // 2
        self.count, self.size = self.count + 1, (picture.width, picture.height)

class Sounds(media.AudioSink.Server):
    def __init__(self):
        self.count, self.loudest = 0, 0

    async def sound(self, sound, **_):
        self.count, self.loudest = self.count + 1, max(self.loudest, *array.array("h", sound.pcm))

class Ringing(call_schema.CallsObserver.Server):
    def __init__(self, found):
        self.found = found

    async def call(self, info, call, **_):
        if info.direction == "incoming" and info.state == "ringing" and not self.found.done():
            self.found.set_result(call)

class Watcher(call_schema.CallObserver.Server):
    def __init__(self, ended):
        self.ended = ended

    async def changed(self, info, **_):
        if info.state == "ended" and not self.ended.done():
            self.ended.set_result(str(info.endReason))

async def pace(per_second, send):
    """Calls send(0), send(1), ... at a steady rate; one that is late is left out, not made up for."""
    start, number = time.monotonic(), 0
    while True:
        await send(number)
        number = max(number + 1, int((time.monotonic() - start) * per_second))
        await asyncio.sleep(max(0, start + number / per_second - time.monotonic()))

async def main(socket):
    stream = await kithd.connect(socket)
    node = capnp.TwoPartyClient(stream).bootstrap().cast_as(kith.Kith).node().node
    found, ended = asyncio.get_running_loop().create_future(), asyncio.get_running_loop().create_future()
    watching = await node.calls().calls.watch(Ringing(found))
    print("waiting", flush=True)
    call = await found
    following = await call.watch(Watcher(ended))
    outcome = (await call.answer({"kind": "unspecified"})).outcome
    assert outcome.which() == "ok", outcome
    pictures, sounds, sent = Pictures(), Sounds(), {"pictures": 0, "sounds": 0}
    # Dropping a handle ends what it stands for: keep them as long as you want to receive.
    handles = [await call.receiveVideo(pictures), await call.receiveAudio(sounds)]
    camera = (await call.sendVideo({"width": WIDTH, "height": HEIGHT, "framesPerSecondMilli": FPS * 1000})).sink
    microphone = (await call.sendAudio()).sink
    row, chroma = bytes(16 + i % 220 for i in range(2 * WIDTH + 220)), bytes([110, 150])

    async def picture(n):
        luma = b"".join(row[(n * 4 + y) % 220:][:WIDTH] for y in range(HEIGHT))
        data = luma + chroma[:1] * (WIDTH * HEIGHT // 4) + chroma[1:] * (WIDTH * HEIGHT // 4)
        await camera.picture({"width": WIDTH, "height": HEIGHT, "captureMonotonicMicros": micros(), "sequence": n, "i420": data})
        sent["pictures"] += 1

    async def sound(n):
        tone = array.array("h", (int(8000 * math.sin(6.2832 * 440 * (n * CHUNK + i) / RATE)) for i in range(CHUNK)))
        await microphone.sound({"captureMonotonicMicros": micros(), "sequence": n, "pcm": tone.tobytes()})
        sent["sounds"] += 1

    # Sending fails as `disconnected` when the call has ended, so the end of the first of these is the end.
    tasks = [asyncio.create_task(pace(FPS, picture)), asyncio.create_task(pace(RATE / CHUNK, sound))]
    await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    [task.cancel() for task in tasks]
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps({"reason": await asyncio.wait_for(ended, 10), "pictures": pictures.count, "size": pictures.size,
                      "sounds": sounds.count, "loudest": sounds.loudest, "sent_pictures": sent["pictures"],
                      "sent_sounds": sent["sounds"]}), flush=True)

if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--socket", default=kithd.socket())
    kithd.run(main(options.parse_args().socket))
