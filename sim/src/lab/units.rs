//! Numbers with units, as scenarios spell them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};

/// A length of time: `40ms`, `2.5s`, `10min`, `24h`; a bare number is seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (number, unit) = split(s);
        let factor = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(format!("{s:?} is no length of time: 40ms, 2.5s, 10min or 24h")),
        };
        match number.parse::<f64>() {
            Ok(n) if (0.0..=1e10).contains(&(n * factor)) => {
                Ok(Self(Duration::from_secs_f64(n * factor)))
            }
            _ => Err(format!("{s:?} is no length of time: 40ms, 2.5s, 10min or 24h")),
        }
    }
}

/// Bytes per second, said in bits (`500kbit/s`, `10Mbit/s`) or as a multiple of
/// the stream's rate (`1.5r`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Bytes per second.
    Bytes(u64),
    /// So many streams.
    Streams(f64),
}

impl Rate {
    /// Bytes per second where the stream has `stream` of them.
    pub fn of(self, stream: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Streams(times) => (times * stream as f64).round() as u64,
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("{s:?} is no rate: 500kbit/s, 10Mbit/s, or 1.5r for 1.5 streams");
        let (number, unit) = split(s);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        if unit == "r" {
            return Ok(Self::Streams(number));
        }
        let bits = match unit.trim_end_matches("bit/s").trim_end_matches("bps") {
            "" => 1.0,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            _ => return Err(wrong()),
        };
        let bytes = number * bits / 8.0;
        if (0.0..=1e15).contains(&bytes) {
            Ok(Self::Bytes(bytes.round() as u64))
        } else {
            Err(wrong())
        }
    }
}

/// Where the unit begins.
fn split(s: &str) -> (&str, &str) {
    let at = s.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(s.len());
    (s[..at].trim(), s[at..].trim())
}

/// Reads whatever has `FromStr` from text or a number.
struct Text<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number with its unit, in quotes")
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<T, E> {
        v.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<T, E> {
        self.visit_str(&v.to_string())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<T, E> {
        self.visit_str(&v.to_string())
    }
}

macro_rules! from_text {
    ($($name:ty),+) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(Text(std::marker::PhantomData))
            }
        }
    )+};
}

from_text!(Span, Rate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        let span = |s: &str| s.parse::<Span>().map(|s| s.0.as_micros());
        assert_eq!(span("40ms"), Ok(40_000));
        assert_eq!(span("2.5 s"), Ok(2_500_000));
        assert_eq!(span("10min"), Ok(600_000_000));
        assert_eq!(span("7"), Ok(7_000_000));
        assert!(span("7 parsec").unwrap_err().contains("10min"));
        let rate = |s: &str| s.parse::<Rate>().map(|r| r.of(1_000));
        assert_eq!(rate("500kbit/s"), Ok(62_500));
        assert_eq!(rate("10Mbit/s"), Ok(1_250_000));
        assert_eq!(rate("1.5r"), Ok(1_500));
        assert_eq!(rate("0"), Ok(0));
        assert!(rate("fast").unwrap_err().contains("1.5r"));
    }
}
