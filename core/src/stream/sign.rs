//! Signatures: who made a block, and that nobody changed it since.
//!
//! Ed25519 (RFC 8032, strict verification) over a domain tag, the channel id,
//! the block duration, the sequence number and the BLAKE3 digest of the
//! payload. The digest stands for the payload so that a large block costs one
//! fast hash and not SHA-512.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::id::{ChannelId, Seq, hex};
use crate::stream::channel::Channel;
use crate::time::micros;

/// Length of a signature on the wire.
pub const SIGNATURE_LEN: usize = 64;

/// An Ed25519 public key, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_LEN]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0[..4])
    }
}

impl fmt::Display for PublicKey {
    /// All 32 bytes in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl core::str::FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(s: &str) -> Result<Self, KeyError> {
        let mut key = [0; 32];
        if s.len() != 64 || !s.is_ascii() {
            return Err(KeyError);
        }
        for (byte, pair) in key.iter_mut().zip(s.as_bytes().chunks_exact(2)) {
            let pair = core::str::from_utf8(pair).map_err(|_| KeyError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| KeyError)?;
        }
        VerifyingKey::from_bytes(&key).map_err(|_| KeyError)?;
        Ok(Self(key))
    }
}

/// The text is not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a public key is 64 hexadecimal digits that stand for a point of Ed25519")
    }
}

impl core::error::Error for KeyError {}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0[..4])
    }
}

const BLOCK_TAG: &[u8; 16] = b"eddy block v1\0\0\0";
const REGISTRATION_TAG: &[u8] = b"eddy registration v1";

fn block_message(id: &ChannelId, block_us: u64, seq: Seq, payload: &[u8]) -> [u8; 96] {
    let mut m = [0; 96];
    m[..16].copy_from_slice(BLOCK_TAG);
    m[16..48].copy_from_slice(&id.0);
    m[48..56].copy_from_slice(&block_us.to_be_bytes());
    m[56..64].copy_from_slice(&seq.0.to_be_bytes());
    m[64..].copy_from_slice(blake3::hash(payload).as_bytes());
    m
}

fn registration_message(channel: &Channel, nonce: u64) -> blake3::Hash {
    let mut h = blake3::Hasher::new();
    h.update(REGISTRATION_TAG);
    h.update(&nonce.to_be_bytes());
    h.update(&channel.id().0);
    h.update(&micros(channel.block()).to_be_bytes());
    h.update(&[channel.sub_streams()]);
    h.update(&channel.file().as_secs().to_be_bytes());
    let provider = channel.provider().as_str().as_bytes();
    h.update(&[provider.len() as u8]);
    h.update(provider);
    h.update(channel.description().as_bytes());
    h.finalize()
}

/// What a provider signs with.
pub struct Signer(Signing);

#[cfg_attr(
    feature = "ghost",
    expect(
        clippy::large_enum_variant,
        reason = "one signer a provider, and the ghost is for tests"
    )
)]
enum Signing {
    Ed25519(SigningKey),
    #[cfg(feature = "ghost")]
    Ghost,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?})", self.public())
    }
}

impl Signer {
    /// A signer from a 32-byte secret.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(Signing::Ed25519(SigningKey::from_bytes(secret)))
    }

    /// A signer whose signatures only the ghost verifier takes.
    #[cfg(feature = "ghost")]
    pub fn ghost() -> Self {
        Self(Signing::Ghost)
    }

    /// The public key that goes with it.
    pub fn public(&self) -> PublicKey {
        match &self.0 {
            Signing::Ed25519(key) => PublicKey(key.verifying_key().to_bytes()),
            #[cfg(feature = "ghost")]
            Signing::Ghost => PublicKey([0; 32]),
        }
    }

    /// Signs a block of a channel.
    pub fn sign_block(&self, id: &ChannelId, block_us: u64, seq: Seq, payload: &[u8]) -> Signature {
        match &self.0 {
            Signing::Ed25519(key) => {
                Signature(key.sign(&block_message(id, block_us, seq, payload)).to_bytes())
            }
            #[cfg(feature = "ghost")]
            Signing::Ghost => Signature([0; SIGNATURE_LEN]),
        }
    }

    /// Signs a registration over the server's nonce.
    pub fn sign_registration(&self, channel: &Channel, nonce: u64) -> Signature {
        match &self.0 {
            Signing::Ed25519(key) => {
                let hash = registration_message(channel, nonce);
                Signature(key.sign(hash.as_bytes()).to_bytes())
            }
            #[cfg(feature = "ghost")]
            Signing::Ghost => Signature([0; SIGNATURE_LEN]),
        }
    }
}

