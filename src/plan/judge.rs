//! The verdict on one table after a freeze: all evidence in, one verdict out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{Part, PartName, Table, TableName, WarningKind, awaits_mutation};

use super::freeze::Scope;

/// How the server refused a freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has no such table.
    NoTable,
    /// Two freezes wanted the counter of freezes at once. The message.
    CounterRace(String),
    /// This user may not freeze it. The message.
    Forbidden(String),
    /// It refuses this table. The message.
    Table(String),
}

/// What was read of a table's definition after the freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionRead {
    /// It is the table's.
    Own,
    /// It has the UUID of another table: the two have been exchanged meanwhile.
    OfAnother,
    /// There was none to read.
    Missing,
}

/// A part that is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenPart {
    /// The part.
    pub part: PartName,
    /// What is wrong with the files in the snapshot.
    pub problems: Vec<String>,
    /// What was found wrong with it where it was copied from, and was copied as it is.
    pub copied_damage: Vec<String>,
}

/// Everything that is known of a table after a freeze of it.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The table as the last look before the freeze had it.
    pub before: &'a Table,
    /// The table as the first look after the freeze had it: the one of the same name and UUID.
    pub after: Option<&'a Table>,
    /// If that is none: what stands in its place and was not taken yet.
    pub heir: Option<&'a TableName>,
    /// How much of it was to be taken.
    pub scope: &'a Scope,
    /// Its parts in the snapshot that no patch is.
    pub taken: &'a BTreeSet<PartName>,
    /// The server's answer, if that was no freeze.
    pub refused: Option<&'a Refused>,
    /// Its definition.
    pub definition: DefinitionRead,
    /// A part whose metadata version could not be read, in a table whose parts have one.
    pub without_version: Option<&'a PartName>,
    /// Its parts that are not whole.
    pub broken: &'a [BrokenPart],
    /// Whether all of these are broken in the same way on the server. Only looked at in the last round.
    pub is_broken_on_server: bool,
    /// Whether every part must be there that the look before had: it was not frozen, but its parts linked one by one.
    pub is_linked_live: bool,
    /// Why its rows were not summed although that was asked for.
    pub not_summed: Option<&'a str>,
    /// The number of this freeze of the table, from 1.
    pub round: u32,
}

/// A table that changes with every freeze is given up after this many.
pub const ROUNDS: u32 = 3;

/// What happens to a table after a freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stands in the snapshot.
    Taken(Taken),
    /// It is frozen again in the next round.
    Retry(RetryReason),
    /// It is not in the snapshot.
    Skipped(TableSkipReason),
}

/// A table that stands in the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The files of the unfinished mutations that it carries.
    pub mutations: Vec<String>,
    /// What the person should know of it.
    pub caveats: Vec<Caveat>,
}

/// Why a table is frozen again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryReason {
    /// The server's counter of freezes was in use. The server's message.
    CounterRace(String),
    /// Another table has its place.
    Renamed(TableName),
    /// The two looks have different definitions.
    DefinitionChanged,
    /// The definition in the snapshot would be another table's.
    DefinitionOfAnother,
    /// Its definition could not be read.
    DefinitionMissing,
    /// A part that was active all the time is not in the shadow.
    PartMissed(PartName),
    /// A part was merged or moved away before it was linked.
    PartVanished(PartName),
    /// It has parts, and none is in the shadow.
    NothingFrozen,
    /// A mutation began during the freeze.
    MutationBegan(String),
    /// A mutation was killed or forgotten during the freeze.
    MutationEnded(String),
    /// A part's metadata version could not be read.
    VersionLost(PartName),
    /// A part is not whole.
    PartBroken {
        /// The part.
        part: PartName,
        /// The first problem.
        problem: String,
    },
}

/// Why a table is not in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableSkipReason {
    /// This user may not freeze it. The server's message.
    Forbidden(String),
    /// The server refuses to freeze it. The server's message.
    Refused(String),
    /// It was dropped or renamed during the run.
    Gone,
    /// It changed during every freeze; the last reason.
    Unstable(RetryReason),
    /// The server does not list it, and its directories changed each time that they were linked.
    Restless,
}

