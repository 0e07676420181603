//! Datagrams to packets. What the network sends is bounded here, before any of
//! it is kept: see the limits in the [parent](super).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::emit::emit;
use super::{
    Answer, Body, MAX_NODES, MAX_RECEIVED, MAX_TEXT, MAX_TOKEN, MAX_TX, MAX_VALUES, PROTOCOL_ERROR,
    Packet, Query, Refused, Tx, Want,
};
use crate::dht::address::compact;
use crate::dht::bencode::{Dict, Value, decode};
use crate::dht::bloom::Bloom;
use crate::dht::key::{Contact, Key};

/// Bytes of a compact node: its id, an IPv4 address, a port (BEP 5).
pub(super) const NODE_V4: usize = 26;
/// Bytes of a compact node with an IPv6 address (BEP 32).
pub(super) const NODE_V6: usize = 38;

/// Reads a datagram.
///
/// # Errors
/// [`Refused`], which says whether an error is owed to the sender.
pub fn parse(datagram: &[u8]) -> Result<Packet, Refused> {
    if datagram.len() > MAX_RECEIVED {
        return Err(Refused::Drop);
    }
    let Some(Value::Dict(top)) = decode(datagram) else { return Err(Refused::Drop) };
    let t = top.text(b"t").filter(|t| t.len() <= MAX_TX).ok_or(Refused::Drop)?;
    let (t, ns) = (Tx::from_slice(t), top.array(b"ns"));
    let body = match top.text(b"y") {
        Some(b"q") => match query(&top) {
            Ok(body) => body,
            Err(wrong) => return Err(refusal(t, ns, wrong, datagram.len())),
        },
        Some(b"r") => answer(&top).ok_or(Refused::Drop)?,
        Some(b"e") => error(&top).ok_or(Refused::Drop)?,
        _ => return Err(Refused::Drop),
    };
    Ok(Packet { t, ns, body })
}

/// A query, or the name of what is wrong about it.
fn query(top: &Dict<'_>) -> Result<Body, &'static str> {
    let method = top.text(b"q").ok_or("q")?;
    let a = top.dict(b"a").ok_or("a")?;
    let id = key(a, b"id").ok_or("id")?;
    let query = match method {
        b"ping" => Query::Ping,
        b"find_node" => {
            Query::FindNode { target: key(a, b"target").ok_or("target")?, want: want(a) }
        }
        b"get_peers" => Query::GetPeers {
            key: key(a, b"info_hash").ok_or("info_hash")?,
            want: want(a),
            scrape: a.int(b"scrape") == Some(1),
            lives: a.int(b"x") == Some(1),
        },
        b"announce_peer" => announce(a)?,
        b"get" => Query::Get { target: key(a, b"target").ok_or("target")?, want: want(a) },
        b"put" => Query::Put,
        _ => Query::Unknown { target: key(a, b"target").or_else(|| key(a, b"info_hash")) },
    };
    Ok(Body::Query { id, read_only: top.int(b"ro") == Some(1), query })
}

fn announce(a: &Dict<'_>) -> Result<Query, &'static str> {
    let key = key(a, b"info_hash").ok_or("info_hash")?;
    let implied = a.int(b"implied_port").is_some_and(|implied| implied != 0);
    let port = a.int(b"port").and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    if port == 0 && !implied {
        return Err("port");
    }
    let token = token(a).ok_or("token")?;
    // More than fits means as long as may be; less than nothing means nothing.
    let exp = a.int(b"exp").filter(|&exp| exp >= 0);
    let exp = exp.map(|exp| u16::try_from(exp).unwrap_or(u16::MAX));
    Ok(Query::Announce { key, port, implied, token, exp })
}

fn answer(top: &Dict<'_>) -> Option<Body> {
    let r = top.dict(b"r")?;
    let id = key(r, b"id")?;
    let listed = r.list(b"values");
    let values: Option<Vec<_>> = listed.map(|listed| {
        let compact = listed.iter().filter_map(|value| match value {
            Value::Text(bytes) => compact(bytes),
            _ => None,
        });
        compact.take(MAX_VALUES).collect()
    });
    // Which life belongs to which value is known only if none was left out.
    let length = values.as_ref().map_or(0, Vec::len);
    let lives = r.text(b"x").filter(|lives| {
        lives.len() == length && listed.is_some_and(|listed| listed.len() == length)
    });
    let answer = Answer {
        token: token(r),
        values,
        lives: lives.unwrap_or_default().to_vec(),
        nodes: nodes(r, b"nodes", NODE_V4),
        nodes6: nodes(r, b"nodes6", NODE_V6),
        bloom: bloom(r),
    };
    Some(Body::Answer { id, ip: top.text(b"ip").and_then(compact), answer })
}

fn error(top: &Dict<'_>) -> Option<Body> {
    let (code, text) = match top.list(b"e")? {
        [Value::Int(code), Value::Text(text), ..] => (*code, *text),
        [Value::Int(code), ..] => (*code, &b""[..]),
        _ => return None,
    };
    let mut text = String::from_utf8_lossy(text.get(..MAX_TEXT).unwrap_or(text)).into_owned();
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    Some(Body::Error { id: top.dict(b"r").and_then(|r| key(r, b"id")), code, text })
}

fn key(dict: &Dict<'_>, name: &[u8]) -> Option<Key> {
    dict.array(name).map(Key)
}

fn token(dict: &Dict<'_>) -> Option<Bytes> {
    dict.text(b"token").filter(|token| token.len() <= MAX_TOKEN).map(Bytes::copy_from_slice)
}

fn want(a: &Dict<'_>) -> Want {
    let listed = a.list(b"want").unwrap_or_default();
    Want { v4: listed.contains(&Value::Text(b"n4")), v6: listed.contains(&Value::Text(b"n6")) }
}

/// The whole records of a list of compact nodes.
fn nodes(r: &Dict<'_>, name: &[u8], record: usize) -> Vec<Contact> {
    let records = r.text(name).unwrap_or_default().chunks_exact(record).take(MAX_NODES);
    let contacts = records.filter_map(|record| {
        let (id, addr) = record.split_first_chunk()?;
        Some(Contact { id: Key(*id), addr: compact(addr)? })
    });
    contacts.collect()
}

fn bloom(r: &Dict<'_>) -> Option<Box<[Bloom; 2]>> {
    Some(Box::new([Bloom(r.array(b"BFsd")?), Bloom(r.array(b"BFpe")?)]))
}

/// The error that a bad query is owed, in words only if it was long enough
/// itself: nobody shall have more sent to another than he sends.
fn refusal(t: Tx, ns: Option<[u8; 8]>, wrong: &'static str, most: usize) -> Refused {
    let code = PROTOCOL_ERROR;
    let fits = |text: &str| {
        let body = Body::Error { id: None, code, text: text.into() };
        emit(&Packet { t: t.clone(), ns, body }).len() <= most
    };
    match [wrong, ""].into_iter().find(|text| fits(text)) {
        Some(text) => Refused::Answer { t, ns, code, text },
        None => Refused::Drop,
    }
}
