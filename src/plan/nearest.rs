//! What a person may have meant by a name that nothing has.

/// How alike two names must be, from 0 to 1, for one to be suggested for the other.
const ALIKE: f64 = 0.82;
/// Of names that one slip turns into each other: a letter wrong, missing, too many, or swapped with its neighbour.
/// Nothing is more alike.
const ONE_SLIP: f64 = 1.0;

/// From 0 to 1, without regard to case.
fn likeness(one: &str, other: &str) -> f64 {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    let is_slip = one.len() > 2 && strsim::osa_distance(&one, &other) == 1;
    if is_slip { ONE_SLIP } else { strsim::jaro_winkler(&one, &other) }
}

/// The candidate that `name` is most like, if one is like it at all.
#[must_use]
pub fn nearest<T: AsRef<str>>(name: &str, candidates: impl IntoIterator<Item = T>) -> Option<T> {
    let rated = candidates.into_iter().map(|candidate| (likeness(name, candidate.as_ref()), candidate));
    let best = rated.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_another_word_is_not() {
        let keys = ["keep_daily", "keep_weekly", "repo", "url"];
        assert_eq!(nearest("keep_dayly", keys), Some("keep_daily"));
        assert_eq!(nearest("rpeo", keys), Some("repo"));
        assert_eq!(nearest("REPO", keys), Some("repo"));
        assert_eq!(nearest("nsf", ["hourly", "nfs"]), Some("nfs"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("repo", [""; 0]), None);
    }
}