/// What the person should know of a table that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caveat {
    /// Mutations began or ended during every freeze.
    MutationsMoved(RetryReason),
    /// A part's metadata version could not be read in any round.
    VersionLost(PartName),
    /// A part is damaged on the server. All problems.
    DamagedOnServer(PartName, Vec<String>),
    /// Its rows are not summed.
    RowsNotSummed(String),
    /// Unfinished mutations that only Keeper has.
    MutationsInKeeper(Vec<String>),
}

/// Judges a freeze between two looks at the table.
///
/// A freeze takes the list of active parts at one moment between the two looks. A part that was active at both was
/// active then, so it must have been frozen; the definition that was the same at both was in force then.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let is_last = evidence.round >= ROUNDS;
    let retry = |reason| {
        if is_last { Verdict::Skipped(TableSkipReason::Unstable(reason)) } else { Verdict::Retry(reason) }
    };
    match evidence.refused {
        Some(Refused::CounterRace(message)) if !is_last => {
            return Verdict::Retry(RetryReason::CounterRace(message.clone()));
        }
        Some(Refused::Forbidden(message)) => {
            return Verdict::Skipped(TableSkipReason::Forbidden(message.clone()));
        }
        Some(Refused::CounterRace(message) | Refused::Table(message)) => {
            return Verdict::Skipped(TableSkipReason::Refused(message.clone()));
        }
        Some(Refused::NoTable) | None => {}
    }
    let Some(after) = evidence.after.filter(|_| evidence.refused.is_none()) else {
        return match evidence.heir {
            Some(heir) if !is_last => Verdict::Retry(RetryReason::Renamed(heir.clone())),
            _ => Verdict::Skipped(TableSkipReason::Gone),
        };
    };
    let mut caveats = Vec::new();
    if let Some(reason) = tear(evidence, after) {
        return retry(reason);
    }
    match evidence.without_version {
        Some(part) if is_last => caveats.push(Caveat::VersionLost(part.clone())),
        Some(part) => return retry(RetryReason::VersionLost(part.clone())),
        None => {}
    }
    if let Some((part, problem)) = first_problem(evidence.broken)
        && !(is_last && evidence.is_broken_on_server)
    {
        return retry(RetryReason::PartBroken { part: part.clone(), problem: problem.clone() });
    }
    if let Some(reason) = moved_mutation(evidence.before, after) {
        if !is_last {
            return retry(reason);
        }
        caveats.push(Caveat::MutationsMoved(reason));
    }
    caveats.extend(evidence.broken.iter().map(|broken| {
        let problems = broken.problems.iter().chain(&broken.copied_damage).cloned().collect();
        Caveat::DamagedOnServer(broken.part.clone(), problems)
    }));
    caveats.extend(evidence.not_summed.map(|reason| Caveat::RowsNotSummed(reason.to_owned())));
    let (mutations, in_keeper) = carried_mutations(evidence.before, after, evidence.taken);
    if !in_keeper.is_empty() {
        caveats.push(Caveat::MutationsInKeeper(in_keeper));
    }
    Verdict::Taken(Taken { mutations, caveats })
}

fn first_problem(broken: &[BrokenPart]) -> Option<(&PartName, &String)> {
    broken.iter().find_map(|broken| Some((&broken.part, broken.problems.first()?)))
}

/// Why what was taken is no state that the table had.
fn tear(evidence: &Evidence<'_>, after: &Table) -> Option<RetryReason> {
    let (before, scope, taken) = (evidence.before, evidence.scope, evidence.taken);
    if before.definition != after.definition || before.engine != after.engine {
        return Some(RetryReason::DefinitionChanged);
    }
    let is_expected = |part: &&Part| scope.covers(&part.partition) && !part.name.is_patch();
    let mut missed = before.parts.iter().filter(|part| is_expected(part) && !taken.contains(&part.name)).peekable();
    // Usually there is none, and nothing to look for.
    if let Some(part) = missed.peek() {
        if evidence.is_linked_live {
            return Some(RetryReason::PartVanished(part.name.clone()));
        }
        let still_there: BTreeSet<&PartName> = after.parts.iter().map(|part| &part.name).collect();
        if let Some(part) = missed.find(|part| still_there.contains(&part.name)) {
            return Some(RetryReason::PartMissed(part.name.clone()));
        }
    }
    if taken.is_empty() && after.parts.iter().any(|part| is_expected(&part)) {
        return Some(RetryReason::NothingFrozen);
    }
    match evidence.definition {
        DefinitionRead::Own => None,
        DefinitionRead::OfAnother => Some(RetryReason::DefinitionOfAnother),
        DefinitionRead::Missing => Some(RetryReason::DefinitionMissing),
    }
}

