//! Numbers with units and other small words, as the command line and the
//! configuration file spell them. Both go through the same `FromStr`.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use eddy_core::config::PlayoutDelay;
use eddy_core::stream::channel::{MAX_BLOCK, MAX_SUB_STREAMS, MIN_BLOCK};
use serde::Deserializer;
use serde::de::{Error as _, MapAccess, Visitor};

/// A rate, in bits per second: `500k`, `2M`, `1.5Mbit`, `800000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

/// A rate in Mbit/s where no suffix is given: `4`, `0.5`, `500k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mbit(pub Rate);

/// A cap on a rate: a [`Rate`], or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// No cap.
    Unlimited,
    /// At most this.
    At(Rate),
}

/// A block duration D in milliseconds, `40` or `40ms`: 20 to 1,000, and a
/// divisor of 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(pub Duration);

/// Seconds, with or without a fraction: `15`, `1.5` or `15s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

/// A play-out delay: `auto`, milliseconds, or `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Playout(pub PlayoutDelay);

/// How many: a whole number from 1 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

/// How many, or none: a whole number from 0 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountOrNone(pub u32);

/// The length of a file F in whole seconds, `10` or `10s`: 1 to 20, for a node
/// has to remember all of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLength(pub Duration);

/// Bytes: `2GB`, `500MB`, `1.5GiB` or a bare number, at least 1 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Sub-streams S: a whole number from 1 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubStreams(pub u8);

/// The text is not what the option takes; the message says what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitError(&'static str);

impl UnitError {
    /// What the option takes.
    pub(crate) const fn new(what: &'static str) -> Self {
        Self(what)
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UnitError {}

impl Rate {
    /// A rate from bits per second.
    pub const fn from_bits(bits_per_second: u64) -> Self {
        Self(bits_per_second)
    }

    /// Bits per second.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whole bytes per second.
    pub const fn bytes(self) -> u64 {
        self.0 / 8
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        let fault = UnitError(
            "a rate is a number of bits per second, at least 1k, with k, M or G if you like: \
             500k, 2M, 1.5Mbit (2 MB/s is 16M)",
        );
        let unit = s.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(s.len());
        let (number, unit) = s.split_at(unit);
        let unit =
            ["bit/s", "bps", "bit"].iter().find_map(|x| unit.strip_suffix(x)).unwrap_or(unit);
        let factor = match unit {
            "" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            _ => return Err(fault),
        };
        let bits = number.parse::<f64>().map_err(|_| fault)? * factor;
        if (1e3..=1e15).contains(&bits) { Ok(Self(bits.round() as u64)) } else { Err(fault) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bits if bits % 1_000_000 == 0 => write!(f, "{}M", bits / 1_000_000),
            bits if bits % 1_000 == 0 => write!(f, "{}k", bits / 1_000),
            bits => write!(f, "{bits}"),
        }
    }
}

impl FromStr for Mbit {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        let bare = !s.is_empty() && s.bytes().all(|b| b == b'.' || b.is_ascii_digit());
        let rate = if bare { format!("{s}M").parse() } else { s.parse() };
        rate.map(Self)
    }
}

impl FromStr for Cap {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        if s == "unlimited" { Ok(Self::Unlimited) } else { s.parse().map(Self::At) }
    }
}

impl FromStr for Block {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        match millis(s) {
            Some(d) if (MIN_BLOCK..=MAX_BLOCK).contains(&d) && 1_000 % d.as_millis() == 0 => {
                Ok(Self(d))
            }
            _ => Err(UnitError(
                "a block lasts 20, 25, 40, 50, 100, 125, 200, 250, 500 or 1000 milliseconds",
            )),
        }
    }
}

/// Whole milliseconds, with or without the unit.
fn millis(s: &str) -> Option<Duration> {
    let number: u32 = s.strip_suffix("ms").unwrap_or(s).parse().ok()?;
    Some(Duration::from_millis(number.into()))
}

impl FromStr for Seconds {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        let fault = UnitError("give a number of seconds, at most 86400: 15, 1.5 or 15s");
        let number = s.strip_suffix('s').unwrap_or(s);
        let seconds: f64 = number.parse().map_err(|_| fault)?;
        if !(0.0..=86_400.0).contains(&seconds) {
            return Err(fault);
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

impl FromStr for Playout {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        if s == "auto" {
            return Ok(Self(PlayoutDelay::Auto));
        }
        let delay = millis(s).ok_or(UnitError(
            "give auto, a whole number of milliseconds (200 or 200ms), \
             or 0 to hand every block over at once",
        ))?;
        Ok(Self(if delay.is_zero() { PlayoutDelay::None } else { PlayoutDelay::Fixed(delay) }))
    }
}

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        match s.parse() {
            Ok(n @ 1..=1_000) => Ok(Self(n)),
            _ => Err(UnitError("give a whole number from 1 to 1000")),
        }
    }
}

impl FromStr for CountOrNone {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        match s.parse() {
            Ok(n @ 0..=1_000) => Ok(Self(n)),
            _ => Err(UnitError("give a whole number from 0 to 1000")),
        }
    }
}

impl FromStr for FileLength {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        match s.strip_suffix('s').unwrap_or(s).parse() {
            Ok(n @ 1..=20) => Ok(Self(Duration::from_secs(n))),
            _ => Err(UnitError("give a whole number of seconds from 1 to 20")),
        }
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        let fault = UnitError("give a number of bytes, at least 1MB: 500MB, 2GB or 1.5GiB");
        let unit = s.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(s.len());
        let (number, unit) = s.split_at(unit);
        let factor = match unit.trim().to_ascii_lowercase().trim_end_matches('b') {
            "" => 1.0,
            "k" => 1e3,
            "m" => 1e6,
            "g" => 1e9,
            "t" => 1e12,
            "ki" => 1024.0,
            "mi" => 1_048_576.0,
            "gi" => 1_073_741_824.0,
            "ti" => 1_099_511_627_776.0,
            _ => return Err(fault),
        };
        let bytes = number.parse::<f64>().map_err(|_| fault)? * factor;
        if (1e6..=1e18).contains(&bytes) { Ok(Self(bytes.round() as u64)) } else { Err(fault) }
    }
}

