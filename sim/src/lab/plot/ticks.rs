//! Where an axis is labelled.

use super::Scale;

/// A labelled place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// On the scaled axis.
    pub(super) at: f64,
    pub(super) label: String,
}

/// The places of one axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ticks {
    pub(super) major: Vec<Tick>,
    /// Lines without a label, on the scaled axis.
    pub(super) minor: Vec<f64>,
}

/// The densest ticks from `lo` to `hi`, on the scaled axis, that fit.
pub(super) fn ticks(scale: Scale, lo: f64, hi: f64, fits: impl Fn(&[Tick]) -> bool) -> Ticks {
    let even = |lo: f64, hi: f64| (1..=9).rev().map(move |parts| linear(lo, hi, f64::from(parts)));
    let first = |mut candidates: Box<dyn Iterator<Item = Vec<Tick>> + '_>| {
        candidates.find(|ticks| fits(ticks)).unwrap_or_default()
    };
    if scale == Scale::Linear {
        return Ticks { major: first(Box::new(even(lo, hi))), minor: Vec::new() };
    }
    if hi - lo < 1.0 {
        // Too few powers of ten: even steps, where they are on this scale.
        let on_scale = |mut ticks: Vec<Tick>| {
            ticks.retain(|tick| tick.at > 0.0);
            ticks.iter_mut().for_each(|tick| tick.at = tick.at.log10());
            ticks
        };
        let candidates = even(exp10(lo), exp10(hi)).map(on_scale);
        return Ticks { major: first(Box::new(candidates)), minor: Vec::new() };
    }
    let decades = [1, 2, 3, 5, 10, 20, 50, 100, 200].map(|each| powers(lo, hi, &[1.0], each));
    let minor = if hi - lo < 7.0 {
        let between = powers(lo, hi, &[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 1);
        between.into_iter().map(|tick| tick.at).collect()
    } else {
        Vec::new()
    };
    let dense = (hi - lo < 4.0).then(|| powers(lo, hi, &[1.0, 2.0, 5.0], 1));
    Ticks { major: first(Box::new(dense.into_iter().chain(decades))), minor }
}

/// Multiples of a round step, `parts` of them at most and one.
fn linear(lo: f64, hi: f64, parts: f64) -> Vec<Tick> {
    let raw = (hi - lo) / parts;
    let exponent = raw.log10().floor();
    let lead = raw / exp10(exponent);
    // The allowance is for a lead of two that is a bit more than two.
    let (lead, exponent) = match [1.0, 2.0, 5.0].into_iter().find(|l| lead <= l * (1.0 + 1e-9)) {
        Some(lead) => (lead, exponent),
        None => (1.0, exponent + 1.0),
    };
    let step = lead * exp10(exponent);
    let slack = 1e-9;
    let (first, last) = ((lo / step - slack).ceil(), (hi / step + slack).floor());
    let places = places(lo.abs().max(hi.abs()), exponent);
    (0..=10)
        .map(|k| first + f64::from(k))
        .take_while(|k| *k <= last)
        .map(|k| Tick { at: (k * step).clamp(lo, hi), label: places.write(k * step) })
        .collect()
}

/// `leads` times each so many powers of ten.
fn powers(lo: f64, hi: f64, leads: &[f64], each: usize) -> Vec<Tick> {
    let (first, last) = (lo.floor() as i32, hi.floor() as i32);
    let aligned = first.div_euclid(each as i32) * each as i32;
    let mut ticks = Vec::new();
    for exponent in (aligned..=last).step_by(each) {
        for lead in leads {
            let at = f64::from(exponent) + lead.log10();
            if (lo..=hi).contains(&at) {
                ticks.push(Tick { at, label: power(*lead, exponent) });
            }
        }
    }
    ticks
}

fn exp10(exponent: f64) -> f64 {
    10.0_f64.powf(exponent)
}

/// How the numbers of one axis are written.
enum Places {
    Decimal(usize),
    /// Digits after the point of the mantissa.
    Scientific(usize),
}

