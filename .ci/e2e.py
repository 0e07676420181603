#!/usr/bin/env python3
"""Real input, end to end: ffmpeg encodes, a provider and viewers run as processes of their own,
and each viewer's file is compared byte for byte with what ffmpeg sent.

    .ci/e2e.py EDDY [--mbit 1] [--seconds 20] [--viewers 8] [--faults kill|reset] [--block MS]
                    [--runtimes mio,async-std] [--simulated RHYTHM]

A tap stands between ffmpeg and the provider: it keeps every datagram and passes it on. A viewer's
output must be a contiguous range of the tap's bytes, and ffmpeg must decode it without a word from
the first whole group of pictures to the last. `--faults kill` ends two parents with SIGKILL and
stops a third for 10 s (SIGSTOP); `--faults reset` resets every connection of the swarm twice
(needs root and ss). `--runtimes` gives the drivers that nodes take in turn. `--simulated` names the
program of sim's example `rhythm`: the same swarm in virtual time must give the same continuity and
order, and each viewer as many periodic messages a second, within 5 %. Nothing leaves loopback; only processes started here are ended."""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

PACKET = 188
STOPPED = 10  # seconds that a parent is stopped
SETTLED = 10  # seconds until partners are found
RHYTHMS = ["maps", "gossip", "heartbeats", "pings"]


class Failed(Exception):
    pass