impl FromStr for SubStreams {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        match s.parse() {
            Ok(n @ 1..=MAX_SUB_STREAMS) => Ok(Self(n)),
            _ => Err(UnitError("give a whole number from 1 to 32")),
        }
    }
}

/// Lets a type with `FromStr` stand in the configuration file, as text or as
/// a bare number.
macro_rules! from_text {
    ($($name:ty),+) => {$(
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                $crate::units::text(d)
            }
        }
    )+};
}
pub(crate) use from_text;

from_text!(Mbit, Cap, Block, Seconds, Playout, Count, CountOrNone, FileLength, Size, SubStreams);

/// Reads whatever has `FromStr` from text or a bare number.
///
/// # Errors
/// The parser's own message.
pub(crate) fn text<'de, T, D>(d: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    d.deserialize_any(Text(PhantomData))
}

/// [`text`] for an option that may be left out.
///
/// # Errors
/// The parser's own message.
pub(crate) fn some_text<'de, T, D>(d: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    text(d).map(Some)
}

/// [`some_text`] for a type with a parser of another name.
///
/// # Errors
/// The parser's own message.
pub(crate) fn parsed<'de, T, E, D>(
    d: D,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, D::Error>
where
    E: fmt::Display,
    D: Deserializer<'de>,
{
    let given: String = text(d)?;
    parse(&given).map(Some).map_err(D::Error::custom)
}

struct Text<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a number")
    }

    fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<T, E> {
        s.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<T, E> {
        self.visit_str(&n.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<T, E> {
        self.visit_str(&n.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<T, E> {
        self.visit_str(&n.to_string())
    }

    /// TOML has dates and times of its own.
    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        Err(A::Error::custom("put it in quotes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(s: &str) -> Option<u64> {
        s.parse::<Rate>().ok().map(Rate::bits)
    }

    #[test]
    fn rates_are_bits_with_a_suffix() {
        assert_eq!(bits("800000"), Some(800_000));
        assert_eq!(bits("500k"), Some(500_000));
        assert_eq!(bits("500K"), Some(500_000));
        assert_eq!(bits("2M"), Some(2_000_000));
        assert_eq!(bits("1.5Mbit"), Some(1_500_000));
        assert_eq!(bits("1.5Mbit/s"), Some(1_500_000));
        assert_eq!(bits("64kbps"), Some(64_000));
        assert_eq!(bits("1G"), Some(1_000_000_000));
        for bad in
            ["", "M", "2m", "2MB", "2MiB", "-1M", "0", "999", "1e6", "1..5M", "2 M", "9999999G"]
        {
            assert_eq!(bits(bad), None, "{bad:?}");
        }
        assert!("2MB".parse::<Rate>().unwrap_err().to_string().contains("bits per second"));
    }

    #[test]
    fn a_printed_rate_reads_back() {
        for n in [1_000, 1_001, 500_000, 1_500_000, 2_000_000] {
            assert_eq!(bits(&Rate(n).to_string()), Some(n));
        }
    }

    #[test]
    fn a_bare_benchmark_rate_is_megabits() {
        assert_eq!("4".parse(), Ok(Mbit(Rate(4_000_000))));
        assert_eq!("0.5".parse(), Ok(Mbit(Rate(500_000))));
        assert_eq!("500k".parse(), Ok(Mbit(Rate(500_000))));
        assert!("".parse::<Mbit>().is_err());
    }

    #[test]
    fn a_cap_can_be_lifted() {
        assert_eq!("unlimited".parse(), Ok(Cap::Unlimited));
        assert_eq!("2M".parse(), Ok(Cap::At(Rate(2_000_000))));
        assert!("none".parse::<Cap>().is_err());
    }

    #[test]
    fn times_take_their_own_unit_only() {
        let ms = |n| Duration::from_millis(n);
        assert_eq!("40".parse(), Ok(Block(ms(40))));
        assert_eq!("40ms".parse(), Ok(Block(ms(40))));
        assert_eq!("15".parse(), Ok(Seconds(ms(15_000))));
        assert_eq!("1.5s".parse(), Ok(Seconds(ms(1_500))));
        for bad in ["", "ms", "1s", "25.5", "-1", "0", "10", "30", "2000", "99999999999"] {
            assert!(bad.parse::<Block>().is_err(), "{bad:?}");
        }
        for bad in ["", "s", "15ms", "-1", "1m", "inf", "NaN", "86401"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_playout_delay_is_auto_a_number_or_none() {
        assert_eq!("auto".parse(), Ok(Playout(PlayoutDelay::Auto)));
        assert_eq!("0".parse(), Ok(Playout(PlayoutDelay::None)));
        let fixed = PlayoutDelay::Fixed(Duration::from_millis(250));
        assert_eq!("250ms".parse(), Ok(Playout(fixed)));
        assert!("1s".parse::<Playout>().is_err());
    }

    #[test]
    fn counts_have_limits() {
        assert_eq!("8".parse(), Ok(Count(8)));
        for bad in ["0", "1001", "-1", "8.0", ""] {
            assert!(bad.parse::<Count>().is_err(), "{bad:?}");
        }
        assert_eq!("32".parse(), Ok(SubStreams(32)));
        for bad in ["0", "33", "-1", "8.0", ""] {
            assert!(bad.parse::<SubStreams>().is_err(), "{bad:?}");
        }
    }
}
