//! Little upload to spare: what is pulled must not take the place of what is
//! pushed, nor a burst be taken for more than fits.

mod common;

use std::time::Duration;

use common::continuity;
use eddy_core::config::Config;
use eddy_sim::live::{Live, quantile};

const RATE: u64 = 62_500;

/// A swarm whose provider has 4 streams of upload.
fn swarm(seed: u64, viewers: usize, upload: u64) -> Live {
    let default = Live::report_swarm(seed, Config::default(), Duration::from_millis(40));
    tight(default, viewers, upload)
}

fn tight(live: Live, viewers: usize, upload: u64) -> Live {
    Live {
        viewers,
        joins: Duration::from_secs(6),
        watch: Duration::from_secs(84),
        rate: RATE,
        upload,
        provider_upload: 4 * RATE,
        ..live
    }
}

#[test]
fn a_swarm_forms_with_little_upload_to_spare() {
    let outcome = swarm(2, 60, RATE * 8 / 5).run();
    assert_eq!(outcome.viewers.iter().find_map(|v| v.wrong), None);
    assert!(outcome.continuity() >= 0.98, "continuity {}", outcome.continuity());
    let lags = outcome.sorted(|v| v.end_to_end());
    assert!(quantile(&lags, 0.5) < Duration::from_secs(22), "lag {:?}", quantile(&lags, 0.5));
}

/// What is brought twice, or thrown away though it is missing, is what the others
/// have to do without.
#[test]
fn a_swarm_lives_on_a_fifth_more_than_it_needs() {
    let outcome = swarm(2, 48, RATE * 6 / 5).run();
    assert_eq!(outcome.viewers.iter().find_map(|v| v.wrong), None);
    assert!(outcome.continuity() >= 0.9, "continuity {}", outcome.continuity());
}

/// Maps of the published rules do not tell who has a parent, so that budgets have to
/// grow for everybody.
#[test]
fn the_published_rules_find_room_where_there_is_some() {
    let published = Live::report_swarm(2, Config::report(), Duration::from_secs(1));
    let swarm = Live { provider_upload: 10 * RATE, ..tight(published, 48, RATE * 2) };
    let outcome = swarm.run();
    assert!(outcome.continuity() >= 0.7, "continuity {}", outcome.continuity());
}

/// `C1` in small: who has half a stream of uplink must give up what that does not
/// carry, and not take it on again at once. With four seeds 70 to 92 % are in time,
/// and 51 to 63 where no node serves less than a whole stream.
#[test]
fn half_of_the_viewers_may_have_half_a_stream() {
    const PLAN: &str = "id = 'weak'\ntitle = ''\nspan = '130s'\nmeasure_from = '70s'\n\
        channel.rate = '768kbit/s'\nprovider.upload = '3600kbit/s'\n\
        [[viewers]]\nname = 'live'\ncount = 60\narrive.over = '60s'\n\
        upload = [{ share = 0.5, rate = '0.5r' }, { share = 0.3, rate = '1r' }, \
        { share = 0.2, rate = '3r' }]\n";
    let all: Vec<f64> = (1..=3).map(|seed| continuity(PLAN, "default", &[], seed)).collect();
    assert!(all.iter().sum::<f64>() >= 3.0 * 0.72, "continuity {all:?}");
}
