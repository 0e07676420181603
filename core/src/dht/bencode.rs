//! Bencode (BEP 3), as strict as it can be without refusing what is in use:
//! numbers in one form only, no key twice, nothing behind the end. Keys may
//! come in any order, and leave sorted.

use alloc::vec::Vec;

/// How deep values may be nested.
const MAX_DEPTH: usize = 8;
/// How many values and keys there may be.
const MAX_ITEMS: usize = 512;
/// Characters of the longest number: that of `i64::MIN`.
const MAX_NUMBER: usize = 20;

/// A value; its strings are those of the datagram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Int(i64),
    Text(&'a [u8]),
    List(Vec<Self>),
    Dict(Dict<'a>),
}

/// A dictionary, in the order of its keys.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Dict<'a>(Vec<(&'a [u8], Value<'a>)>);

/// Reads the one value that these bytes are; `None` if they are none, or over
/// a limit.
pub(crate) fn decode(bytes: &[u8]) -> Option<Value<'_>> {
    let mut reader = Reader { rest: bytes, items: MAX_ITEMS };
    let value = reader.value(MAX_DEPTH)?;
    reader.rest.is_empty().then_some(value)
}

impl Value<'_> {
    /// Appends this value in its one form.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(n) => {
                out.push(b'i');
                if *n < 0 {
                    out.push(b'-');
                }
                digits(n.unsigned_abs(), out);
                out.push(b'e');
            }
            Self::Text(bytes) => text(bytes, out),
            Self::List(values) => {
                out.push(b'l');
                for value in values {
                    value.encode(out);
                }
                out.push(b'e');
            }
            Self::Dict(dict) => dict.encode(out),
        }
    }
}

