//! Frees a given size: by removing the oldest snapshots, or with the smallest loss among those that no rule keeps.

use std::collections::HashMap;

use super::decide::RetentionDecision;
use super::reason::Reason;

/// The result of [`limit_to_free`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreePlan {
    /// Bytes freed by removing the snapshots still marked for removal.
    pub freed_bytes: u64,
    /// Whether that reaches the wanted size. If not, everything that no rule keeps stays marked for removal.
    pub is_enough: bool,
}

/// The number of snapshots up to which every combination is tried: at most 4,096 evaluations.
const EXHAUSTIVE: usize = 12;
/// The largest number of exchanges tried.
const EXCHANGES: usize = 20_000;
/// The largest number of runs of neighbors evaluated.
const RUN_QUESTIONS: usize = 40_000;
/// With more snapshots than this the oldest go: the cost of evaluating runs grows with the square.
const RUN_SNAPSHOTS: usize = 2000;

/// Keeps every snapshot that need not be removed to free `wanted_bytes`. The smallest sufficient number of bytes is
/// freed. Among equal choices the fewest snapshots are removed; among several of these, the choice whose newest removed
/// snapshot is oldest, then whose second newest is oldest, and so on.
///
/// `freed` returns the bytes freed by a set of snapshots, given by their indices in the list, the oldest first. It is
/// not additive: files that two snapshots share are freed only with both. It never shrinks when the set grows.
///
/// Up to 12 snapshots, every combination is tried. With more, the fewest sufficient ones are found under the assumption
/// that every file is in consecutive snapshots, as files are that appear, stay and disappear. Then single snapshots are
/// exchanged as long as that frees less, or the same with an older loss. Any other sharing only frees more than
/// computed, and snapshots that turn out not to be needed stay.
pub fn limit_to_free(
    fates: &mut [RetentionDecision],
    wanted_bytes: u64,
    freed: impl FnMut(&[usize]) -> u64,
) -> FreePlan {
    limit(fates, wanted_bytes, freed, |question| {
        let chosen = if question.removable.len() <= EXHAUSTIVE {
            question.by_trying()
        } else {
            question.by_runs().unwrap_or_else(|| question.by_age())
        };
        let chosen = question.without_unneeded(chosen);
        if question.removable.len() <= EXHAUSTIVE { chosen } else { question.by_exchanges(chosen) }
    })
}

/// Keeps all but the oldest snapshots that suffice to free `wanted_bytes`: for a person who gives no rule.
pub fn free_oldest(fates: &mut [RetentionDecision], wanted_bytes: u64, freed: impl FnMut(&[usize]) -> u64) -> FreePlan {
    limit(fates, wanted_bytes, freed, FreeSearch::by_age)
}

fn limit<F: FnMut(&[usize]) -> u64>(
    fates: &mut [RetentionDecision],
    wanted_bytes: u64,
    freed: F,
    choose: impl FnOnce(&mut FreeSearch<F>) -> Vec<usize>,
) -> FreePlan {
    let mut removable: Vec<usize> = fates.iter().filter(|fate| !fate.is_kept()).map(|fate| fate.index).collect();
    removable.reverse();
    let mut question = FreeSearch { removable, wanted_bytes, freed };
    let all_bytes = question.bytes(&question.removable.clone());
    if all_bytes < wanted_bytes {
        return FreePlan { freed_bytes: all_bytes, is_enough: false };
    }
    let chosen = if wanted_bytes == 0 { Vec::new() } else { choose(&mut question) };
    let freed_bytes = question.bytes(&chosen);
    for fate in fates.iter_mut().filter(|fate| !fate.is_kept() && !chosen.contains(&fate.index)) {
        fate.reasons.push(Reason::NotNeeded);
    }
    FreePlan { freed_bytes, is_enough: true }
}

struct FreeSearch<F> {
    /// The removable snapshots, the oldest first.
    removable: Vec<usize>,
    wanted_bytes: u64,
    freed: F,
}

impl<F: FnMut(&[usize]) -> u64> FreeSearch<F> {
    fn bytes(&mut self, set: &[usize]) -> u64 {
        if set.is_empty() { 0 } else { (self.freed)(set) }
    }