fn places(largest: f64, step_exponent: f64) -> Places {
    if (1e-3..1e9).contains(&largest) {
        Places::Decimal((-step_exponent).clamp(0.0, 15.0) as usize)
    } else {
        let digits = largest.log10().floor() - step_exponent;
        Places::Scientific(digits.clamp(0.0, 15.0) as usize)
    }
}

impl Places {
    fn write(&self, value: f64) -> String {
        match self {
            // Plus zero: of minus zero the sign goes.
            Self::Decimal(digits) => grouped(&format!("{:.digits$}", value + 0.0)),
            Self::Scientific(_) if value == 0.0 => "0".to_owned(),
            Self::Scientific(digits) => {
                let text = format!("{value:.digits$e}");
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                format!("{}×10{}", grouped(mantissa), raised(exponent))
            }
        }
    }
}

/// `lead` times a power of ten.
fn power(lead: f64, exponent: i32) -> String {
    match exponent {
        -4..0 => format!("{:.*}", exponent.unsigned_abs() as usize, lead * exp10(exponent.into())),
        0..7 => grouped(&format!("{:.0}", lead * exp10(exponent.into()))),
        _ if lead == 1.0 => format!("10{}", raised(&exponent.to_string())),
        _ => format!("{lead}×10{}", raised(&exponent.to_string())),
    }
}

/// Thousands apart, and a true minus sign.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("−", digits));
    let mut text = sign.to_owned();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

fn raised(exponent: &str) -> String {
    let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raise = |c: char| c.to_digit(10).map_or('⁻', |digit| digits[digit as usize]);
    exponent.chars().map(raise).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn labels(scale: Scale, lo: f64, hi: f64, most: usize) -> Vec<String> {
        let ticks = ticks(scale, lo, hi, |ticks| ticks.len() <= most);
        ticks.major.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn linear_axes() {
        let of = |lo, hi, most| labels(Scale::Linear, lo, hi, most);
        assert_eq!(of(0.0, 1.0, 6), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(of(0.9998, 1.0, 3), ["0.9998", "0.9999", "1.0000"]);
        assert_eq!(of(0.0, 12_000.0, 3), ["0", "5,000", "10,000"]);
        assert_eq!(of(-2.0, 2.0, 5), ["−2", "−1", "0", "1", "2"]);
        assert_eq!(of(0.0, 4e-9, 3), ["0", "2×10⁻⁹", "4×10⁻⁹"]);
        assert_eq!(of(1e9, 1.5e9, 2), ["1.0×10⁹", "1.5×10⁹"]);
    }

    #[test]
    fn logarithmic_axes() {
        let of = |lo: f64, hi: f64, most| labels(Scale::Log, lo.log10(), hi.log10(), most);
        assert_eq!(of(0.09, 12.0, 9), ["0.1", "0.2", "0.5", "1", "2", "5", "10"]);
        assert_eq!(of(0.09, 12.0, 4), ["0.1", "1", "10"]);
        assert_eq!(of(1e-6, 1e9, 4), ["10⁻⁵", "1", "100,000"]);
        assert_eq!(of(1.0, 1e9, 2), ["1", "100,000"]);
        assert_eq!(of(1.1, 3.2, 5), ["1.5", "2.0", "2.5", "3.0"]);
    }

    quickcheck! {
        fn ticks_lie_on_the_axis_in_order(a: i32, span: u32, tenths: i8, log: bool) -> bool {
            let unit = 10.0_f64.powi(i32::from(tenths / 10));
            let (scale, lo, hi) = if log {
                let lo = f64::from(a % 300);
                (Scale::Log, lo, (lo + f64::from(span % 4_000) / 10.0 + 0.1).min(308.0))
            } else {
                let lo = f64::from(a) * unit;
                (Scale::Linear, lo, lo + (f64::from(span) + 1.0) * unit)
            };
            let found = ticks(scale, lo, hi, |_| true);
            let inside = |at: f64| (lo..=hi).contains(&at);
            found.major.len() >= 2
                && found.major.windows(2).all(|w| w[0].at < w[1].at && w[0].label != w[1].label)
                && found.major.iter().all(|tick| inside(tick.at))
                && found.minor.iter().all(|&at| inside(at))
        }
    }
}