impl<'a> Dict<'a> {
    /// Sets a key's value.
    pub(crate) fn put(&mut self, key: &'a [u8], value: Value<'a>) {
        match self.place(key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// A key's value.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        let at = self.place(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// A key's value, if it is an integer.
    pub(crate) fn int(&self, key: &[u8]) -> Option<i64> {
        match self.get(key)? {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// A key's value, if it is a string.
    pub(crate) fn text(&self, key: &[u8]) -> Option<&'a [u8]> {
        match self.get(key)? {
            Value::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A key's value, if it is a string of this length.
    pub(crate) fn array<const N: usize>(&self, key: &[u8]) -> Option<[u8; N]> {
        self.text(key)?.try_into().ok()
    }

    /// A key's value, if it is a list.
    pub(crate) fn list(&self, key: &[u8]) -> Option<&[Value<'a>]> {
        match self.get(key)? {
            Value::List(values) => Some(values),
            _ => None,
        }
    }

    /// A key's value, if it is a dictionary.
    pub(crate) fn dict(&self, key: &[u8]) -> Option<&Self> {
        match self.get(key)? {
            Value::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// Appends this dictionary in its one form.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(b'd');
        for (key, value) in &self.0 {
            text(key, out);
            value.encode(out);
        }
        out.push(b'e');
    }

    /// Where a key is, or where it belongs.
    fn place(&self, key: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (*other).cmp(key))
    }
}

/// What is still to be read.
struct Reader<'a> {
    rest: &'a [u8],
    /// How many more values and keys there may be.
    items: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        self.items = self.items.checked_sub(1)?;
        let (&kind, rest) = self.rest.split_first()?;
        match kind {
            b'0'..=b'9' => self.text().map(Value::Text),
            b'i' => {
                self.rest = rest;
                self.number(b'e').map(Value::Int)
            }
            b'l' => {
                self.rest = rest;
                self.list(depth.checked_sub(1)?).map(Value::List)
            }
            b'd' => {
                self.rest = rest;
                self.dict(depth.checked_sub(1)?).map(Value::Dict)
            }
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Value<'a>>> {
        let mut values = Vec::new();
        while !self.ends()? {
            values.push(self.value(depth)?);
        }
        Some(values)
    }

    fn dict(&mut self, depth: usize) -> Option<Dict<'a>> {
        let mut entries = Vec::new();
        while !self.ends()? {
            self.items = self.items.checked_sub(1)?;
            entries.push((self.text()?, self.value(depth)?));
        }
        entries.sort_by_key(|&(key, _)| key);
        let unique = entries.windows(2).all(|pair| pair[0].0 != pair[1].0);
        unique.then_some(Dict(entries))
    }

    /// Whether a list or dictionary ends here.
    fn ends(&mut self) -> Option<bool> {
        let (&first, rest) = self.rest.split_first()?;
        let ends = first == b'e';
        if ends {
            self.rest = rest;
        }
        Some(ends)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number(b':')?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(text)
    }

    /// A number and what ends it.
    fn number(&mut self, end: u8) -> Option<i64> {
        let length = self.rest.iter().take(MAX_NUMBER + 1).position(|&byte| byte == end)?;
        let (number, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest.get(1..)?;
        let (negative, digits) = match number {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        match digits {
            [] => return None,
            [b'0'] if negative => return None,
            [b'0', _, ..] => return None,
            _ => {}
        }
        digits.iter().try_fold(0_i64, |n, &byte| {
            let digit = i64::from(byte.checked_sub(b'0').filter(|&digit| digit < 10)?);
            let tens = n.checked_mul(10)?;
            if negative { tens.checked_sub(digit) } else { tens.checked_add(digit) }
        })
    }
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    digits(bytes.len() as u64, out);
    out.push(b':');
    out.extend_from_slice(bytes);
}

/// Appends a number in decimal digits.
fn digits(mut n: u64, out: &mut Vec<u8>) {
    let first = out.len();
    loop {
        out.push(b'0' + (n % 10) as u8);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out[first..].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::format;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    fn encoded(value: &Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out);
        out
    }

    /// A value that owns its strings.
    #[derive(Clone, Debug)]
    enum Any {
        Int(i64),
        Text(Vec<u8>),
        List(Vec<Self>),
        Dict(BTreeMap<Vec<u8>, Self>),
    }

    impl Any {
        fn make(g: &mut Gen, depth: usize) -> Self {
            let kinds: &[u8] = if depth == 0 { &[0, 1] } else { &[0, 1, 2, 3] };
            let length = usize::arbitrary(g) % 4;
            match g.choose(kinds) {
                Some(0) => {
                    let any = i64::arbitrary(g);
                    Self::Int(*g.choose(&[0, -1, i64::MIN, i64::MAX, any]).unwrap())
                }
                Some(1) => Self::Text(Vec::arbitrary(g)),
                Some(2) => Self::List((0..length).map(|_| Self::make(g, depth - 1)).collect()),
                _ => Self::Dict(
                    (0..length).map(|_| (Vec::arbitrary(g), Self::make(g, depth - 1))).collect(),
                ),
            }
        }

        fn value(&self) -> Value<'_> {
            match self {
                Self::Int(n) => Value::Int(*n),
                Self::Text(bytes) => Value::Text(bytes),
                Self::List(values) => Value::List(values.iter().map(Self::value).collect()),
                Self::Dict(entries) => {
                    let mut dict = Dict::default();
                    for (key, value) in entries.iter().rev() {
                        dict.put(key, value.value());
                    }
                    Value::Dict(dict)
                }
            }
        }
    }

    impl Arbitrary for Any {
        fn arbitrary(g: &mut Gen) -> Self {
            Self::make(g, 3)
        }
    }

    quickcheck! {
        fn a_value_is_read_as_it_was_written(any: Any) -> bool {
            decode(&encoded(&any.value())) == Some(any.value())
        }

        fn what_is_cut_short_or_has_something_behind_is_refused(any: Any, more: u8) -> bool {
            let mut bytes = encoded(&any.value());
            let whole = bytes.len();
            (0..whole).all(|length| decode(&bytes[..length]).is_none()) && {
                bytes.push(more);
                decode(&bytes).is_none()
            }
        }

        fn what_is_accepted_has_one_form(any: Any, at: usize, byte: u8) -> bool {
            let mut bytes = encoded(&any.value());
            let at = at % bytes.len();
            bytes[at] = byte;
            // A changed byte may bring keys out of order; written once, they are in order.
            decode(&bytes).is_none_or(|value| {
                let once = encoded(&value);
                once.len() == bytes.len() && decode(&once) == Some(value)
            })
        }

        fn any_bytes_are_refused_or_of_one_form(bytes: Vec<u8>) -> bool {
            decode(&bytes).is_none_or(|value| encoded(&value).len() == bytes.len())
        }
    }

    /// The packets that BEP 5 prints.
    #[test]
    fn bep_5s_packets_come_out_as_they_went_in() {
        for packet in [
            &b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"[..],
            b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
            b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
            b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re",
            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
            b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
            b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
            b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
        ] {
            assert_eq!(encoded(&decode(packet).unwrap()), packet);
        }
    }

    #[test]
    fn numbers_have_one_form() {
        for (good, n) in [
            ("i0e", 0),
            ("i-1e", -1),
            ("i10e", 10),
            ("i9223372036854775807e", i64::MAX),
            ("i-9223372036854775808e", i64::MIN),
        ] {
            assert_eq!(decode(good.as_bytes()), Some(Value::Int(n)));
        }
        for bad in [
            "ie",
            "i-e",
            "i-0e",
            "i01e",
            "i-01e",
            "i+1e",
            "i 1e",
            "i1 e",
            "i1.0e",
            "i1",
            "i",
            "i9223372036854775808e",
            "i-9223372036854775809e",
            "i99999999999999999999e",
            "01:a",
            "00:",
            "-1:a",
            "+1:a",
            "99999999999999999999:",
            "9223372036854775807:a",
            ":",
            "1:",
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn keys_may_come_in_any_order_but_not_twice() {
        let sorted = decode(b"d1:ai1e1:bi2e2:bai3ee").unwrap();
        assert_eq!(decode(b"d2:bai3e1:bi2e1:ai1ee"), Some(sorted));
        for bad in ["d1:a0:1:a0:e", "d1:b0:1:a0:1:b0:e", "di1e0:e", "d1:ae", "dle0:e", "d1:a"] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn nesting_and_number_of_values_are_bounded() {
        let nested = |n| format!("{}{}", "l".repeat(n), "e".repeat(n));
        assert!(decode(nested(8).as_bytes()).is_some());
        assert!(decode(nested(9).as_bytes()).is_none());
        assert!(decode("l".repeat(500).as_bytes()).is_none());
        let list = |n| format!("l{}e", "0:".repeat(n));
        assert!(decode(list(511).as_bytes()).is_some());
        assert!(decode(list(512).as_bytes()).is_none());
        let dict = |n| {
            format!(
                "d{}e",
                (0..n).map(|key| format!("3:{key:03}0:")).collect::<alloc::string::String>()
            )
        };
        assert!(decode(dict(255).as_bytes()).is_some());
        assert!(decode(dict(256).as_bytes()).is_none());
    }

    #[test]
    fn a_value_is_found_by_its_key_and_kind() {
        let Some(Value::Dict(dict)) = decode(b"d1:ai-7e1:d2:hi1:ll0:e1:mdee") else { panic!() };
        assert_eq!((dict.int(b"a"), dict.int(b"d"), dict.int(b"z")), (Some(-7), None, None));
        assert_eq!((dict.text(b"d"), dict.text(b"a")), (Some(&b"hi"[..]), None));
        assert_eq!((dict.array(b"d"), dict.array::<3>(b"d")), (Some(*b"hi"), None));
        assert_eq!((dict.list(b"l"), dict.list(b"m")), (Some(&[Value::Text(b"")][..]), None));
        assert_eq!((dict.dict(b"m"), dict.dict(b"l")), (Some(&Dict::default()), None));
    }
}
