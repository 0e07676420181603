#!/usr/bin/env python3
"""The past, end to end: ffmpeg encodes, eight viewers watch live and keep files, four more begin
where the memory of the others no longer reaches, and all play what was broadcast then.

    .ci/rewind.py EDDY [--mbit 1]

Files last 2 s. When the viewers of the past play, the provider is ended with SIGKILL: they play on
to the end of what was cached. One live viewer is ended with SIGKILL, too, and started again on its
cache; in the end it is the only one left, and a last viewer watches the past from it alone. Every
output must be a contiguous range of what ffmpeg sent, byte for byte, and begin where it was told.
Two more things are tried on the way: commands on standard input (pause, seek, live, switch), and
`eddy files`. Nothing leaves loopback; only processes started here are ended."""

import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from e2e import Failed, Swarm, Tap, encoder, free_port, last, objects, wait_for

LIVE = 8
PAST = 4
FILE = 2  # seconds
AGO = 40  # seconds before the live edge that the past begins at: viewers remember 30
PACKET = 188


class Clocked(Tap):
    """Keeps when each datagram came, too."""

    def __init__(self, to):
        super().__init__(to)
        self.times = []  # (byte, time) of each datagram
        self.data = Recorded(self)


class Recorded(bytearray):
    def __init__(self, tap):
        super().__init__()
        self.tap = tap

    def __iadd__(self, datagram):
        self.tap.times.append((len(self), time.time()))
        self.extend(datagram)
        return self


def at(tap, byte):
    """When the byte at this place was sent."""
    return max((t for t in tap.times if t[0] <= byte), default=(0, 0))[1]


def output(swarm, name):
    path = os.path.join(swarm.dir, name + ".ts")
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as f:
        return f.read()


def place(tap, data, name):
    """Where a viewer's output lies in what was sent."""
    found = bytes(tap.data).find(data)
    if found < 0:
        sent = bytes(tap.data)
        ahead = next((n for n in range(0, len(data), PACKET) if sent.find(data[:n + PACKET]) < 0), 0)
        raise Failed(f"{name}: the output parts from what ffmpeg sent after {ahead} bytes")
    return found


def said(swarm, name, message):
    """When a node logged these words."""
    for told in objects(swarm, name):
        if told.get("message") == message:
            moment = datetime.datetime.fromisoformat(told["timestamp"].replace("Z", "+00:00"))
            yield moment.timestamp()


