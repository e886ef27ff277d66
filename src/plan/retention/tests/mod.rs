mod examples;
mod free;
mod guards;
mod restic;
mod spans;

use chrono::{DateTime, Utc};

use super::{Candidate, Policy, decide};

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn at(text: &str) -> Candidate {
    Candidate { time: time(text), ..Candidate::default() }
}

/// The policy in a one-line configuration file.
fn policy(json: &str) -> Policy {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The kept snapshots, the newest first, each with its reasons.
fn kept(candidates: &[Candidate], policy: &Policy, now: &str) -> Vec<(String, String)> {
    let fates = decide(candidates, policy, time(now));
    assert_eq!(fates.len(), candidates.len());
    let reasons =
        |fate: &super::RetentionDecision| fate.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    fates
        .iter()
        .filter(|fate| fate.is_kept())
        .map(|fate| (candidates.get(fate.index).expect("it is one of them").time.to_rfc3339(), reasons(fate)))
        .collect()
}
