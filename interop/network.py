#!/usr/bin/env python3
"""Our DHT nodes among those of libtorrent and of the npm package bittorrent-dht, on loopback.

A node of each make announces a key. Then a new node of each make, which stores nothing, looks
up all keys: by way of ours, or if it is ours by way of the others. Prints what was found by
whom, and how soon; fails unless everybody found everything and ours stored everything. Needs
the Python package libtorrent, and a folder with node.mjs and its packages.

No other node is ever asked: each is told whom to begin with, and stands on 127.0.0.1.
"""

import argparse
import hashlib
import json
import queue
import socket
import subprocess
import sys
import threading
import time

import libtorrent

# How many nodes of each make.
MAKES = {"libtorrent": 3, "npm": 2, "eddy": 2}
# Seconds that anything may take. libtorrent waits 15 s for one node that is silent.
LIMIT = 30

# What libtorrent needs to keep to itself, and not to take nodes that share an address for an attack.
LIBTORRENT = {
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_prefer_verified_node_ids": False,
    "dht_block_ratelimit": 100_000,
    "dht_upload_rate_limit": 10_000_000,
    "alert_mask": libtorrent.alert.category_t.dht_operation_notification,
}


class Libtorrent:
    """A node of libtorrent, in this process."""

    def __init__(self, port, others):
        self.port = port
        self.session = libtorrent.session(
            LIBTORRENT
            | {"listen_interfaces": f"127.0.0.1:{port}", "dht_bootstrap_nodes": ",".join(others)}
        )

    def meet(self, port):
        # By itself it looks at one node of which it heard every 5 s.
        self.session.add_dht_node(("127.0.0.1", port))

    def announce(self, key, port):
        self.session.dht_announce(libtorrent.sha1_hash(bytes.fromhex(key)), port, 0)

    def look_up(self, key):
        self.session.pop_alerts()
        self.session.dht_get_peers(libtorrent.sha1_hash(bytes.fromhex(key)))
        found, until = set(), time.monotonic() + 2
        while not found and time.monotonic() < until:
            time.sleep(0.01)
            for alert in self.session.pop_alerts():
                if isinstance(alert, libtorrent.dht_get_peers_reply_alert):
                    if str(alert.info_hash) == key:
                        found |= {f"{ip}:{port}" for ip, port in alert.peers()}
        return found

    def stop(self):
        self.session.pause()


class Process:
    """A node that is used a JSON object a line."""

    def __init__(self, port, command):
        self.port = port
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.said = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()
        self.hear("ready")

    def listen(self):
        for line in self.child.stdout:
            self.said.put(json.loads(line))

    def hear(self, event):
        until = time.monotonic() + LIMIT
        while True:
            said = self.said.get(timeout=max(0.0, until - time.monotonic()))
            if said["ev"] == event:
                return said

    def ask(self, event, **op):
        self.child.stdin.write(json.dumps(op) + "\n")
        return self.hear(event)

    def meet(self, port):
        pass

    def announce(self, key, port):
        assert self.ask("announced", op="announce", ih=key, port=port)["ok"]

    def look_up(self, key):
        return set(self.ask("peers", op="get_peers", ih=key)["peers"])

    def nodes(self):
        return self.ask("info", op="info")["nodes"]

    def records(self):
        return self.ask("info", op="info")["records"]

    def stop(self):
        try:
            self.child.stdin.close()
            self.child.wait(3)
        except (OSError, subprocess.TimeoutExpired):
            self.child.kill()


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return udp.getsockname()[1]


def start(make, others, options):
    port = free_port()
    if make == "libtorrent":
        return Libtorrent(port, others)
    if make == "npm":
        return Process(port, ["node", f"{options.npm}/node.mjs", "127.0.0.1", str(port), ",".join(others)])
    listen = ["--listen", f"127.0.0.1:{port}", "--bootstrap", ",".join(others)]
    return Process(port, [options.eddy, "dht", "--json", "--network", "public", *listen])


def seconds_until(holds):
    """How long it took; None if it never came true."""
    began = time.monotonic()
    while time.monotonic() < began + LIMIT:
        if holds():
            return time.monotonic() - began
        time.sleep(0.1)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--eddy", required=True, help="the program eddy")
    parser.add_argument("--npm", required=True, help="a folder with node.mjs and node_modules")
    options = parser.parse_args()
    nodes, failures = [], 0

    def add(make, others):
        nodes.append(start(make, [f"127.0.0.1:{node.port}" for node in others], options))
        return nodes[-1]

    try:
        groups = {}
        for make, count in MAKES.items():
            groups[make] = [add(make, nodes[:3]) for _ in range(count)]
        for node in groups["libtorrent"]:
            for other in nodes:
                node.meet(other.port)
        ours = groups["eddy"]
        if seconds_until(lambda: all(node.nodes() >= 2 for node in ours)) is None:
            print("ours found hardly anybody")
            failures += 1

        rows = {}
        for number, (make, group) in enumerate(groups.items()):
            key = hashlib.sha1(f"announced by {make}".encode()).hexdigest()
            port = 40_000 + number
            group[0].announce(key, port)
            stored = seconds_until(lambda: all(node.records() > number for node in ours))
            rows[make] = key, f"127.0.0.1:{port}", [stored]
        for make in MAKES:
            reader = add(make, ours if make != "eddy" else groups["npm"])
            for key, record, times in rows.values():
                times.append(seconds_until(lambda: record in reader.look_up(key)))

        heads = ["announced by", "stored by ours", *(f"found by {make}" for make in MAKES)]
        print("".join(f"{head:21}" for head in heads).rstrip())
        for make, (_, _, times) in rows.items():
            failures += times.count(None)
            shown = ["never" if taken is None else f"after {taken:.2f} s" for taken in times]
            print("".join(f"{text:21}" for text in [make, *shown]).rstrip())
    finally:
        for node in nodes:
            node.stop()
    print("everybody found everything" if failures == 0 else f"{failures} failures")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
