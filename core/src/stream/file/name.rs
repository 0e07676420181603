//! A file's name: `Provider_Channel_YYYYMMDDhhmmss`, in UTC.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::FileId;
use crate::stream::channel::{Channel, MAX_NAME, Name};

/// The longest file name, in bytes: two names with every character escaped,
/// two `_` and a date.
pub const MAX_FILE_NAME: usize = 2 * 3 * MAX_NAME + 2 + DIGITS;

/// Digits of a date.
const DIGITS: usize = 14;
/// The last second that four digits of a year can tell: the end of 9999.
const LAST_SECOND: u64 = 253_402_300_799;
const DAY: u64 = 24 * 60 * 60;
/// Days of 400 years, after which the calendar repeats.
const ERA: u64 = 400 * 365 + 97;

/// A file's name, as the report gives it (section 2.1, p. 8):
/// `ProviderName_Channel1_20100620182520`.
///
/// It is safe as the name of a file. Names of providers and channels have no
/// `_`, `/` and control characters; of what they may have, `%`, `\`, `:`, `*`,
/// `?`, `"`, `<`, `>`, `|`, and a dot that is the first character or comes
/// after another, are written as `%` and two hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileName {
    provider: Name,
    channel: Name,
    start: u64,
}

/// Why a text is no file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileNameError {
    /// It is not three parts, joined with `_`.
    Parts,
    /// A name is none, or is not written as [`FileName`] writes it.
    Name,
    /// The last part is no date: 14 digits, 1970 to 9999.
    Date,
}

impl FileName {
    /// The name of a channel's file; `None` if it begins after the year 9999,
    /// or where no file of the channel does.
    pub fn new(channel: &Channel, file: FileId) -> Option<Self> {
        let FileId { start } = FileId::new(channel, file.start)?;
        (start <= LAST_SECOND).then(|| Self {
            provider: channel.provider().clone(),
            channel: channel.name().clone(),
            start,
        })
    }

    /// The file of this channel that has this name; `None` if it is another
    /// channel's, or no file of this one begins then.
    pub fn file(&self, channel: &Channel) -> Option<FileId> {
        let own = self.provider == *channel.provider() && self.channel == *channel.name();
        own.then(|| FileId::new(channel, self.start))?
    }

    /// The provider's name.
    pub fn provider(&self) -> &Name {
        &self.provider
    }

    /// The channel's name.
    pub fn channel(&self) -> &Name {
        &self.channel
    }

    /// The file's start in stream time, in whole seconds.
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.provider, f)?;
        f.write_str("_")?;
        escape(&self.channel, f)?;
        let (year, month, day) = date(self.start / DAY);
        let (hour, minute, second) =
            (self.start % DAY / 3_600, self.start % 3_600 / 60, self.start % 60);
        write!(f, "_{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
    }
}

impl FromStr for FileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, FileNameError> {
        let mut parts = text.split('_');
        let (Some(provider), Some(channel), Some(date), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FileNameError::Parts);
        };
        let name = Self {
            provider: unescape(provider).ok_or(FileNameError::Name)?,
            channel: unescape(channel).ok_or(FileNameError::Name)?,
            start: seconds(date).ok_or(FileNameError::Date)?,
        };
        // There is one way to write a name, so no two are of one file.
        if name.to_string() == text { Ok(name) } else { Err(FileNameError::Name) }
    }
}

impl fmt::Display for FileNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parts => "a file name is Provider_Channel_YYYYMMDDhhmmss",
            Self::Name => "a file name has the names of a provider and a channel",
            Self::Date => "a file name ends in 14 digits: YYYYMMDDhhmmss",
        })
    }
}

impl core::error::Error for FileNameError {}

fn escape(name: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut after_dot = true;
    for c in name.as_str().chars() {
        let special = matches!(c, '%' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
        if special || (c == '.' && after_dot) {
            write!(f, "%{:02X}", u32::from(c))?;
        } else {
            write!(f, "{c}")?;
        }
        after_dot = c == '.';
    }
    Ok(())
}

fn unescape(text: &str) -> Option<Name> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => (digit(rest.next())? * 16 + digit(rest.next())?) as u8,
            plain => plain,
        });
    }
    Name::new(&String::from_utf8(bytes).ok()?).ok()
}