def free_port():
    """A port that is free for TCP and UDP just now."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            return tcp.getsockname()[1]


class Tap(threading.Thread):
    """Keeps what ffmpeg sends, and passes it on to the provider."""

    def __init__(self, to):
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(0.2)
        self.port = self.sock.getsockname()[1]
        self.to = ("127.0.0.1", to)
        self.data = bytearray()
        self.ended = False

    def run(self):
        while not self.ended:
            try:
                datagram = self.sock.recv(65536)
            except TimeoutError:
                continue
            self.data += datagram
            self.sock.sendto(datagram, self.to)


class Swarm:
    def __init__(self, args):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix="eddy-e2e-")
        self.processes = {}

    def start(self, name, command, **kw):
        log = open(os.path.join(self.dir, name + ".log"), "wb")
        kw.setdefault("stdout", log)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, **kw)
        self.processes[name] = process
        return process

    def eddy(self, name, *words):
        state = os.path.join(self.dir, name)
        runtime = self.args.runtimes[len(self.processes) % len(self.args.runtimes)]
        home = {**os.environ, "XDG_CACHE_HOME": state + "-cache"}
        return self.start(name, [self.args.eddy, *words, "--state", state, "--json", "--runtime", runtime], env=home)

    def log(self, name):
        with open(os.path.join(self.dir, name + ".log"), "rb") as f:
            return f.read().decode(errors="replace")

    def stop(self, names, patience=12):
        for name in names:
            if self.processes[name].poll() is None:
                self.processes[name].send_signal(signal.SIGINT)
        deadline = time.monotonic() + patience
        late = []
        for name in names:
            try:
                self.processes[name].wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                late.append(name)
        return late

    def end(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


def wait_for(what, seconds, condition):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise Failed(f"{what} did not happen within {seconds} s")


def encoder(args, port):
    rate = int(args.mbit * 1000)
    video = rate - 150
    size = "640x360" if args.mbit < 4 else "1280x720"
    return [
        "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-re",
        "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25",
        "-re", "-f", "lavfi", "-i", "sine=frequency=1000:sample_rate=48000",
        "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p",
        "-g", "25", "-keyint_min", "25", "-sc_threshold", "0",
        "-b:v", f"{video}k", "-minrate", f"{video}k", "-maxrate", f"{video}k", "-bufsize", f"{video}k",
        "-x264-params", "nal-hrd=cbr:force-cfr=1",
        "-c:a", "aac", "-b:a", "96k", "-ac", "2",
        "-f", "mpegts", "-muxrate", f"{rate}k", f"udp://127.0.0.1:{port}?pkt_size=1316",
    ]


def whole_groups(data):
    """The stream from its first whole group of pictures to its last, every PID cut at the start of
    a PES packet, so that a decoder has nothing to complain of."""
    packets = [data[i:i + PACKET] for i in range(0, len(data) - PACKET + 1, PACKET)]
    pid = lambda p: ((p[1] & 0x1F) << 8) | p[2]
    starts = lambda p: bool(p[1] & 0x40)
    random_access = lambda p: bool(p[3] & 0x20) and p[4] > 0 and bool(p[5] & 0x40)
    tables = {0, 17, 4096}
    # ffmpeg's video is on PID 0x100, its sound on 0x101.
    key = [n for n, p in enumerate(packets) if pid(p) == 0x100 and starts(p) and random_access(p)]
    if len(key) < 3:
        raise Failed(f"only {len(key)} key pictures in the output")
    first, last = key[0], key[-1]
    begun, kept = set(), []
    for n, p in enumerate(packets[:last]):
        if n >= first and starts(p):
            begun.add(pid(p))
        if pid(p) in tables or pid(p) in begun:
            kept.append(p)
    for stream in begun - tables:
        if stream == 0x100:
            continue
        at = max(n for n, p in enumerate(kept) if pid(p) == stream and starts(p))
        kept = kept[:at] + [p for p in kept[at:] if pid(p) != stream]
    return b"".join(kept)


def check(swarm, tap, name, least):
    path = os.path.join(swarm.dir, name + ".ts")
    with open(path, "rb") as f:
        data = f.read()
    if len(data) < least:
        raise Failed(f"{name}: {len(data)} bytes, fewer than the {least} of a whole run")
    at = tap.find(data)
    if at < 0:
        ahead = next((n for n in range(0, len(data), PACKET) if tap.find(data[:n + PACKET]) < 0), 0)
        raise Failed(f"{name}: the output parts from what ffmpeg sent after {ahead} bytes")
    whole = os.path.join(swarm.dir, name + "-whole.ts")
    with open(whole, "wb") as f:
        f.write(whole_groups(data))
    decode = subprocess.run(
        ["ffmpeg", "-hide_banner", "-loglevel", "warning", "-nostdin", "-i", whole, "-f", "null", "-"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if decode.returncode or decode.stderr.strip():
        raise Failed(f"{name}: ffmpeg complains:\n{decode.stderr[:2000]}")
    print(f"  {name}: {len(data)} bytes, contiguous from byte {at} of {len(tap)}, decodes clean")


def objects(swarm, name):
    """What a node said, one object a line."""
    for line in swarm.log(name).splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict):
            yield told


def last(swarm, name, key):
    """What a node said last of something."""
    found = None
    for told in objects(swarm, name):
        found = told.get(key, found)
    return found


def rhythms(swarm, viewers):
    """What each kind of counted message came to at all viewers together."""
    sent = {name: last(swarm, name, "sent") for name in viewers}
    missing = [name for name in viewers if not sent[name]]
    if missing:
        raise Failed(f"no counts from {', '.join(missing)}")
    return {kind: sum(sent[name][kind] for name in viewers) for kind in RHYTHMS}


def compare(args, swarm, viewers, counts, seconds):
    """Holds periodic messages of the run against those of the same swarm in virtual time."""
    simulated = subprocess.run(
        [args.simulated, str(len(viewers)), str(round(seconds)), str(args.block), str(int(args.mbit * 1000))],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    world = json.loads(simulated.stdout)
    whole = lambda key: sum(last(swarm, name, key) for name in viewers)
    print(f"  in the whole run {whole('blocks_repaired')} blocks pulled, simulated {world['repaired']}; "
          f"{whole('changes_of_parent')} changes of parent, simulated {world['reselections']}")
    if world["continuity"] != 1 or world["lost"] or not world["in_order"]:
        raise Failed("the simulated swarm is not whole")
    for kind in RHYTHMS:
        real, expected = counts[kind] / len(viewers), world[kind] * seconds
        print(f"  {kind}: {real:.2f} a viewer in {seconds:.0f} s, simulated {expected:.2f}")
        # What comes every ten seconds may fall on either side of the edge.
        if abs(real - expected) > max(0.05 * expected, 1):
            raise Failed(f"{kind} differ by more than 5 %, and by more than one")


def parents(swarm, viewers):
    """Viewers that serve others now, those with most upload first."""
    upload = {}
    for name in viewers:
        for told in objects(swarm, name):
            upload[name] = told.get("up_bits_per_second") or upload.get(name, 0)
    serving = sorted((n for n in viewers if upload.get(n)), key=lambda n: -upload[n])
    return serving + [n for n in viewers if n not in serving]


def reset_all(ports):
    for port in ports:
        subprocess.run(["ss", "-K", "-t", "dst", "127.0.0.1", "dport", "=", str(port)],
                       capture_output=True, check=True)


def listening(process):
    out = subprocess.run(["ss", "-H", "-t", "-l", "-n", "-p"], capture_output=True, text=True).stdout
    found = [re.search(r":(\d+)\s", line) for line in out.splitlines() if f"pid={process.pid}," in line]
    return [int(m.group(1)) for m in found if m]


def run(args):
    swarm = Swarm(args)
    server, source = free_port(), free_port()
    tap = Tap(source)
    viewers = [f"viewer-{n}" for n in range(args.viewers)]
    gone, victims = [], []
    try:
        tap.start()
        swarm.eddy("bootstrap", "bootstrap", "--listen", f"127.0.0.1:{server}")
        swarm.eddy("provider", "provider", "--listen", "127.0.0.1:0", "--bootstrap", f"127.0.0.1:{server}",
                   "--channel", "e2e", "--input", f"udp://127.0.0.1:{source}", "--block", str(args.block))
        listed = lambda: b"e2e" in subprocess.run(
            [args.eddy, "channels", "--json", "--bootstrap", f"127.0.0.1:{server}"],
            stdin=subprocess.DEVNULL, capture_output=True).stdout
        wait_for("listing the channel", 15, listed)
        swarm.start("ffmpeg", encoder(args, tap.port))
        wait_for("the encoder's first datagram", 20, lambda: len(tap.data) > 0)
        for name in viewers:
            swarm.eddy(name, "viewer", "--listen", "127.0.0.1:0", "--bootstrap", f"127.0.0.1:{server}",
                       "--channel", "e2e", "--output", os.path.join(swarm.dir, name + ".ts"))
        size = lambda name: os.path.getsize(os.path.join(swarm.dir, name + ".ts")) \
            if os.path.exists(os.path.join(swarm.dir, name + ".ts")) else 0
        wait_for("play-out at every viewer", 30, lambda: all(size(name) for name in viewers))
        began = time.monotonic()
        if args.faults:
            time.sleep(5)
        if args.faults == "kill":
            victims = parents(swarm, viewers)[:3]
            gone, stopped = victims[:2], victims[2]
            for name in gone:
                swarm.processes[name].kill()
            swarm.processes[stopped].send_signal(signal.SIGSTOP)
            print(f"  killed {', '.join(gone)}; stopped {stopped} for {STOPPED} s")
            time.sleep(STOPPED)
            swarm.processes[stopped].send_signal(signal.SIGCONT)
        elif args.faults == "reset":
            ports = [p for n in ["provider", *viewers] for p in listening(swarm.processes[n])]
            for _ in range(2):
                reset_all(ports)
                print(f"  reset every connection to {len(ports)} nodes")
                time.sleep(4)
        if args.simulated:
            time.sleep(SETTLED)
            before, since = rhythms(swarm, viewers), time.monotonic()
        time.sleep(max(0.0, args.seconds - (time.monotonic() - began)))
        if args.simulated:
            after, span = rhythms(swarm, viewers), time.monotonic() - since
        swarm.processes["ffmpeg"].send_signal(signal.SIGTERM)
        swarm.processes["ffmpeg"].wait(10)
        # What was sent last has the play-out delay, and a stopped viewer its slip, to come out.
        time.sleep(3 if args.faults != "kill" else STOPPED + 4)
        tap.ended = True
        left = [name for name in viewers if name not in gone]
        late = swarm.stop([*left, "provider", "bootstrap"])
        if late:
            raise Failed(f"did not leave within 12 s of Ctrl-C: {', '.join(late)}")
        sent = bytes(tap.data)
        least = int(args.mbit * 1e6 / 8 * (args.seconds - 4))
        for name in left:
            if swarm.processes[name].returncode != 0:
                raise Failed(f"{name} ended with {swarm.processes[name].returncode}:\n{swarm.log(name)[-2000:]}")
            check(swarm, sent, name, least)
            if last(swarm, name, "blocks_lost") != 0:
                raise Failed(f"{name} counts {last(swarm, name, 'blocks_lost')} lost blocks")
        if args.simulated:
            compare(args, swarm, viewers, {kind: after[kind] - before[kind] for kind in RHYTHMS}, span)
        print(f"passed: {len(left)} viewers, {args.mbit} Mbit/s, {args.seconds} s, faults: {args.faults or 'none'}")
        shutil.rmtree(swarm.dir)
    except Failed as e:
        print(f"FAILED: {e}\n(the logs and files are in {swarm.dir})", file=sys.stderr)
        return 1
    finally:
        swarm.end()
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eddy")
    parser.add_argument("--mbit", type=float, default=1)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--viewers", type=int, default=8)
    parser.add_argument("--block", type=int, default=40)
    parser.add_argument("--faults", choices=["kill", "reset"])
    parser.add_argument("--runtimes", type=lambda names: names.split(","), default=["mio"])
    parser.add_argument("--simulated", type=os.path.abspath)
    args = parser.parse_args()
    args.eddy = os.path.abspath(args.eddy)
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
