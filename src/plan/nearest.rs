//! Suggests a name that a person may have meant by one that does not exist.

/// The similarity, from 0 to 1, from which one name is suggested for another.
const ALIKE: f64 = 0.82;
/// The similarity of names that differ by one slip: a wrong, missing, additional or transposed letter. This is the
/// highest similarity.
const ONE_SLIP: f64 = 1.0;

/// The similarity of two names, from 0 to 1, ignoring case.
fn similarity(one: &str, other: &str) -> f64 {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    let is_slip = one.len() > 2 && strsim::osa_distance(&one, &other) == 1;
    if is_slip { ONE_SLIP } else { strsim::jaro_winkler(&one, &other) }
}

/// The candidate most similar to `name`, if any is similar enough.
#[must_use]
pub fn nearest<T: AsRef<str>>(name: &str, candidates: impl IntoIterator<Item = T>) -> Option<T> {
    let rated = candidates.into_iter().map(|candidate| (similarity(name, candidate.as_ref()), candidate));
    let best = rated.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(similarity, _)| *similarity >= ALIKE).map(|(_, candidate)| candidate)
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
