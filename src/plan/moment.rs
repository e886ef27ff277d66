//! One moment of all tables: whether a list of parts is one, and where each listed part comes from.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{PartListSummary, PartName, PartStates, TableName};

use super::freeze::TableFreeze;

/// Whether a list of parts is the state of all these tables at one moment: none of them changed while it was read.
///
/// `before` was read before the list was requested, and `after` was requested once the list had arrived; `listed` is
/// the list's content for each table. A part that appeared in between is in `after`, active or not, unless it was also
/// dropped and its files removed in between. A part that disappeared is no longer active there.
pub fn is_one_moment(
    before: &BTreeMap<TableName, PartStates>,
    listed: &BTreeMap<TableName, PartListSummary>,
    after: &BTreeMap<TableName, PartStates>,
    is_wanted: impl Fn(&TableName) -> bool,
) -> bool {
    let names: BTreeSet<&TableName> = before.keys().chain(listed.keys()).chain(after.keys()).collect();
    names.into_iter().filter(|name| is_wanted(name)).all(|name| {
        let states = after.get(name).copied().unwrap_or_default();
        before.get(name).copied().unwrap_or_default() == states
            && listed.get(name).copied().unwrap_or_default() == states.active
    })
}

/// The origin of a table's listed parts that are not in the snapshot already, after a freeze. Those in the shadow come
/// from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedSources {
    /// Listed parts that are in neither: they are linked from their live directories.
    pub live: BTreeSet<PartName>,
    /// Frozen parts that are not wanted from the shadow, and are removed.
    pub surplus: BTreeSet<PartName>,
}

