//! The problems of a part, no more of them than a user can read.

/// Problems of one part. The first are kept, the others counted: a list of millions helps no reader, and would not fit
/// into a manifest.
#[derive(Clone, Debug, Default)]
pub(super) struct Problems {
    first: Vec<String>,
    more: usize,
}

const LIMIT: usize = 20;

impl Problems {
    pub(super) fn push(&mut self, problem: impl FnOnce() -> String) {
        if self.first.len() < LIMIT {
            self.first.push(problem());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    pub(super) fn into_list(mut self) -> Vec<String> {
        if self.more > 0 {
            self.first.push(format!("and {} more", self.more));
        }
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::{LIMIT, Problems};

    #[test]
    fn a_million_problems_are_a_few_and_their_number() {
        let mut problems = Problems::default();
        (0..1_000_000).for_each(|number| problems.push(|| format!("its file {number} is missing")));
        let list = problems.into_list();
        assert_eq!(list.len(), LIMIT + 1);
        assert_eq!(list.last().map(String::as_str), Some("and 999980 more"));
    }
}