    /// The sufficient set that frees least; among equals one of the fewest, with the oldest newest member.
    fn by_trying(&mut self) -> Vec<usize> {
        let removable = self.removable.clone();
        let set = |mask: u32| -> Vec<usize> {
            removable.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, index)| *index).collect()
        };
        let sufficient = (1..1_u32 << removable.len()).filter_map(|mask| {
            let bytes = self.bytes(&set(mask));
            // Numerically, sets of equal size are ordered by their newest members.
            (bytes >= self.wanted_bytes).then_some((bytes, mask.count_ones(), mask))
        });
        sufficient.min().map(|(.., mask)| set(mask)).unwrap_or(removable)
    }

    /// Exchanges single snapshots as long as that frees less, or the same with an older loss.
    fn by_exchanges(&mut self, mut chosen: Vec<usize>) -> Vec<usize> {
        let age: HashMap<usize, usize> =
            self.removable.iter().enumerate().map(|(place, index)| (*index, place)).collect();
        let place = |index: &usize| age.get(index).copied().unwrap_or_default();
        let mut left = EXCHANGES;
        'again: loop {
            let bytes = self.bytes(&chosen);
            for out in chosen.clone() {
                for back in self.removable.clone().into_iter().filter(|index| !chosen.contains(index)) {
                    let Some(fewer) = left.checked_sub(1) else { return self.without_unneeded(chosen) };
                    left = fewer;
                    let mut other: Vec<usize> = chosen.iter().copied().filter(|index| *index != out).collect();
                    other.push(back);
                    other.sort_by_key(place);
                    let freed = self.bytes(&other);
                    let is_better = freed < bytes || (freed == bytes && place(&back) < place(&out));
                    if freed >= self.wanted_bytes && is_better {
                        chosen = self.without_unneeded(other);
                        continue 'again;
                    }
                }
            }
            return chosen;
        }
    }

    /// The fewest snapshots that free enough, if a set frees the sum of what its runs of neighbors free.
    fn by_runs(&mut self) -> Option<Vec<usize>> {
        let count = self.removable.len();
        if count > RUN_SNAPSHOTS {
            return None;
        }
        let longest = (RUN_QUESTIONS / count).clamp(1, count);
        let runs = Runs::ask(self, longest);
        let most = runs.most();
        let mut chosen = Vec::new();
        let fewest = (1..=count).find(|taken| most.bytes(count, *taken) >= self.wanted_bytes)?;
        // From the newest loss to the oldest, each as old as possible: the current run either continues with the next
        // older snapshot, or ends, and another one begins further back.
        let (mut begin, mut end, mut wanted) = (count, count, self.wanted_bytes);
        for taken in (1..=fewest).rev() {
            let length = end - begin;
            let goes_on = length > 0 && length < longest;
            let left = wanted.saturating_sub(runs.bytes(end, length));
            let ends_at = (1..begin + usize::from(!goes_on)).find(|end| {
                let lengths = 1..=longest.min(taken).min(*end);
                lengths.map(|length| most.with_run(&runs, *end, length, taken)).max().is_some_and(|bytes| bytes >= left)
            });
            if let Some(new_end) = ends_at {
                (begin, end, wanted) = (new_end - 1, new_end, left);
            } else {
                begin = begin.checked_sub(1).filter(|_| goes_on)?;
            }
            chosen.push(*self.removable.get(begin)?);
        }
        chosen.reverse();
        Some(chosen)
    }

    /// The smallest sufficient number of oldest snapshots.
    fn by_age(&mut self) -> Vec<usize> {
        let removable = self.removable.clone();
        let (mut too_few, mut enough) = (0, removable.len());
        while too_few + 1 < enough {
            let middle = usize::midpoint(too_few, enough);
            let bytes = self.bytes(removable.get(..middle).unwrap_or_default());
            *if bytes >= self.wanted_bytes { &mut enough } else { &mut too_few } = middle;
        }
        removable.get(..enough).unwrap_or_default().to_vec()
    }

    /// Drops snapshots without which the set still frees enough, the newest first.
    fn without_unneeded(&mut self, mut chosen: Vec<usize>) -> Vec<usize> {
        for place in (0..chosen.len()).rev() {
            let mut fewer = chosen.clone();
            fewer.remove(place);
            if self.bytes(&fewer) >= self.wanted_bytes {
                chosen = fewer;
            }
        }
        chosen
    }
}

/// The bytes that each run of neighbors frees, up to a maximum length.
struct Runs {
    count: usize,
    longest: usize,
    /// Indexed by the end of the run, then by its length.
    bytes: Vec<u64>,
}

impl Runs {
    fn ask<F: FnMut(&[usize]) -> u64>(question: &mut FreeSearch<F>, longest: usize) -> Self {
        let removable = question.removable.clone();
        let count = removable.len();
        let mut bytes = Vec::with_capacity((count + 1) * (longest + 1));
        for end in 0..=count {
            for length in 0..=longest {
                let run = end.checked_sub(length).and_then(|begin| removable.get(begin..end)).unwrap_or_default();
                bytes.push(question.bytes(run));
            }
        }
        Self { count, longest, bytes }
    }

    /// The bytes freed by the `length` snapshots before the index `end`.
    fn bytes(&self, end: usize, length: usize) -> u64 {
        let place = (length <= self.longest).then_some(end * (self.longest + 1) + length);
        place.and_then(|place| self.bytes.get(place).copied()).unwrap_or(0)
    }

    fn most(&self) -> MostFreed {
        let row = self.count + 1;
        let mut most = MostFreed { row, bytes: vec![0; row * row] };
        for end in 1..=self.count {
            for taken in 1..=end {
                let without = if taken < end { most.bytes(end - 1, taken) } else { 0 };
                let with = (1..=self.longest.min(taken)).map(|length| most.with_run(self, end, length, taken)).max();
                if let Some(cell) = most.bytes.get_mut(end * row + taken) {
                    *cell = without.max(with.unwrap_or(0));
                }
            }
        }
        most
    }
}

/// The most bytes that a number of snapshots among a number of the oldest can free, as a sum of runs.
struct MostFreed {
    row: usize,
    bytes: Vec<u64>,
}

impl MostFreed {
    fn bytes(&self, end: usize, taken: usize) -> u64 {
        if taken > end { 0 } else { self.bytes.get(end * self.row + taken).copied().unwrap_or(0) }
    }

    /// The same if the newest `length` of them go as one run.
    fn with_run(&self, runs: &Runs, end: usize, length: usize, taken: usize) -> u64 {
        self.bytes(end - length, taken - length).saturating_add(runs.bytes(end, length))
    }
}