fn moved_mutation(before: &Table, after: &Table) -> Option<RetryReason> {
    let known_before: BTreeSet<&str> = before.mutations.iter().map(|mutation| mutation.id.as_str()).collect();
    let known_after: BTreeSet<&str> = after.mutations.iter().map(|mutation| mutation.id.as_str()).collect();
    let began = after.mutations.iter().find(|mutation| !known_before.contains(mutation.id.as_str()));
    let ended = || before.mutations.iter().find(|m| !m.is_done && !known_after.contains(m.id.as_str()));
    match began {
        Some(mutation) => Some(RetryReason::MutationBegan(mutation.id.clone())),
        None => ended().map(|mutation| RetryReason::MutationEnded(mutation.id.clone())),
    }
}

/// The files of the mutations that a snapshot carries, so that a restored table finishes them.
///
/// Those are the mutations that were unfinished before the freeze and still listed after it, and those of which a
/// frozen part shows that they were under way, as long as a frozen part lacks them. One that only began after the parts were listed is left out: the
/// snapshot is the state before it. An unfinished mutation whose id is no file's name (replicated tables keep
/// theirs in Keeper) is in the second list.
fn carried_mutations(before: &Table, after: &Table, taken: &BTreeSet<PartName>) -> (Vec<String>, Vec<String>) {
    let newest_seen = taken.iter().map(PartName::mutation_version).max().unwrap_or(0);
    let known_before: BTreeMap<&str, bool> = before.mutations.iter().map(|m| (m.id.as_str(), m.is_done)).collect();
    let is_carried = |mutation: &&crate::model::Mutation| {
        let version = mutation.version();
        let began = match known_before.get(mutation.id.as_str()) {
            Some(was_done) => !was_done,
            None => version.is_some_and(|version| version <= newest_seen),
        };
        began && version.is_none_or(|version| awaits_mutation(version, taken))
    };
    let (files, in_keeper): (Vec<_>, Vec<_>) =
        after.mutations.iter().filter(is_carried).partition(|mutation| mutation.version().is_some());
    let ids = |mutations: Vec<&crate::model::Mutation>| mutations.into_iter().map(|m| m.id.clone()).collect();
    (ids(files), ids(in_keeper))
}

impl fmt::Display for RetryReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CounterRace(message) => f.write_str(message),
            Self::Renamed(name) => write!(f, "{name} has its place"),
            Self::DefinitionChanged => f.write_str("its definition changed while it was frozen"),
            Self::DefinitionOfAnother => f.write_str("it was exchanged with another table while it was frozen"),
            Self::DefinitionMissing => f.write_str("its definition could not be read"),
            Self::PartMissed(part) => write!(f, "its part {part} is active, but the server did not freeze it"),
            Self::PartVanished(part) => write!(f, "its part {part} was merged or moved away before it was linked"),
            Self::NothingFrozen => f.write_str("it has parts, but the server froze none"),
            Self::MutationBegan(id) => write!(f, "mutation {id} began while it was frozen"),
            Self::MutationEnded(id) => write!(f, "mutation {id} ended while it was frozen"),
            Self::VersionLost(part) => write!(f, "the metadata version of its part {part} could not be read"),
            Self::PartBroken { part, problem } => write!(f, "part {part}: {problem}"),
        }
    }
}

impl fmt::Display for TableSkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(message) | Self::Refused(message) => f.write_str(message),
            Self::Gone => f.write_str("it was dropped, renamed or detached while the snapshot was made"),
            Self::Unstable(reason) => write!(f, "{reason}, {ROUNDS} times"),
            Self::Restless => {
                write!(
                    f,
                    "the server does not list it, and its directories changed while they were linked, {ROUNDS} times"
                )
            }
        }
    }
}