/// Decides where each listed part of a table comes from. `present` are the parts already in the snapshot, linked from
/// the last one or, for patch parts, from the live table; `frozen` are those in the shadow.
#[must_use]
pub fn listed_sources(
    freeze: &TableFreeze,
    present: &BTreeSet<&PartName>,
    frozen: &BTreeSet<&PartName>,
) -> ListedSources {
    let mut surplus = frozen.clone();
    let mut live = BTreeSet::new();
    for part in freeze.parts().filter(|part| !present.contains(&part.name)) {
        if !surplus.remove(&part.name) {
            live.insert(part.name.clone());
        }
    }
    ListedSources { live, surplus: surplus.into_iter().cloned().collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::{is_one_moment, listed_sources};
    use crate::model::{PartListSummary, PartName, PartStates, TableName};
    use crate::plan::{TableFreeze, WantedState, samples};

    fn name(number: u8, is_patch: bool) -> PartName {
        let text =
            format!("{}all_{number}_{number}_0", if is_patch { "patch-0123456789abcdef0123456789abcdef-" } else { "" });
        PartName::try_from(text).expect("a part's name")
    }

    fn listed(parts: &[PartName]) -> TableFreeze {
        let parts = parts.iter().map(|name| samples::part(name.clone(), "all", 1)).collect();
        samples::whole(samples::table(parts), WantedState::Listed)
    }

    proptest! {
        /// Each listed part has one origin, unlisted parts have none, and frozen parts on the list are used.
        #[test]
        fn each_listed_part_has_one_source(
            parts in proptest::collection::btree_map((0_u8..20, any::<bool>()), (any::<bool>(), any::<bool>(), any::<bool>()), 0..30)
        ) {
            let chosen = |is_chosen: fn(&(bool, bool, bool)) -> bool| -> BTreeSet<PartName> {
                parts.iter().filter(|(_, facts)| is_chosen(facts)).map(|((n, patch), _)| name(*n, *patch)).collect()
            };
            let (list, present, frozen) = (chosen(|f| f.0), chosen(|f| f.1), chosen(|f| f.2));
            let freeze = listed(&list.iter().cloned().collect::<Vec<_>>());
            let sources = listed_sources(&freeze, &present.iter().collect(), &frozen.iter().collect());
            let kept: BTreeSet<PartName> = frozen.difference(&sources.surplus).cloned().collect();
            let present_parts: BTreeSet<PartName> = list.intersection(&present).cloned().collect();
            let places = [&present_parts, &kept, &sources.live];
            let together: BTreeSet<PartName> = places.iter().flat_map(|place| place.iter().cloned()).collect();
            prop_assert_eq!(&together, &list);
            prop_assert_eq!(places.iter().map(|place| place.len()).sum::<usize>(), list.len());
            prop_assert!(sources.live.is_disjoint(&frozen) && sources.surplus.is_subset(&frozen));
        }
    }

    /// The parts of one table, by number: 0 active, 1 inactive.
    type State = BTreeMap<u8, u8>;

    fn states(tables: &[State]) -> BTreeMap<TableName, PartStates> {
        let listing = |state: &State, wanted: u8| {
            let mut listing = PartListSummary::default();
            for number in state.iter().filter(|(_, own)| **own == wanted).map(|(number, _)| u64::from(*number)) {
                listing.add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
            listing
        };
        let of_table = |state: &State| PartStates { active: listing(state, 0), inactive: listing(state, 1) };
        let named = tables.iter().enumerate().filter(|(_, state)| !state.is_empty());
        named.map(|(at, state)| (TableName::new("d", format!("t{at}")), of_table(state))).collect()
    }

    /// One event in a table: a part appears, or one is replaced.
    fn happen(tables: &mut [State], next: &mut u8, (table, comes): (usize, bool)) {
        let Some(state) = tables.get_mut(table) else { return };
        let active = state.iter().find(|(_, own)| **own == 0).map(|(number, _)| *number);
        if comes || active.is_none() {
            state.insert(*next, 0);
            *next += 1;
        } else if let Some(number) = active {
            state.insert(number, 1);
        }
    }

    proptest! {
        /// Tables are read one after another while parts come and go. A list that counts as one moment is the state
        /// that all tables had together when it was requested.
        #[test]
        fn a_list_that_is_called_one_moment_is_one(
            // Events between every two readings of a table.
            events in proptest::collection::vec(proptest::collection::vec((0_usize..3, any::<bool>()), 0..2), 9),
            quiet in any::<[bool; 9]>(),
        ) {
            let (mut tables, mut next) = (vec![State::from([(0, 0)]); 3], 1);
            let mut readings = Vec::new();
            let mut at_second = None;
            for (reading, (events, is_quiet)) in events.iter().zip(quiet).enumerate() {
                if reading == 3 {
                    at_second = Some(tables.clone());
                }
                readings.push(tables.get(reading % 3).cloned().unwrap_or_default());
                if !is_quiet {
                    for event in events {
                        happen(&mut tables, &mut next, *event);
                    }
                }
            }
            let list = |from: usize| states(readings.get(from..from + 3).unwrap_or_default());
            let listed = list(3).into_iter().map(|(name, states)| (name, states.active)).collect();
            if is_one_moment(&list(0), &listed, &list(6), |_| true) {
                prop_assert_eq!(list(3), states(&at_second.unwrap_or_default()));
            }
        }
    }

    #[test]
    fn only_wanted_tables_count() {
        let (quiet, busy) = (State::from([(0, 0)]), State::from([(0, 0), (1, 0)]));
        let before = states(&[quiet.clone(), quiet.clone()]);
        let after = states(&[quiet, busy]);
        let listed = before.iter().map(|(name, states)| (name.clone(), states.active)).collect();
        assert!(!is_one_moment(&before, &listed, &after, |_| true));
        assert!(is_one_moment(&before, &listed, &after, |name| name.table == "t0"));
    }

    #[test]
    fn a_part_that_came_and_was_replaced_in_between_is_noticed() {
        let (before, after) = (State::from([(0, 0)]), State::from([(0, 0), (1, 1)]));
        let listed =
            states(std::slice::from_ref(&before)).into_iter().map(|(name, states)| (name, states.active)).collect();
        assert!(!is_one_moment(&states(&[before]), &listed, &states(&[after]), |_| true));
    }
}