/// What a node checks blocks with, fixed when the node is made. Nodes that
/// talk over sockets use Ed25519; the ghost, which reads a flag, exists for
/// simulation and benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Verifier(Verifying);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Verifying {
    #[default]
    Ed25519,
    #[cfg(feature = "ghost")]
    Ghost,
}

impl Verifier {
    /// Checks Ed25519 signatures.
    pub const fn ed25519() -> Self {
        Self(Verifying::Ed25519)
    }

    /// Takes every signature that starts with a zero byte.
    #[cfg(feature = "ghost")]
    pub const fn ghost() -> Self {
        Self(Verifying::Ghost)
    }

    /// Prepares to check one channel's blocks.
    pub fn for_channel(self, channel: &Channel) -> ChannelVerifier {
        ChannelVerifier {
            verifying: self.0,
            key: VerifyingKey::from_bytes(&channel.key().0).ok(),
            id: channel.id(),
            block_us: micros(channel.block()),
        }
    }

    /// Checks a registration over the nonce that was given out.
    pub fn registration(self, channel: &Channel, nonce: u64, signature: &Signature) -> bool {
        match self.0 {
            Verifying::Ed25519 => {
                let hash = registration_message(channel, nonce);
                verify_strict(&channel.key(), hash.as_bytes(), signature)
            }
            #[cfg(feature = "ghost")]
            Verifying::Ghost => signature.0[0] == 0,
        }
    }
}

/// Checks one channel's blocks; keeps the key unpacked between them.
#[derive(Clone, Debug)]
pub struct ChannelVerifier {
    verifying: Verifying,
    key: Option<VerifyingKey>,
    id: ChannelId,
    block_us: u64,
}

impl ChannelVerifier {
    /// Whether the channel's provider signed this payload for this slot.
    pub fn block(&self, seq: Seq, payload: &[u8], signature: &Signature) -> bool {
        match self.verifying {
            Verifying::Ed25519 => {
                let Some(key) = &self.key else { return false };
                let message = block_message(&self.id, self.block_us, seq, payload);
                key.verify_strict(&message, &ed25519_dalek::Signature::from_bytes(&signature.0))
                    .is_ok()
            }
            #[cfg(feature = "ghost")]
            Verifying::Ghost => signature.0[0] == 0,
        }
    }
}

fn verify_strict(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| {
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::channel::tests_support::channel;
    use alloc::string::ToString;

    #[test]
    fn a_changed_bit_anywhere_breaks_the_signature() {
        let signer = Signer::from_secret(&[3; 32]);
        let c = channel(signer.public());
        let v = Verifier::ed25519().for_channel(&c);
        let us = micros(c.block());
        let s = signer.sign_block(&c.id(), us, Seq(9), b"payload");
        assert!(v.block(Seq(9), b"payload", &s));
        assert!(!v.block(Seq(8), b"payload", &s));
        assert!(!v.block(Seq(9), b"paylord", &s));
        assert!(!v.block(Seq(9), b"", &s));
        for byte in [0, 31, 32, 63] {
            let mut bad = s;
            bad.0[byte] ^= 1;
            assert!(!v.block(Seq(9), b"payload", &bad));
        }
        let other = Signer::from_secret(&[4; 32]).sign_block(&c.id(), us, Seq(9), b"payload");
        assert!(!v.block(Seq(9), b"payload", &other));
    }

    #[test]
    fn a_registration_holds_for_one_nonce() {
        let signer = Signer::from_secret(&[3; 32]);
        let c = channel(signer.public());
        let s = signer.sign_registration(&c, 77);
        assert!(Verifier::ed25519().registration(&c, 77, &s));
        assert!(!Verifier::ed25519().registration(&c, 78, &s));
    }

    #[test]
    fn keys_read_what_they_print() {
        let key = Signer::from_secret(&[3; 32]).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("zz".parse::<PublicKey>(), Err(KeyError));
        assert_eq!("é".repeat(32).parse::<PublicKey>(), Err(KeyError));
    }
}
