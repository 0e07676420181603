//! Moments of a channel, as users say and read them: so long ago, at a clock
//! time, at a date; and spans of time. Clock times are those of this machine's
//! time zone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use eddy_core::{Position, Time};
use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::units::{UnitError, from_text};

/// The longest span that is taken: a year.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// A span of time: `90s`, `5m`, `1h30m`, `2d`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A date and time: `2026-11-22T10:00:00Z`, with an offset, or in this
/// machine's time zone without one; or a time of day, the last one before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Time);

/// Where `seek` leads: `-30s`, `+1m`, or a [`Moment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal(pub Position);

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        let fault = UnitError::new("give a span of time, 0 to 366 days: 90s, 5m, 1h30m or 2d");
        let span = signed(s).ok_or(fault)?;
        match Duration::try_from(span) {
            Ok(span) if span <= LONGEST => Ok(Self(span)),
            _ => Err(fault),
        }
    }
}

/// A number of seconds, or numbers with units.
fn signed(s: &str) -> Option<SignedDuration> {
    let digits = s.trim_start_matches(['+', '-']);
    if let Ok(seconds) = digits.parse::<f64>() {
        let seconds = if s.starts_with('-') { -seconds } else { seconds };
        return SignedDuration::try_from_secs_f64(seconds).ok();
    }
    // Days are 24 hours here: nobody counts leaps of summer time.
    if let Some((days, rest)) = digits.split_once('d') {
        let days: i64 = days.trim().parse().ok()?;
        let rest = Some(rest.trim()).filter(|rest| !rest.starts_with(['+', '-']))?;
        let rest = if rest.is_empty() { SignedDuration::ZERO } else { rest.parse().ok()? };
        let sum = SignedDuration::from_hours(days.checked_mul(24)?).checked_add(rest)?;
        return if s.starts_with('-') { sum.checked_neg() } else { Some(sum) };
    }
    s.parse().ok()
}

impl FromStr for Moment {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        moment(s, Timestamp::now(), &TimeZone::system()).map(Self)
    }
}

fn moment(s: &str, now: Timestamp, zone: &TimeZone) -> Result<Time, UnitError> {
    let fault = UnitError::new(
        "give a time: 2026-11-22T10:00:00Z, 2026-11-22 10:00 or 10:00:00 (the last one before now)",
    );
    let day = |date: civil::Date, time| zone.to_timestamp(date.to_datetime(time)).ok();
    let found = s.parse::<Timestamp>().ok().or_else(|| {
        let date: civil::DateTime = s.parse().ok()?;
        day(date.date(), date.time())
    });
    let found = found.or_else(|| {
        let time: civil::Time = Some(s).filter(|s| s.contains(':'))?.parse().ok()?;
        let today = zone.to_datetime(now).date();
        let there = day(today, time).filter(|there| *there <= now);
        there.or_else(|| day(today.yesterday().ok()?, time))
    });
    let micros = found.and_then(|there| u64::try_from(there.as_microsecond()).ok());
    micros.map(Time::from_micros).ok_or(fault)
}

impl FromStr for Goal {
    type Err = UnitError;

    fn from_str(s: &str) -> Result<Self, UnitError> {
        if s.starts_with(['-', '+']) {
            let fault = UnitError::new("give how far to go, at most 366 days: -30s, +1m or -1h30m");
            let by = signed(s).filter(|by| by.unsigned_abs() <= LONGEST).ok_or(fault)?;
            let micros = i64::try_from(by.as_micros()).map_err(|_| fault)?;
            return Ok(Self(Position::By(micros)));
        }
        let Moment(at) = s.parse().map_err(|_| {
            UnitError::new("give where to go: -30s, +1m, 10:15:00 or 2026-11-22T10:15:00Z")
        })?;
        Ok(Self(Position::At(at)))
    }
}

from_text!(Span, Moment);

/// A moment as a clock shows it.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub Time);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX);
        match Timestamp::from_microsecond(micros) {
            Ok(there) => {
                let t = TimeZone::system().to_datetime(there).time();
                write!(f, "{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())
            }
            Err(_) => f.write_str("-"),
        }
    }
}

/// A span as players show it: `0:05`, `12:34`, `1:02:03`.
pub fn span_text(span: Duration) -> String {
    let (hours, minutes, seconds) =
        (span.as_secs() / 3_600, span.as_secs() / 60 % 60, span.as_secs() % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn spans_have_units_and_bare_numbers_are_seconds() {
        let good = [
            ("90", secs(90)),
            ("90s", secs(90)),
            ("1.5", Duration::from_millis(1_500)),
            ("5m", secs(300)),
            ("1h30m", secs(5_400)),
            ("1h 30m", secs(5_400)),
            ("2d", secs(172_800)),
            ("1d12h", secs(129_600)),
            ("500ms", Duration::from_millis(500)),
            ("0", Duration::ZERO),
        ];
        for (text, span) in good {
            assert_eq!(text.parse(), Ok(Span(span)), "{text}");
        }
        for bad in ["", "m", "-5m", "5 parsecs", "367d", "1e30", "NaN", "d", "1d-"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_goal_is_a_way_to_go_or_a_moment() {
        let by = |text: &str| text.parse::<Goal>().map(|Goal(position)| position);
        assert_eq!(by("-30s"), Ok(Position::By(-30_000_000)));
        assert_eq!(by("-30"), Ok(Position::By(-30_000_000)));
        assert_eq!(by("+1m"), Ok(Position::By(60_000_000)));
        assert_eq!(by("-1h30m"), Ok(Position::By(-5_400_000_000)));
        assert_eq!(by("-1d"), Ok(Position::By(-86_400_000_000)));
        let at = Time::from_secs(1_795_341_600);
        assert_eq!(by("2026-11-22T10:00:00Z"), Ok(Position::At(at)));
        for bad in ["", "-", "30s", "tomorrow", "-400d", "25:00"] {
            assert!(by(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_last_one_before_now() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let at = |text| moment(text, now, &zone).map(|t| t.as_micros() / 1_000_000);
        let noon = 1_795_341_600;
        assert_eq!(at("2026-11-22T10:00:00Z"), Ok(noon));
        assert_eq!(at("2026-11-22T12:00:00+02:00"), Ok(noon));
        assert_eq!(at("2026-11-22T12:00:00"), Ok(noon));
        assert_eq!(at("2026-11-22 12:00"), Ok(noon));
        assert_eq!(at("12:00:00"), Ok(noon));
        assert_eq!(at("11:59"), Ok(noon - 60));
        assert_eq!(at("12:01"), Ok(noon + 60 - 86_400), "yesterday's");
        for bad in ["", "12", "12:60", "2026-13-01T00:00:00Z", "1960-01-01T00:00:00Z"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_shown_as_players_do() {
        assert_eq!(span_text(secs(5)), "0:05");
        assert_eq!(span_text(secs(754)), "12:34");
        assert_eq!(span_text(secs(3_723)), "1:02:03");
    }
}
