//! Values as bytes. A number is a LEB128 varint, a struct its fields in order,
//! an enum its variant's number and that variant's fields.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use bytes::Bytes;

/// What bytes are that are no value: the end of "this is …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A value that can be written and read back.
pub(super) trait Coded: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(from: &mut Source) -> Result<Self, Malformed>;
}

/// Bytes to be read, from the front.
#[derive(Debug, Default)]
pub(super) struct Source(pub(super) Bytes);

impl Source {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.0.len() {
            return Err(Malformed("a value that is cut off"));
        }
        Ok(self.0.split_to(length))
    }
}

/// Integers that fit into 64 bits.
macro_rules! integers {
    ($($type:ident),+) => {$(
        impl Coded for $type {
            fn put(&self, out: &mut Vec<u8>) {
                (*self as u64).put(out);
            }

            fn take(from: &mut Source) -> Result<Self, Malformed> {
                u64::take(from)?.try_into().map_err(|_| Malformed("a number out of its range"))
            }
        }
    )+};
}

integers!(u8, u16, u32, usize);

impl Coded for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        let mut number = 0;
        for shift in (0..Self::BITS).step_by(7) {
            let [byte] = <[u8; 1]>::take(from)?;
            let bits = Self::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed("a number out of its range"))
    }
}

/// Small numbers of either sign are short.
impl Coded for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        ((self << 1) ^ (self >> 63)).cast_unsigned().put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        let zigzag = u64::take(from)?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }
}

impl Coded for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag that is neither 0 nor 1")),
        }
    }
}

impl<const N: usize> Coded for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(&from.bytes(N)?);
        Ok(array)
    }
}

impl Coded for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        out.extend_from_slice(self);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        let length = usize::take(from)?;
        from.bytes(length)
    }
}

impl Coded for String {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        Self::from_utf8(Bytes::take(from)?.into()).map_err(|_| Malformed("text that is not UTF-8"))
    }
}

impl<T: Coded> Coded for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<T: Coded> Coded for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|item| item.put(out));
    }

    /// Every item takes a byte at least, so a false length runs into the end.
    fn take(from: &mut Source) -> Result<Self, Malformed> {
        (0..usize::take(from)?).map(|_| T::take(from)).collect()
    }
}

impl<T: Coded> Coded for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        T::take(from).map(Self::new)
    }
}

impl<A: Coded, B: Coded> Coded for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl Coded for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_secs().put(out);
        self.subsec_nanos().put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        match (u64::take(from)?, u32::take(from)?) {
            (secs, nanos @ 0..1_000_000_000) => Ok(Self::new(secs, nanos)),
            _ => Err(Malformed("a duration with more than a second of nanoseconds")),
        }
    }
}

/// With the zone of a link-local address.
impl Coded for SocketAddr {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(addr) => {
                4_u8.put(out);
                addr.ip().octets().put(out);
            }
            Self::V6(addr) => {
                6_u8.put(out);
                addr.ip().octets().put(out);
                addr.flowinfo().put(out);
                addr.scope_id().put(out);
            }
        }
        self.port().put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        match u8::take(from)? {
            4 => Ok((<[u8; 4]>::take(from)?, u16::take(from)?).into()),
            6 => {
                let ip = Ipv6Addr::from(<[u8; 16]>::take(from)?);
                let (flowinfo, scope) = (u32::take(from)?, u32::take(from)?);
                Ok(SocketAddrV6::new(ip, u16::take(from)?, flowinfo, scope).into())
            }
            _ => Err(Malformed("an address that is neither IPv4 nor IPv6")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use quickcheck::QuickCheck;

    pub(in crate::record) fn written<T: Coded>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        value.put(&mut out);
        out
    }

    /// What is written reads back, whole, and every shorter piece is refused.
    pub(in crate::record) fn round_trips<T: Coded + PartialEq>(value: &T) -> bool {
        let all = Bytes::from(written(value));
        let mut source = Source(all.clone());
        T::take(&mut source).as_ref() == Ok(value)
            && source.is_empty()
            && (0..all.len()).all(|n| T::take(&mut Source(all.slice(..n))).is_err())
    }

    #[test]
    fn numbers_round_trip() {
        QuickCheck::new().quickcheck((|n| round_trips(&n)) as fn(u64) -> bool);
        QuickCheck::new().quickcheck((|n| round_trips(&n)) as fn(i64) -> bool);
        for edge in [0, 1, 0x7f, 0x80, u64::MAX] {
            assert!(round_trips(&edge) && round_trips(&edge.cast_signed()), "{edge}");
        }
        assert_eq!(written(&-1_i64), [1], "small numbers of either sign are short");
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let long = Bytes::from(written(&u64::MAX));
        assert!(Vec::<u64>::take(&mut Source(long.clone())).is_err());
        assert!(Bytes::take(&mut Source(long)).is_err());
        let over = [&[0xff; 9][..], &[2]].concat();
        assert!(u64::take(&mut Source(over.into())).is_err(), "over 64 bits");
        assert!(u8::take(&mut Source(written(&256_u64).into())).is_err());
        assert!(bool::take(&mut Source(vec![2].into())).is_err());
        let nanos = written(&(1_u64, 1_000_000_000_u32));
        assert!(Duration::take(&mut Source(nanos.into())).is_err());
    }
}
