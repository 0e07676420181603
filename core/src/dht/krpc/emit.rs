//! Packets to datagrams.

use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use super::parse::{NODE_V4, NODE_V6};
use super::{Answer, Body, MAX_NODES, MAX_SENT, MAX_TEXT, MAX_VALUES, Packet, Query, Want};
use crate::dht::address::put_compact;
use crate::dht::bencode::{Dict, Value};
use crate::dht::key::Contact;

/// The most bytes that a list adds to a datagram beside its items: its name,
/// and a length or its ends.
const LIST: usize = 12;

/// Writes a packet, its keys sorted. Of an answer that would be longer than
/// [`MAX_SENT`] the last values go, and if that is not enough the last nodes.
pub fn emit(packet: &Packet) -> Bytes {
    let mut top = Dict::default();
    top.put(b"t", Value::Text(&packet.t));
    if let Some(ns) = &packet.ns {
        top.put(b"ns", Value::Text(ns));
    }
    match &packet.body {
        Body::Query { id, read_only, query } => {
            top.put(b"y", Value::Text(b"q"));
            if *read_only {
                top.put(b"ro", Value::Int(1));
            }
            let mut a = Dict::default();
            a.put(b"id", Value::Text(&id.0));
            top.put(b"q", Value::Text(arguments(query, &mut a)));
            top.put(b"a", Value::Dict(a));
            written(&top)
        }
        Body::Answer { id, ip, answer } => {
            top.put(b"y", Value::Text(b"r"));
            let mut seen = Vec::new();
            if let Some(ip) = ip {
                put_compact(&mut seen, ip);
                top.put(b"ip", Value::Text(&seen));
            }
            let mut r = Dict::default();
            r.put(b"id", Value::Text(&id.0));
            put_fixed(answer, &mut r);
            let lists = Lists::fit(answer, room(&top, &r));
            lists.put(&mut r);
            top.put(b"r", Value::Dict(r));
            written(&top)
        }
        Body::Error { id, code, text } => {
            top.put(b"y", Value::Text(b"e"));
            let text = &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT)];
            top.put(b"e", Value::List([Value::Int(*code), Value::Text(text)].into()));
            if let Some(id) = id {
                let mut r = Dict::default();
                r.put(b"id", Value::Text(&id.0));
                top.put(b"r", Value::Dict(r));
            }
            written(&top)
        }
    }
}

fn written(top: &Dict<'_>) -> Bytes {
    let mut out = Vec::with_capacity(128);
    top.encode(&mut out);
    out.into()
}

/// Puts down a query's arguments and returns its method.
fn arguments<'a>(query: &'a Query, a: &mut Dict<'a>) -> &'static [u8] {
    match query {
        Query::Ping => b"ping",
        Query::FindNode { target, want } => {
            a.put(b"target", Value::Text(&target.0));
            put_want(*want, a);
            b"find_node"
        }
        Query::GetPeers { key, want, scrape, lives } => {
            a.put(b"info_hash", Value::Text(&key.0));
            put_want(*want, a);
            for (name, set) in [(&b"scrape"[..], *scrape), (b"x", *lives)] {
                if set {
                    a.put(name, Value::Int(1));
                }
            }
            b"get_peers"
        }
        Query::Announce { key, port, implied, token, exp } => {
            a.put(b"info_hash", Value::Text(&key.0));
            // Both always: some store nothing without the one, some nothing without the other.
            a.put(b"implied_port", Value::Int((*implied).into()));
            a.put(b"port", Value::Int((*port).into()));
            a.put(b"token", Value::Text(token));
            if let Some(exp) = exp {
                a.put(b"exp", Value::Int((*exp).into()));
            }
            b"announce_peer"
        }
        Query::Get { target, want } => {
            a.put(b"target", Value::Text(&target.0));
            put_want(*want, a);
            b"get"
        }
        Query::Put => b"put",
        Query::Unknown { target } => {
            if let Some(target) = target {
                a.put(b"target", Value::Text(&target.0));
            }
            b"unknown"
        }
    }
}

