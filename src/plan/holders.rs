//! Interned sets of holders.

use std::collections::HashMap;

/// A set of holders, by number: snapshots, and everything else that holds links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holders {
    /// 64 holders in each word, without zero words at the end.
    words: Vec<u64>,
}

impl Holders {
    /// Adds a holder.
    pub fn insert(&mut self, holder: usize) {
        let (word, bit) = (holder / 64, holder % 64);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Whether the holder is in the set.
    #[must_use]
    pub fn contains(&self, holder: usize) -> bool {
        self.words.get(holder / 64).is_some_and(|word| word & (1 << (holder % 64)) != 0)
    }

    /// Whether every holder of this set is in the other.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter().zip(others).all(|(mine, others)| mine & !others == 0)
    }

    /// The union of both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let (long, short) = if self.words.len() < other.words.len() { (other, self) } else { (self, other) };
        let mut union = long.clone();
        for (word, more) in union.words.iter_mut().zip(&short.words) {
            *word |= more;
        }
        union
    }

    /// The number of holders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The holders, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

impl FromIterator<usize> for Holders {
    fn from_iter<I: IntoIterator<Item = usize>>(holders: I) -> Self {
        let mut set = Self::default();
        holders.into_iter().for_each(|holder| set.insert(holder));
        set
    }
}

/// The number of a set of holders in [`HolderSets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(u32);

impl SetId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Every distinct set of holders, stored once: millions of inodes share a few thousand sets.
#[derive(Clone, Debug, Default)]
pub struct HolderSets {
    sets: Vec<Holders>,
    ids: HashMap<Holders, SetId>,
    grown: HashMap<(SetId, usize), SetId>,
    unions: HashMap<(SetId, SetId), SetId>,
}

impl HolderSets {
    /// The number of this set; adds it if it is new.
    pub fn id(&mut self, holders: &Holders) -> SetId {
        if let Some(id) = self.ids.get(holders) {
            return *id;
        }
        let id = SetId(u32::try_from(self.sets.len()).unwrap_or(u32::MAX));
        self.sets.push(holders.clone());
        self.ids.insert(holders.clone(), id);
        id
    }

    /// The set with this number.
    #[must_use]
    pub fn set(&self, id: SetId) -> Option<&Holders> {
        self.sets.get(id.index())
    }

    pub(super) fn count(&self) -> usize {
        self.sets.len()
    }

    /// All sets, in the order of their numbers.
    pub(super) fn all(&self) -> &[Holders] {
        &self.sets
    }

    /// The set with one more holder.
    pub fn with(&mut self, id: SetId, holder: usize) -> SetId {
        if let Some(grown) = self.grown.get(&(id, holder)) {
            return *grown;
        }
        let mut holders = self.set(id).cloned().unwrap_or_default();
        holders.insert(holder);
        let grown = self.id(&holders);
        self.grown.insert((id, holder), grown);
        grown
    }

    pub(super) fn union(&mut self, a: SetId, b: SetId) -> SetId {
        if a == b {
            return a;
        }
        if let Some(union) = self.unions.get(&(a, b)) {
            return *union;
        }
        let holders = match (self.set(a), self.set(b)) {
            (Some(one), Some(other)) => one.union(other),
            (one, other) => one.or(other).cloned().unwrap_or_default(),
        };
        let union = self.id(&holders);
        self.unions.insert((a, b), union);
        union
    }
}
