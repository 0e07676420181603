//! One value for each of the last seconds.

use crate::time::{Time, micros};

/// Nothing was noted in this second.
const NOTHING: i64 = i64::MIN;
const SECOND: core::time::Duration = core::time::Duration::from_secs(1);

/// A window of N seconds; what is older is forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Recent<const N: usize> {
    /// The newest second that anything was noted in.
    newest: u64,
    values: [i64; N],
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self { newest: 0, values: [NOTHING; N] }
    }
}

impl<const N: usize> Recent<N> {
    /// Notes a value now; of two in one second `keep` gives the one to keep.
    pub(crate) fn note(&mut self, now: Time, value: i64, keep: fn(i64, i64) -> i64) {
        let second = now.as_micros() / micros(SECOND);
        let skipped = second.saturating_sub(self.newest).min(N as u64);
        (0..skipped).for_each(|n| self.values[Self::place(second - n)] = NOTHING);
        self.newest = self.newest.max(second);
        let kept = &mut self.values[Self::place(second)];
        *kept = if *kept == NOTHING { value } else { keep(*kept, value) };
    }

    /// What was noted in the last N seconds, the one that is now among them.
    pub(crate) fn values(&self, now: Time) -> impl Iterator<Item = i64> + '_ {
        let second = now.as_micros() / micros(SECOND);
        let oldest = second.saturating_sub(N as u64 - 1);
        let seconds = (oldest..=self.newest).take(N);
        seconds.map(|second| self.values[Self::place(second)]).filter(|v| *v != NOTHING)
    }

    fn place(second: u64) -> usize {
        (second % N as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    quickcheck! {
        fn holds_the_last_seconds_and_no_more(steps: Vec<(u8, i32)>) -> bool {
            let mut recent = Recent::<8>::default();
            let mut model: BTreeMap<u64, i64> = BTreeMap::new();
            let mut now = 1_000;
            steps.into_iter().all(|(later, value)| {
                now += u64::from(later % 32) / 3;
                let at = Time::from_secs(now);
                recent.note(at, value.into(), i64::max);
                let kept = model.entry(now).or_insert(value.into());
                *kept = (*kept).max(value.into());
                [0, 3].into_iter().all(|wait| {
                    let want = model.range((now + wait).saturating_sub(7)..).map(|(_, v)| *v);
                    recent.values(Time::from_secs(now + wait)).eq(want)
                })
            })
        }
    }
}
