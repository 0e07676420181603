//! Little upload to spare: what is pulled must not take the place of what is
//! pushed, nor a burst be taken for more than fits.

use std::time::Duration;

use eddy_core::config::Config;
use eddy_sim::live::{Live, quantile};

#[test]
fn a_swarm_forms_with_little_upload_to_spare() {
    let rate = 62_500;
    let plan = Live {
        viewers: 60,
        joins: Duration::from_secs(6),
        watch: Duration::from_secs(84),
        rate,
        upload: rate * 8 / 5,
        provider_upload: 4 * rate,
        ..Live::report_swarm(2, Config::default(), Duration::from_millis(40))
    };
    let outcome = plan.run();
    assert_eq!(outcome.viewers.iter().find_map(|v| v.wrong), None);
    assert!(outcome.continuity() >= 0.98, "continuity {}", outcome.continuity());
    let lags = outcome.sorted(|v| v.end_to_end());
    assert!(quantile(&lags, 0.5) < Duration::from_secs(22), "lag {:?}", quantile(&lags, 0.5));
}