fn put_want(want: Want, a: &mut Dict<'_>) {
    let families = [(want.v4, &b"n4"[..]), (want.v6, b"n6")];
    let listed: Vec<_> = families
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, name)| Value::Text(name))
        .collect();
    if !listed.is_empty() {
        a.put(b"want", Value::List(listed));
    }
}

/// Puts down what an answer has but lists.
fn put_fixed<'a>(answer: &'a Answer, r: &mut Dict<'a>) {
    if let Some(token) = &answer.token {
        r.put(b"token", Value::Text(token));
    }
    if let Some([seeds, peers]) = answer.bloom.as_deref() {
        r.put(b"BFsd", Value::Text(&seeds.0));
        r.put(b"BFpe", Value::Text(&peers.0));
    }
}

/// How many bytes may be added to an answer.
fn room(top: &Dict<'_>, r: &Dict<'_>) -> usize {
    let mut so_far = Vec::with_capacity(MAX_SENT);
    top.encode(&mut so_far);
    so_far.extend_from_slice(b"1:r");
    r.encode(&mut so_far);
    MAX_SENT.saturating_sub(so_far.len())
}

/// What an answer lists, in compact form.
struct Lists<'a> {
    nodes: Vec<u8>,
    nodes6: Vec<u8>,
    values: Option<Vec<Vec<u8>>>,
    lives: &'a [u8],
}

impl<'a> Lists<'a> {
    /// As many nodes, then values, as there is room for: values beyond that
    /// are a sample anyway, but nodes lead on.
    fn fit(answer: &'a Answer, mut room: usize) -> Self {
        // Values are listed even if none is there.
        room = room.saturating_sub(LIST);
        let nodes = compact_nodes(&answer.nodes, NODE_V4, SocketAddr::is_ipv4, &mut room);
        let nodes6 = compact_nodes(&answer.nodes6, NODE_V6, SocketAddr::is_ipv6, &mut room);
        let all = answer.values.as_deref().unwrap_or_default();
        let with_lives = answer.lives.len() == all.len();
        let values = compact_values(all, with_lives, room);
        let lives = if with_lives { answer.lives.get(..values.len()) } else { None };
        let values = answer.values.is_some().then_some(values);
        Self { nodes, nodes6, values, lives: lives.unwrap_or_default() }
    }

    fn put<'b>(&'b self, r: &mut Dict<'b>) {
        for (name, bytes) in
            [(&b"nodes"[..], &self.nodes[..]), (b"nodes6", &self.nodes6), (b"x", self.lives)]
        {
            if !bytes.is_empty() {
                r.put(name, Value::Text(bytes));
            }
        }
        if let Some(values) = &self.values {
            let listed = values.iter().map(|value| Value::Text(value)).collect();
            r.put(b"values", Value::List(listed));
        }
    }
}

/// The first nodes of a family, in compact form, as many as fit.
fn compact_nodes(
    contacts: &[Contact],
    record: usize,
    family: impl Fn(&SocketAddr) -> bool,
    room: &mut usize,
) -> Vec<u8> {
    let most = room.saturating_sub(LIST) / record;
    let mut out = Vec::new();
    let fitting = contacts.iter().filter(|contact| family(&contact.addr));
    for contact in fitting.take(most.min(MAX_NODES)) {
        out.extend_from_slice(&contact.id.0);
        put_compact(&mut out, &contact.addr);
    }
    if !out.is_empty() {
        *room = room.saturating_sub(LIST + out.len());
    }
    out
}

/// The first values in compact form, as many as fit.
fn compact_values(all: &[SocketAddr], with_lives: bool, room: usize) -> Vec<Vec<u8>> {
    let mut room = if with_lives { room.saturating_sub(LIST) } else { room };
    let mut values = Vec::new();
    for value in all.iter().take(MAX_VALUES) {
        let mut compact = Vec::with_capacity(18);
        put_compact(&mut compact, value);
        // Its length, a colon, itself, and a byte for its life.
        let cost = compact.len() + if value.is_ipv4() { 2 } else { 3 } + usize::from(with_lives);
        let Some(left) = room.checked_sub(cost) else { break };
        room = left;
        values.push(compact);
    }
    values
}