/// Year, month and day of the Gregorian calendar, this many days after
/// 1 January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // The average year is a day off at most: one step mends it.
    let about = 1970 + days * 400 / ERA;
    let year = if days_before(about) > days { about - 1 } else { about };
    let year = if days_before(year + 1) <= days { year + 1 } else { year };
    let mut rest = days - days_before(year);
    for (month, length) in (1..).zip(months(year)) {
        if rest < length {
            return (year, month, rest + 1);
        }
        rest -= length;
    }
    (year, 12, 31)
}

/// Seconds from 1 January 1970 to a date, given in 14 ASCII digits.
fn seconds(text: &str) -> Option<u64> {
    if text.len() != DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |from, to| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let before = usize::try_from(month.checked_sub(1)?).ok()?;
    let months = months(year);
    if !(1..=*months.get(before)?).contains(&day) {
        return None;
    }
    let days = days_before(year) + months.iter().take(before).sum::<u64>() + day - 1;
    Some(days * DAY + hour * 3_600 + minute * 60 + second)
}

/// Days from 1 January 1970 to the first of a year from then on.
fn days_before(year: u64) -> u64 {
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    365 * (year - 1970) + leap_days(year - 1) - leap_days(1969)
}

/// The length of each month, in days.
fn months(year: u64) -> [u64; 12] {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::channel;
    use super::*;
    use crate::stream::channel::ChannelSpec;
    use crate::stream::channel::tests_support::spec;
    use core::time::Duration;
    use quickcheck::quickcheck;
    use std::format;

    /// Seconds, and how a file name tells them.
    const DATES: [(u64, &str); 16] = [
        (0, "19700101000000"),
        (1, "19700101000001"),
        (DAY - 1, "19700101235959"),
        (68_169_599, "19720228235959"),
        (68_169_600, "19720229000000"),
        (68_256_000, "19720301000000"),
        (94_694_399, "19721231235959"),
        (946_684_799, "19991231235959"),
        (951_782_400, "20000229000000"),
        (951_868_800, "20000301000000"),
        (1_277_058_320, "20100620182520"),
        (1_709_251_199, "20240229235959"),
        (2_147_483_648, "20380119031408"),
        (4_107_542_399, "21000228235959"),
        (4_107_542_400, "21000301000000"),
        (LAST_SECOND, "99991231235959"),
    ];

    fn told(start: u64) -> String {
        FileName::new(&channel(1_000, 1), FileId { start }).unwrap().to_string()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (start, date) in DATES {
            assert_eq!(told(start), format!("NCTU_Channel1_{date}"));
            let name: FileName = format!("NCTU_Channel1_{date}").parse().unwrap();
            assert_eq!(name.start(), start);
        }
    }

    #[test]
    fn every_day_until_9999_has_a_date_of_its_own() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=LAST_SECOND / DAY {
            assert_eq!(date(days), (year, month, day));
            assert_eq!(seconds(&format!("{year:04}{month:02}{day:02}000000")), Some(days * DAY));
            day += 1;
            if day > months(year)[month as usize - 1] {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!(year, 10_000);
    }

    #[test]
    fn after_9999_a_file_has_no_name() {
        let c = channel(1_000, 1);
        for start in [LAST_SECOND + 1, u64::MAX] {
            assert_eq!(FileName::new(&c, FileId { start }), None);
        }
    }

    #[test]
    fn a_file_is_found_by_its_name() {
        let c = channel(40, 10);
        let id = FileId { start: 1_277_058_320 };
        let name = FileName::new(&c, id).unwrap();
        assert_eq!(name.to_string(), "NCTU_Channel1_20100620182520");
        assert_eq!(name.file(&c), Some(id));
        assert_eq!(name.file(&channel(40, 7)), None, "no multiple of F");
        assert_eq!(FileName::new(&c, FileId { start: 1_277_058_321 }), None);
        for (provider, channel) in [("NCTU", "Channel2"), ("nctu", "Channel1")] {
            let (provider, name) = (Name::new(provider).unwrap(), Name::new(channel).unwrap());
            let other = Channel::new(ChannelSpec { provider, name, ..spec() }).unwrap();
            assert_eq!(FileName::new(&c, id).unwrap().file(&other), None);
        }
    }

    #[test]
    fn no_name_leads_out_of_its_folder() {
        let named = |provider, channel| {
            let (provider, name) = (Name::new(provider).unwrap(), Name::new(channel).unwrap());
            let file = Duration::from_secs(1);
            let c = Channel::new(ChannelSpec { provider, name, file, ..spec() }).unwrap();
            let name = FileName::new(&c, FileId { start: 0 }).unwrap().to_string();
            assert_eq!(name.parse::<FileName>().unwrap().file(&c), Some(FileId { start: 0 }));
            name
        };
        assert_eq!(named("..", "..."), "%2E%2E_%2E%2E%2E_19700101000000");
        assert_eq!(named("a.b..c", ".x"), "a.b.%2Ec_%2Ex_19700101000000");
        assert_eq!(named("..\\..", "C:%2F"), "%2E%2E%5C.%2E_C%3A%252F_19700101000000");
        assert_eq!(named("中文 é", "24"), "中文 é_24_19700101000000");
        let longest = "%".repeat(MAX_NAME);
        assert_eq!(named(&longest, &longest).len(), MAX_FILE_NAME);
    }

    #[test]
    fn what_is_no_file_name_is_refused() {
        use FileNameError::{Date, Name, Parts};
        let date = "20100620182520";
        for (text, error) in [
            (String::new(), Parts),
            (String::from("VERSION"), Parts),
            (format!("a_{date}"), Parts),
            (format!("a_b_c_{date}"), Parts),
            (format!("a_b_{date}_"), Parts),
            (format!("_b_{date}"), Name),
            (format!("a__{date}"), Name),
            (format!("../a_b_{date}"), Name),
            (format!("a_b/../c_{date}"), Name),
            (format!("/a_b_{date}"), Name),
            (format!("%2Fa_b_{date}"), Name),
            (format!("a\\b_c_{date}"), Name),
            (format!(".._b_{date}"), Name),
            (format!("a_b..c_{date}"), Name),
            (format!("a_b\0_{date}"), Name),
            (format!("a_b%00_{date}"), Name),
            (format!("a_b\n_{date}"), Name),
            (format!("a_b%0A_{date}"), Name),
            (format!("a%_b_{date}"), Name),
            (format!("a%5_b_{date}"), Name),
            (format!("a%5g_b_{date}"), Name),
            (format!("a%FF_b_{date}"), Name),
            (format!("a%5c_b_{date}"), Name),
            (format!("%61_b_{date}"), Name),
            (format!("{}_b_{date}", "x".repeat(MAX_NAME + 1)), Name),
            (String::from("a_b_"), Date),
            (String::from("a_b_2010062018252"), Date),
            (format!("a_b_{date}0"), Date),
            (format!("a_b_{date}.part"), Date),
            (format!("a_b_{date} "), Date),
            (String::from("a_b_+0100620182520"), Date),
            (String::from("a_b_٢٠١٠٠٦٢"), Date),
            (String::from("a_b_２０１０0620182520"), Date),
            (String::from("a_b_19691231235959"), Date),
            (String::from("a_b_20230229000000"), Date),
            (String::from("a_b_21000229000000"), Date),
            (String::from("a_b_20100020182520"), Date),
            (String::from("a_b_20101320182520"), Date),
            (String::from("a_b_20100600182520"), Date),
            (String::from("a_b_20100631182520"), Date),
            (String::from("a_b_20100620242520"), Date),
            (String::from("a_b_20100620186020"), Date),
            (String::from("a_b_20100620182560"), Date),
        ] {
            assert_eq!(text.parse::<FileName>(), Err(error), "{text:?}");
        }
    }

    quickcheck! {
        fn any_text_is_refused_or_the_name_it_says(text: String) -> () {
            super::super::check::any_name(&text);
        }

        fn a_name_reads_what_it_prints(provider: String, channel: String, start: u64) -> () {
            let allowed = |text: String| {
                let text = text.replace(|c: char| c == '_' || c == '/' || c.is_control(), "..");
                String::from(&text[..text.floor_char_boundary(MAX_NAME)])
            };
            super::super::check::any_names(&allowed(provider), &allowed(channel), start);
        }
    }
}
