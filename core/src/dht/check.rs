//! What must hold of the DHT's datagrams for any bytes at all: the body of a
//! fuzz target.

use crate::dht::krpc::{Body, MAX_SENT, Packet, Refused, emit, parse};

/// Fuzz target: a datagram. Whatever it is, it is refused, with no more owed
/// than it is long itself, or a packet that means the same once it was sent on.
///
/// # Panics
/// If that does not hold.
pub fn krpc(datagram: &[u8]) {
    match parsed(datagram) {
        Ok(packet) => {
            let sent = emit(&packet);
            assert!(sent.len() <= MAX_SENT, "{} bytes of {packet:?}", sent.len());
            let again = parse(&sent).expect("what is sent is never refused");
            // A list that was too long was cut, once and for all.
            assert_eq!(emit(&again), sent);
        }
        Err(Refused::Answer { t, ns, code, text }) => {
            let body = Body::Error { id: None, code, text: text.into() };
            assert!(emit(&Packet { t, ns, body }).len() <= datagram.len());
        }
        Err(Refused::Drop) => {}
    }
}

#[cfg(not(test))]
fn parsed(datagram: &[u8]) -> Result<Packet, Refused> {
    parse(datagram)
}

/// Parses where allocations are counted.
#[cfg(test)]
fn parsed(datagram: &[u8]) -> Result<Packet, Refused> {
    let mut parsed = Err(Refused::Drop);
    let allocated = allocation_counter::measure(|| parsed = parse(datagram));
    // An empty list, two bytes, is a value of 32 bytes in a list that grows by doubling.
    let most = 2_000 + 80 * datagram.len() as u64;
    assert!(allocated.bytes_max <= most, "{allocated:?} for {} bytes", datagram.len());
    parsed
}