impl Caveat {
    /// The kind of the warning.
    #[must_use]
    pub fn kind(&self) -> WarningKind {
        match self {
            Self::MutationsMoved(_) => WarningKind::MutationsMoved,
            Self::VersionLost(_) => WarningKind::MetadataVersionLost,
            Self::DamagedOnServer(..) => WarningKind::DamagedOnServer,
            Self::RowsNotSummed(_) => WarningKind::RowsNotSummed,
            Self::MutationsInKeeper(_) => WarningKind::MutationsInKeeper,
        }
    }
}

/// The sentence of the warning, without the table.
impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MutationsMoved(reason) => write!(
                f,
                "{reason}, {ROUNDS} times; the snapshot is its state before the mutations that it does not carry"
            ),
            Self::VersionLost(part) => RetryReason::VersionLost(part.clone()).fmt(f),
            Self::DamagedOnServer(part, problems) => {
                write!(f, "part {part} is damaged on the server: {}", problems.join("; "))
            }
            Self::RowsNotSummed(reason) => write!(f, "its rows are not summed: {reason}"),
            Self::MutationsInKeeper(ids) => {
                write!(f, "the unfinished mutations {} are kept in Keeper and not in the snapshot", ids.join(", "))
            }
        }
    }
}

impl<'a> Evidence<'a> {
    /// The evidence on a table of which nothing is wrong.
    #[must_use]
    pub fn sound(before: &'a Table, after: Option<&'a Table>, scope: &'a Scope, taken: &'a BTreeSet<PartName>) -> Self {
        Self {
            before,
            after,
            heir: None,
            scope,
            taken,
            refused: None,
            definition: DefinitionRead::Own,
            without_version: None,
            broken: &[],
            is_broken_on_server: false,
            is_linked_live: false,
            not_summed: None,
            round: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::{
        BrokenPart, Caveat, DefinitionRead, Evidence, ROUNDS, Refused, RetryReason, TableSkipReason, Taken, Verdict,
        judge,
    };
    use crate::model::{Mutation, Part, PartName, PartitionId, Table, TableKey, TableName};
    use crate::plan::Scope;

    fn name(text: &str) -> PartName {
        PartName::try_from(text.to_owned()).expect("a valid part name")
    }

    fn names(list: &[&str]) -> BTreeSet<PartName> {
        list.iter().map(|text| name(text)).collect()
    }

    fn table(parts: &[&str], mutations: &[(&str, bool)]) -> Table {
        Table {
            key: TableKey { name: TableName::new("d", "t"), uuid: None },
            engine: "MergeTree".into(),
            definition: "CREATE TABLE d.t (a UInt8)".into(),
            data_paths: Vec::new(),
            metadata_path: "x".into(),
            storage_policy: String::new(),
            has_own_data: None,
            parts: parts
                .iter()
                .map(|text| Part {
                    name: name(text),
                    partition: PartitionId("all".into()),
                    parent: Path::new("x").into(),
                    disk: "default".into(),
                    rows: 1,
                    bytes: 1,
                    files: 1,
                    fingerprint: None,
                })
                .collect::<Vec<_>>()
                .into(),
            mutations: mutations.iter().map(|(id, is_done)| Mutation { id: (*id).into(), is_done: *is_done }).collect(),
        }
    }

    fn taken() -> Verdict {
        Verdict::Taken(Taken::default())
    }

    fn unstable(reason: RetryReason) -> Verdict {
        Verdict::Skipped(TableSkipReason::Unstable(reason))
    }

    #[test]
    fn a_merge_between_the_looks_is_no_reason_to_freeze_again() {
        let (before, after) = (table(&["all_1_1_0", "all_2_2_0"], &[]), table(&["all_1_2_1"], &[]));
        let both = names(&["all_1_1_0", "all_2_2_0"]);
        assert_eq!(judge(&Evidence::sound(&before, Some(&after), &Scope::Whole, &both)), taken());
    }

    #[test]
    fn a_part_that_was_there_all_along_must_have_been_frozen() {
        let (both, none) = (table(&["all_1_1_0"], &[]), names(&[]));
        let missed = RetryReason::PartMissed(name("all_1_1_0"));
        assert_eq!(judge(&Evidence::sound(&both, Some(&both), &Scope::Whole, &none)), Verdict::Retry(missed));
        assert_eq!(judge(&Evidence::sound(&both, Some(&both), &Scope::Nothing, &none)), taken());
        let after = table(&["all_1_2_1"], &[]);
        // What is linked part by part is a state of the table only if it is all there.
        let (two, one) = (table(&["all_1_1_0", "all_2_2_0"], &[]), names(&["all_1_1_0"]));
        let linked = Evidence { is_linked_live: true, ..Evidence::sound(&two, Some(&after), &Scope::Whole, &one) };
        assert_eq!(judge(&linked), Verdict::Retry(RetryReason::PartVanished(name("all_2_2_0"))));
        let verdict = judge(&Evidence::sound(&both, Some(&after), &Scope::Whole, &none));
        assert_eq!(verdict, Verdict::Retry(RetryReason::NothingFrozen));
    }

    #[test]
    fn patch_parts_are_not_expected_in_the_shadow() {
        let both = table(&["patch-0123-all_1_1_0"], &[]);
        assert_eq!(judge(&Evidence::sound(&both, Some(&both), &Scope::Whole, &names(&[]))), taken());
    }

    #[test]
    fn what_is_wrong_with_one_freeze_is_tried_again_and_given_up_in_the_last_round() {
        let before = table(&[], &[]);
        let after = Table { definition: "CREATE TABLE d.t (b UInt8)".into(), ..before.clone() };
        let (none, part) = (names(&[]), name("all_1_1_0"));
        let broken = |problems: &[&str]| BrokenPart {
            part: name("all_1_1_0"),
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
            copied_damage: vec!["c".into()],
        };
        let (torn, copied) = ([broken(&["a", "b"])], [broken(&[])]);
        let sound = Evidence::sound(&before, Some(&before), &Scope::Whole, &none);
        let problem = RetryReason::PartBroken { part: part.clone(), problem: "a".into() };
        let cases = [
            (Evidence { after: Some(&after), ..sound.clone() }, RetryReason::DefinitionChanged),
            (Evidence { definition: DefinitionRead::Missing, ..sound.clone() }, RetryReason::DefinitionMissing),
            (Evidence { definition: DefinitionRead::OfAnother, ..sound.clone() }, RetryReason::DefinitionOfAnother),
            (Evidence { broken: &torn, ..sound.clone() }, problem),
        ];
        for (evidence, reason) in cases {
            assert_eq!(judge(&evidence), Verdict::Retry(reason.clone()));
            assert_eq!(judge(&Evidence { round: ROUNDS - 1, ..evidence.clone() }), Verdict::Retry(reason.clone()));
            assert_eq!(judge(&Evidence { round: ROUNDS, ..evidence }), unstable(reason));
        }
        let caveats = |verdict| match verdict {
            Verdict::Taken(taken) => taken.caveats,
            verdict => panic!("{verdict:?}"),
        };
        // What can be had no better is taken in the last round, and said.
        let lost = Evidence { without_version: Some(&part), ..sound.clone() };
        assert_eq!(judge(&lost), Verdict::Retry(RetryReason::VersionLost(part.clone())));
        assert_eq!(caveats(judge(&Evidence { round: ROUNDS, ..lost })), [Caveat::VersionLost(part.clone())]);
        let damaged = Evidence { broken: &torn, is_broken_on_server: true, ..sound.clone() };
        assert!(matches!(judge(&damaged), Verdict::Retry(RetryReason::PartBroken { .. })));
        let all = Caveat::DamagedOnServer(part.clone(), vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(caveats(judge(&Evidence { round: ROUNDS, ..damaged })), [all]);
        // Damage that was copied on purpose is no reason to try again.
        let copied = Evidence { broken: &copied, not_summed: Some("no"), ..sound };
        let expected = [Caveat::DamagedOnServer(part, vec!["c".into()]), Caveat::RowsNotSummed("no".into())];
        assert_eq!(caveats(judge(&copied)), expected);
    }

    #[test]
    fn a_refusal_skips_the_table_unless_the_counter_was_in_use() {
        let (before, none) = (table(&[], &[]), names(&[]));
        let sound = Evidence::sound(&before, Some(&before), &Scope::Whole, &none);
        let (refused, race) = (Refused::Table("no".into()), Refused::CounterRace("busy".into()));
        let skipped = |message: &str| Verdict::Skipped(TableSkipReason::Refused(message.into()));
        assert_eq!(judge(&Evidence { refused: Some(&refused), ..sound.clone() }), skipped("no"));
        let race = Evidence { refused: Some(&race), ..sound.clone() };
        assert_eq!(judge(&race), Verdict::Retry(RetryReason::CounterRace("busy".into())));
        assert_eq!(judge(&Evidence { round: ROUNDS, ..race }), skipped("busy"));
    }

    #[test]
    fn a_table_that_is_gone_is_looked_for_where_something_stands_in_its_place() {
        let (before, none) = (table(&["all_1_1_0"], &[]), names(&["all_1_1_0"]));
        let gone = Verdict::Skipped(TableSkipReason::Gone);
        let heir = TableName::new("d", "u");
        let no_table = Refused::NoTable;
        let lost = Evidence::sound(&before, None, &Scope::Whole, &none);
        let refused = Evidence { after: Some(&before), refused: Some(&no_table), ..lost.clone() };
        for evidence in [lost, refused] {
            assert_eq!(judge(&evidence), gone);
            let renamed = Evidence { heir: Some(&heir), ..evidence };
            assert_eq!(judge(&renamed), Verdict::Retry(RetryReason::Renamed(heir.clone())));
            assert_eq!(judge(&Evidence { round: ROUNDS, ..renamed }), gone);
        }
    }

    #[test]
    fn a_mutation_that_ends_is_no_change_and_one_that_begins_or_is_killed_is() {
        let (none, id) = (names(&[]), "mutation_2.txt");
        let before = table(&[], &[(id, false)]);
        let done = table(&[], &[(id, true)]);
        let killed = table(&[], &[]);
        let verdict = |before: &Table, after: &Table, round| {
            judge(&Evidence { round, ..Evidence::sound(before, Some(after), &Scope::Whole, &none) })
        };
        assert!(matches!(verdict(&before, &done, 1), Verdict::Taken(taken) if taken.caveats.is_empty()));
        assert_eq!(verdict(&before, &killed, 1), Verdict::Retry(RetryReason::MutationEnded(id.into())));
        let began = RetryReason::MutationBegan(id.into());
        assert_eq!(verdict(&killed, &before, 1), Verdict::Retry(began.clone()));
        let last = verdict(&killed, &before, ROUNDS);
        assert!(matches!(last, Verdict::Taken(taken) if taken.caveats == [Caveat::MutationsMoved(began)]));
    }

    #[test]
    fn only_mutations_that_precede_the_frozen_parts_are_carried() {
        let before = table(&[], &[("mutation_2.txt", false), ("mutation_1.txt", true), ("0000000001", false)]);
        let after = table(
            &[],
            &[
                ("mutation_1.txt", true),
                ("mutation_2.txt", true),
                ("mutation_3.txt", false),
                ("mutation_9.txt", false),
                ("0000000001", false),
            ],
        );
        let part = names(&["all_1_1_0_3", "all_2_2_0_1"]);
        let sound = Evidence::sound(&before, Some(&after), &Scope::Whole, &part);
        let Verdict::Taken(taken) = judge(&Evidence { round: ROUNDS, ..sound }) else { panic!("it is taken") };
        assert_eq!(taken.mutations, ["mutation_2.txt", "mutation_3.txt"]);
        assert!(taken.caveats.contains(&Caveat::MutationsInKeeper(vec!["0000000001".into()])));
        // Whatever the server says of it: a mutation that all frozen parts have is finished. A part that was inserted later
        // does not wait for it.
        for (parts, carried) in [
            (&["all_1_1_0_2", "all_3_3_0"][..], &[][..]),
            (&["all_1_1_0_2", "all_1_1_0"], &["mutation_2.txt"]),
            (&[], &[]),
        ] {
            let (before, parts) = (table(&[], &[("mutation_2.txt", false)]), names(parts));
            let verdict = judge(&Evidence::sound(&before, Some(&before), &Scope::Whole, &parts));
            assert!(matches!(verdict, Verdict::Taken(taken) if taken.mutations == *carried), "{parts:?}");
        }
    }
}
