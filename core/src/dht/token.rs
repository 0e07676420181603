//! Proof that a host receives what is sent to its address: who announces shows
//! what a query of its own was answered (BEP 5).

use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;

use crate::dht::key::Key;
use crate::rng::Rng;
use crate::time::{Time, micros};

/// How long the same token is given out; it is taken for as long again.
const PERIOD: Duration = Duration::from_secs(5 * 60);
/// Bytes of a token.
const LENGTH: usize = 8;

/// What our tokens are made from. A token is a keyed hash of the time, the host
/// and the record's key: valid 5 to 10 minutes, and no help in guessing another.
/// None is remembered. The asking node's id has no part in it: some announce
/// under another id than they asked under.
#[derive(Clone)]
pub struct Tokens {
    secret: [u8; 32],
    start: Time,
}

impl Tokens {
    /// Tokens from a fresh secret.
    pub fn new(rng: &mut Rng, now: Time) -> Self {
        let mut secret = [0; 32];
        for part in secret.chunks_exact_mut(8) {
            part.copy_from_slice(&rng.next_u64().to_le_bytes());
        }
        Self { secret, start: now }
    }

    /// A token for a host that may announce under this key.
    pub fn issue(&self, now: Time, ip: IpAddr, key: Key) -> Bytes {
        Bytes::copy_from_slice(&self.token(self.period(now), ip, key))
    }

    /// Whether this host was given this token for this key a short time ago.
    pub fn check(&self, now: Time, ip: IpAddr, key: Key, token: &[u8]) -> bool {
        let period = self.period(now);
        [Some(period), period.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|period| self.token(period, ip, key) == token)
    }

    fn period(&self, now: Time) -> u64 {
        micros(now.since(self.start)) / micros(PERIOD)
    }

    fn token(&self, period: u64, ip: IpAddr, key: Key) -> [u8; LENGTH] {
        let mut hash = blake3::Hasher::new_keyed(&self.secret);
        hash.update(&period.to_le_bytes()).update(&key.0);
        match ip.to_canonical() {
            IpAddr::V4(ip) => hash.update(&ip.octets()),
            IpAddr::V6(ip) => hash.update(&ip.octets()),
        };
        let mut token = [0; LENGTH];
        hash.finalize_xof().fill(&mut token);
        token
    }
}

impl core::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use core::net::Ipv4Addr;
    use quickcheck::quickcheck;

    const START: Time = Time::from_secs(1_700_000_000);

    fn tokens(seed: u8) -> Tokens {
        Tokens::new(&mut Rng::new([seed; 32]), START)
    }

    quickcheck! {
        fn a_token_is_valid_for_its_host_and_key_only(ip: IpAddr, key: Key, other_ip: IpAddr, other: Key) -> bool {
            let tokens = tokens(1);
            let token = tokens.issue(START, ip, key);
            token.len() == LENGTH
                && tokens.check(START, ip, key, &token)
                && (other_ip.to_canonical() == ip.to_canonical()) == tokens.check(START, other_ip, key, &token)
                && (other == key) == tokens.check(START, ip, other, &token)
        }

        fn a_token_is_valid_for_five_to_ten_minutes(ip: IpAddr, key: Key, issued: u16, later: u16) -> bool {
            let tokens = tokens(2);
            let issued = START + Duration::from_secs(issued.into());
            let later = Duration::from_secs(u64::from(later) % 900);
            let valid = tokens.check(issued + later, ip, key, &tokens.issue(issued, ip, key));
            match later.as_secs() {
                0..=300 => valid,
                600.. => !valid,
                _ => true,
            }
        }

        fn other_bytes_are_no_token(ip: IpAddr, key: Key, bytes: Vec<u8>, at: usize, with: u8) -> bool {
            let tokens = tokens(3);
            let mut token = tokens.issue(START, ip, key).to_vec();
            token[at % LENGTH] ^= with.max(1);
            !tokens.check(START, ip, key, &token)
                && !tokens.check(START, ip, key, &bytes)
                && !tokens.check(START, ip, key, &tokens.issue(START, ip, key)[..LENGTH - 1])
        }
    }

    #[test]
    fn another_node_gives_other_tokens() {
        let ip = Ipv4Addr::LOCALHOST.into();
        assert_ne!(
            tokens(1).issue(START, ip, Key::default()),
            tokens(2).issue(START, ip, Key::default())
        );
    }

    /// A checksum would give tokens whose differences are those of the
    /// addresses: then one's own token is the key to all others.
    #[test]
    fn tokens_tell_nothing_of_other_tokens() {
        let tokens = tokens(4);
        let token = |n: u32| {
            let token = tokens.issue(START, Ipv4Addr::from(n).into(), Key::default());
            u64::from_be_bytes((*token).try_into().unwrap())
        };
        let differences: BTreeSet<u64> = (0..64).map(|n| token(2 * n) ^ token(2 * n + 1)).collect();
        assert_eq!(differences.len(), 64);
    }
}
