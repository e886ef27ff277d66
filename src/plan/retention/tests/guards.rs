use super::{at, policy, time};
use crate::plan::retention::{Candidate, GuardLimits, decide, guards};

const NOW: &str = "2026-11-22T03:00:00Z";

/// The guards against keeping the newest `kept` of `of` nights, with the `recorded` times.
fn said(kept: usize, of: usize, recorded: &[&str], limits: GuardLimits) -> Vec<String> {
    let nights: Vec<Candidate> = (1..=of).map(|night| at(&format!("2026-10-{night:02}T02:00:00Z"))).collect();
    let fates = decide(&nights, &policy(&format!(r#"{{"keep_last": {kept}}}"#)), time(NOW));
    let recorded: Vec<_> = recorded.iter().map(|text| time(text)).collect();
    guards(&fates, &recorded, time(NOW), limits).iter().map(ToString::to_string).collect()
}

#[test]
fn removing_more_than_the_allowed_share_is_a_guard() {
    assert_eq!(said(5, 10, &[], GuardLimits::default()), Vec::<String>::new());
    assert_eq!(said(4, 10, &[], GuardLimits::default()), ["6 of 10 snapshots would be removed, more than 50 %"]);
    assert_eq!(said(1, 3, &[], GuardLimits::default()), ["2 of 3 snapshots would be removed, more than 50 %"]);
    assert_eq!(said(1, 10, &[], GuardLimits { removed_percent: 90, ..GuardLimits::default() }), Vec::<String>::new());
    assert_eq!(said(9, 10, &[], GuardLimits { removed_percent: 0, ..GuardLimits::default() }).len(), 1);
}

#[test]
fn a_clock_that_went_back_or_far_ahead_is_a_guard() {
    let said = |recorded: &[&str]| said(9, 10, recorded, GuardLimits::default());
    assert_eq!(said(&["2026-11-20T02:00:00Z", "2026-11-21T02:00:00Z"]), Vec::<String>::new());
    assert_eq!(
        said(&["2026-11-23T02:00:00Z"]),
        ["the clock went back from 2026-11-23T02:00:00Z to 2026-11-22T03:00:00Z"]
    );
    assert_eq!(
        said(&["2026-08-01T02:00:00Z"]),
        ["the clock went ahead from 2026-08-01T02:00:00Z to 2026-11-22T03:00:00Z, by 113 days"]
    );
    // A snapshot was made and recorded in 2036, and then the clock was corrected: both steps are reported.
    assert_eq!(said(&["2026-11-21T02:00:00Z", "2036-11-21T02:00:00Z"]).len(), 2);
    assert_eq!(said(&["2026-11-22T03:00:30Z"]), Vec::<String>::new());
}

#[test]
fn a_plan_that_removes_nothing_passes_all_guards() {
    assert_eq!(said(10, 10, &["2036-11-21T02:00:00Z"], GuardLimits::default()), Vec::<String>::new());
}