class Remote:
    """A viewer that takes commands."""

    def __init__(self, swarm, name, words):
        self.swarm, self.name = swarm, name
        log = open(os.path.join(swarm.dir, name + ".log"), "wb")
        state = os.path.join(swarm.dir, name)
        command = [swarm.args.eddy, "viewer", *words, "--state", state, "--cache", "none", "--json",
                   "--listen", "127.0.0.1:0", "--output", os.path.join(swarm.dir, name + ".ts")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        swarm.processes[name] = self.process

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def behind(self):
        """Seconds behind the live edge, as it told last."""
        told = last(self.swarm, self.name, "behind_ms")
        return None if told is None else told / 1000


def commands(swarm, server, other):
    """A viewer does what it is told on standard input."""
    viewer = Remote(swarm, "remote", ["--bootstrap", f"127.0.0.1:{server}", "--channel", "e2e"])
    state = lambda: last(swarm, "remote", "state")
    wait_for("play-out at the viewer with a remote control", 15, lambda: state() == "playing")
    wait_for("its being live", 10, lambda: (viewer.behind() or 99) < 3)
    viewer.say("seek -20s")
    wait_for("play-out 20 s back", 10, lambda: 18 < viewer.behind() < 26 and state() == "playing")
    viewer.say("pause")
    wait_for("the pause", 10, lambda: state() == "paused")
    paused = last(swarm, "remote", "position_us")
    time.sleep(4)
    if last(swarm, "remote", "position_us") != paused:
        raise Failed("the viewer moved on in a pause")
    viewer.say("play")
    wait_for("play-out after the pause", 10, lambda: state() == "playing" and 22 < viewer.behind() < 34)
    viewer.say("live")
    wait_for("the live edge", 10, lambda: viewer.behind() < 3 and state() == "playing")
    viewer.say("rewind")
    wait_for("the hint for a wrong command", 10, lambda: "is no command" in swarm.log("remote"))
    asked = time.time()
    viewer.say(f"switch {other}")
    plays = lambda: next((t for t in said(swarm, "remote", "playing") if t > asked), None)
    wait_for("another channel", 10, plays)
    took = plays() - asked
    print(f"  another channel plays after {took * 1000:.0f} ms")
    if took > 0.5 or swarm.log("remote").count("channel known") != 2:
        raise Failed("the switch took more than half a second, or led nowhere")
    time.sleep(2)
    if state() != "playing":
        raise Failed(f"the other channel is {state()}")
    viewer.say("switch nowhere")
    wait_for("the refusal of a channel that is not there", 10,
             lambda: "there is no channel nowhere" in swarm.log("remote"))
    viewer.say("quit")
    viewer.process.wait(10)
    if viewer.process.returncode != 0:
        raise Failed(f"the viewer with a remote control ended with {viewer.process.returncode}")
    print("  commands: seek, pause, play, live, switch and quit did what they say")


def files(args, server):
    listed = subprocess.run(
        [args.eddy, "files", "--json", "--bootstrap", f"127.0.0.1:{server}", "--channel", "e2e", "--last", "60s"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    owned = [len(row["owners"]) for row in rows]
    print(f"  files of the last minute: {len(rows)}, owners of each: {owned}")
    # The newest are being published, the oldest are from before the channel began.
    middle = [n for row, n in zip(rows, owned) if n][2:]
    if len(middle) < 10 or min(middle) < LIVE - 1:
        raise Failed("files have too few owners")


def run(args):
    swarm = Swarm(args)
    server, source = free_port(), free_port()
    tap = Clocked(source)
    common = ["--listen", "127.0.0.1:0", "--bootstrap", f"127.0.0.1:{server}", "--channel", "e2e"]
    cache = lambda name: os.path.join(swarm.dir, "cache-" + name)
    out = lambda name: os.path.join(swarm.dir, name + ".ts")

    def viewer(name, *more, kept):
        return swarm.eddy(name, "viewer", *common, "--output", out(name), "--cache", kept, *more)

    live = [f"live-{n}" for n in range(LIVE)]
    past = [f"past-{n}" for n in range(PAST)]
    try:
        tap.start()
        swarm.eddy("bootstrap", "bootstrap", "--listen", f"127.0.0.1:{server}")
        swarm.eddy("provider", "provider", *common, "--input", f"udp://127.0.0.1:{source}", "--file", str(FILE),
                   "--keep", "10m", "--cache", cache("provider"))
        swarm.eddy("other", "provider", "--listen", "127.0.0.1:0", "--bootstrap", f"127.0.0.1:{server}",
                   "--channel", "other", "--input", args.clip, "--loop", "--keep", "0")
        swarm.start("ffmpeg", encoder(args, tap.port))
        wait_for("the encoder's first datagram", 20, lambda: len(tap.data) > 0)
        listed = lambda: b"e2e" in subprocess.run(
            [args.eddy, "channels", "--json", "--bootstrap", f"127.0.0.1:{server}"],
            stdin=subprocess.DEVNULL, capture_output=True).stdout
        wait_for("listing the channel", 15, listed)
        for name in live:
            viewer(name, kept=cache(name))
        wait_for("play-out at every live viewer", 30, lambda: all(output(swarm, name) for name in live))
        began = time.time()
        commands_at = 25
        time.sleep(max(0, began + commands_at - time.time()))
        commands(swarm, server, "other")
        time.sleep(max(0, began + AGO + 4 * FILE + 2 - time.time()))
        files(args, server)

        # Who watches the past begins before what anybody still has in memory. They keep nothing, so
        # that no file has more than ten owners: of more, some would take their records back.
        asked = time.time()
        for name in past[:-1]:
            viewer(name, "--ago", f"{AGO}s", kept="none")
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(asked - AGO))
        viewer(past[-1], "--at", moment, kept="none")
        wait_for("play-out at every viewer of the past", 15, lambda: all(output(swarm, name) for name in past))
        time.sleep(4)
        ended = time.time()
        swarm.processes["provider"].kill()
        swarm.processes["live-0"].kill()
        # Its lock on the cache lasts until it is gone.
        swarm.processes["live-0"].wait()
        print(f"  killed the provider and live-0 {ended - began:.0f} s after the channel began to play")
        viewer("again", kept=cache("live-0"))
        kept = lambda o: o.get("files", 0) if str(o.get("message", "")).startswith("keeping files") else 0
        found = lambda: any(kept(o) > 10 for o in objects(swarm, "again"))
        wait_for("the scan of the cache by the viewer that was started again", 10, found)

        # They play on to the end of what was cached: the last whole file.
        until = ended - FILE - 2
        played = lambda name: at(tap, place(tap, output(swarm, name), name) + len(output(swarm, name)) - 1)
        patience = AGO + (ended - asked) + 20
        wait_for("the end of what was cached", patience, lambda: all(played(name) >= until for name in past))
        for name in past:
            data = output(swarm, name)
            first = at(tap, place(tap, data, name))
            if not asked - AGO - 3 < first < asked - AGO + 4:
                raise Failed(f"{name} begins {asked - first:.1f} s before it was asked for, not {AGO}")
            blocks = last(swarm, name, "past")
            print(f"  {name}: {len(data)} bytes from {asked - first:.1f} s before to {ended - played(name):.1f} s "
                  f"before the provider's end; {blocks}")
            if blocks["lost"] or last(swarm, name, "blocks_lost"):
                raise Failed(f"{name} lost blocks")

        # All go but the one who was started again, and the past is still there.
        late = swarm.stop([*live[1:], *past])
        if late:
            raise Failed(f"did not leave within 12 s of Ctrl-C: {', '.join(late)}")
        viewer("last", "--at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(asked - AGO)), kept="none")
        wait_for("play-out from the last viewer's cache", 20, lambda: output(swarm, "last"))
        span = lambda data: at(tap, place(tap, data, "last") + len(data) - 1) - at(tap, place(tap, data, "last"))
        try:
            wait_for("5 s of the past from the last viewer's cache", 20, lambda: span(output(swarm, "last")) >= 5)
        finally:
            print(f"  last: {span(output(swarm, 'last')):.1f} s of the past from one viewer that was killed and started again")
        late = swarm.stop(["last", "again", "other", "bootstrap"])
        if late:
            raise Failed(f"did not leave within 12 s of Ctrl-C: {', '.join(late)}")
        print(f"passed: {LIVE} live viewers, {PAST} of the past, {args.mbit} Mbit/s")
        shutil.rmtree(swarm.dir)
    except Failed as e:
        print(f"FAILED: {e}\n(the logs and files are in {swarm.dir})", file=sys.stderr)
        return 1
    finally:
        tap.ended = True
        swarm.end()
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eddy")
    parser.add_argument("--mbit", type=float, default=1)
    args = parser.parse_args()
    args.eddy = os.path.abspath(args.eddy)
    args.runtimes = ["mio"]
    args.clip = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "eddy", "assets", "clip.ts")
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
