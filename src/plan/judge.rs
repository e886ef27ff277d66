//! The verdict on one table after a freeze: takes all evidence, and returns one verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{
    CatalogMutation, CatalogPart, LackedMutation, PartName, Table, TableName, WarningKind, awaits_mutation, count,
};

use super::freeze::FreezeScope;
use super::off_moment::{ListedDirectories, ListedEvidence, OffMomentReason};
use super::retry::RetryReason;

/// How the server refused a freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeRefusal {
    /// The server has no such table.
    NoTable,
    /// Two freezes needed the counter of freezes at the same time. The message.
    CounterRace(String),
    /// This user may not freeze it. The message.
    Forbidden(String),
    /// The server refuses to freeze this table. The message.
    Table(String),
}

/// The definition that was read after the freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionRead {
    /// It belongs to the table.
    Own,
    /// It has the UUID of another table: the two have been exchanged meanwhile.
    OfAnother,
    /// There was no definition to read.
    Missing,
}

/// A part that is not intact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenPart {
    /// The part.
    pub part: PartName,
    /// The problem with the files in the snapshot.
    pub problems: Vec<String>,
    /// Damage of the source, which was copied as it is.
    pub copied_damage: Vec<String>,
}

/// All facts about a table after a freeze of it.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The table at the last look before the freeze.
    pub before: &'a Table,
    /// The table of the same name and UUID at the first look after the freeze.
    pub after: Option<&'a Table>,
    /// If that is `None`: the table that replaced it and was not taken yet.
    pub successor: Option<&'a TableName>,
    /// The scope that was to be taken.
    pub scope: &'a FreezeScope,
    /// Its parts in the snapshot, without patch parts.
    pub taken: &'a BTreeSet<PartName>,
    /// The server's refusal, if the freeze failed.
    pub refused: Option<&'a FreezeRefusal>,
    /// Its definition.
    pub definition: DefinitionRead,
    /// A part whose metadata version could not be read, in a table whose parts have one.
    pub without_version: Option<&'a PartName>,
    /// Its parts that are not intact.
    pub broken: &'a [BrokenPart],
    /// Whether all of these are broken in the same way on the server. Only determined in the last round.
    pub is_broken_on_server: bool,
    /// Whether every part of the look before must be present, because the table was not frozen, and its parts were
    /// linked one by one.
    pub is_linked_live: bool,
    /// Why its rows were not summed although that was requested.
    pub not_summed: Option<&'a str>,
    /// If its listed state is wanted: the evidence on that.
    pub listed: Option<ListedEvidence<'a>>,
    /// The number of this freeze of the table, from 1.
    pub round: u32,
}

/// The number of freezes after which a table that changes each time is given up.
pub const ROUNDS: u32 = 3;

/// The decision about a table after a freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the snapshot.
    Taken(Taken),
    /// It is frozen again in the next round.
    Retry(RetryReason),
    /// Its listed state is unavailable: it is frozen again, and the state that the freeze finds is taken.
    FallBack(OffMomentReason),
    /// It is not in the snapshot.
    Skipped(TableSkipReason),
}

/// A table in the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The files of the unfinished mutations that the snapshot includes.
    pub mutations: Vec<String>,
    /// The unfinished mutations that it does not include, because only Keeper has them.
    pub in_keeper: Vec<LackedMutation>,
    /// The caveats to report.
    pub caveats: Vec<Caveat>,
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
    /// It changed during every freeze. The last reason.
    Unstable(RetryReason),
    /// The server does not list it, and its directories changed each time they were linked.
    Restless,
}

/// A caveat about a table that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caveat {
    /// Mutations began or ended during every freeze.
    MutationsMoved(RetryReason),
    /// A mutation that was unfinished when the parts were listed was killed or forgotten before its file was read. Its
    /// id.
    MutationEnded(String),
    /// A part's metadata version could not be read in any round.
    VersionLost(PartName),
    /// A part is damaged on the server. All problems.
    DamagedOnServer(PartName, Vec<String>),
    /// Its rows are not summed. The reason.
    RowsNotSummed(String),
    /// Unfinished mutations that only Keeper has.
    MutationsInKeeper(Vec<LackedMutation>),
}

/// Judges a freeze between two looks at the table.
///
/// A freeze takes the list of active parts at one moment between the two looks. A part that was active at both looks
/// was active at that moment, so it must have been frozen. A definition that was the same at both was in force at that
/// moment.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let is_last = evidence.round >= ROUNDS;
    let retry = |reason| match (is_last, &evidence.listed) {
        (false, _) => Verdict::Retry(reason),
        (true, None) => Verdict::Skipped(TableSkipReason::Unstable(reason)),
        (true, Some(_)) => Verdict::FallBack(OffMomentReason::Unsettled(reason)),
    };
    match evidence.refused {
        Some(FreezeRefusal::CounterRace(message)) if !is_last => {
            return Verdict::Retry(RetryReason::CounterRace(message.clone()));
        }
        Some(FreezeRefusal::Forbidden(message)) => {
            return Verdict::Skipped(TableSkipReason::Forbidden(message.clone()));
        }
        Some(FreezeRefusal::CounterRace(message) | FreezeRefusal::Table(message)) => {
            return Verdict::Skipped(TableSkipReason::Refused(message.clone()));
        }
        Some(FreezeRefusal::NoTable) | None => {}
    }
    let Some(after) = evidence.after.filter(|_| evidence.refused.is_none()) else {
        return match evidence.successor {
            Some(successor) if evidence.listed.is_some() => {
                Verdict::FallBack(OffMomentReason::Renamed(successor.clone()))
            }
            Some(successor) if !is_last => Verdict::Retry(RetryReason::Renamed(successor.clone())),
            _ => Verdict::Skipped(TableSkipReason::Gone),
        };
    };
    let mut caveats = Vec::new();
    if let Some(listed) = &evidence.listed
        && let Some(reason) = off_moment_reason(evidence, listed, after)
    {
        return Verdict::FallBack(reason);
    }
    if let Some(reason) = inconsistency(evidence, after) {
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
    match moved_mutation(evidence, after) {
        // The list does not change, however often the table is frozen.
        Some(RetryReason::MutationEnded(id)) if evidence.listed.is_some() => caveats.push(Caveat::MutationEnded(id)),
        Some(reason) if is_last => caveats.push(Caveat::MutationsMoved(reason)),
        Some(reason) => return retry(reason),
        None => {}
    }
    caveats.extend(evidence.broken.iter().map(|broken| {
        let problems = broken.problems.iter().chain(&broken.copied_damage).cloned().collect();
        Caveat::DamagedOnServer(broken.part.clone(), problems)
    }));
    caveats.extend(evidence.not_summed.map(|reason| Caveat::RowsNotSummed(reason.to_owned())));
    let (mutations, in_keeper) = carried_mutations(evidence.before, after, evidence.taken);
    if !in_keeper.is_empty() {
        caveats.push(Caveat::MutationsInKeeper(in_keeper.clone()));
    }
    Verdict::Taken(Taken { mutations, in_keeper, caveats })
}

fn first_problem(broken: &[BrokenPart]) -> Option<(&PartName, &String)> {
    broken.iter().find_map(|broken| Some((&broken.part, broken.problems.first()?)))
}

/// Why the listed state of a table was not taken, and cannot be.
///
/// A definition that is the same before the list was read and after the last link was made was in force at the list.
fn off_moment_reason(evidence: &Evidence<'_>, listed: &ListedEvidence<'_>, after: &Table) -> Option<OffMomentReason> {
    let before = evidence.before;
    match listed.directories {
        ListedDirectories::Same => {}
        ListedDirectories::Replaced => return Some(OffMomentReason::Replaced),
        ListedDirectories::WithUnlistedParts => return Some(OffMomentReason::NotListed),
    }
    if before.definition != after.definition || before.engine != after.engine {
        return Some(OffMomentReason::DefinitionChanged);
    }
    let lifetime_secs = listed.lifetime_secs;
    listed.missing.map(|part| OffMomentReason::PartGone { part: part.clone(), lifetime_secs })
}

/// Why the parts that were taken never were a state of the table.
fn inconsistency(evidence: &Evidence<'_>, after: &Table) -> Option<RetryReason> {
    let (before, scope, taken) = (evidence.before, evidence.scope, evidence.taken);
    if before.definition != after.definition || before.engine != after.engine {
        return Some(RetryReason::DefinitionChanged);
    }
    let is_expected = |part: &&CatalogPart| scope.covers(&part.partition) && !part.name.is_patch();
    let mut missed = before.parts.iter().filter(|part| is_expected(part) && !taken.contains(&part.name)).peekable();
    // Usually no part was missed, and no reason has to be found.
    if let Some(part) = missed.peek() {
        if evidence.is_linked_live {
            return Some(RetryReason::PartVanished(part.name.clone()));
        }
        let still_there: BTreeSet<&PartName> = after.parts.iter().map(|part| &part.name).collect();
        if let Some(part) = missed.find(|part| still_there.contains(&part.name)) {
            return Some(RetryReason::PartMissed(part.name.clone()));
        }
    }
    // An empty list is complete without parts.
    if evidence.listed.is_none() && taken.is_empty() && after.parts.iter().any(|part| is_expected(&part)) {
        return Some(RetryReason::NothingFrozen);
    }
    match evidence.definition {
        DefinitionRead::Own => None,
        DefinitionRead::OfAnother => Some(RetryReason::DefinitionOfAnother),
        DefinitionRead::Missing => Some(RetryReason::DefinitionMissing),
    }
}

fn moved_mutation(evidence: &Evidence<'_>, after: &Table) -> Option<RetryReason> {
    let before = evidence.before;
    let known_before: BTreeSet<&str> = before.mutations.iter().map(|mutation| mutation.id.as_str()).collect();
    let known_after: BTreeSet<&str> = after.mutations.iter().map(|mutation| mutation.id.as_str()).collect();
    let began = after.mutations.iter().find(|mutation| !known_before.contains(mutation.id.as_str()));
    // For a list, it matters only if a listed part lacks it.
    let is_missed = |mutation: &CatalogMutation| {
        let awaits = |version| awaits_mutation(version, evidence.taken);
        evidence.listed.is_none() || mutation.version().is_none_or(awaits)
    };
    let is_ended = |m: &&CatalogMutation| !m.is_done && !known_after.contains(m.id.as_str()) && is_missed(m);
    let ended = || before.mutations.iter().find(is_ended);
    // A mutation that began after the list does not belong to its moment.
    match began.filter(|_| evidence.listed.is_none()) {
        Some(mutation) => Some(RetryReason::MutationBegan(mutation.id.clone())),
        None => ended().map(|mutation| RetryReason::MutationEnded(mutation.id.clone())),
    }
}

/// The files of the mutations that a snapshot includes, so that a restored table finishes them.
///
/// Those are the mutations that were unfinished before the freeze and still listed after it, and those that a frozen
/// part shows to be in progress, as long as a frozen part lacks them. A mutation that only began after the parts were
/// listed is left out: the snapshot is the state before it. A mutation whose id is not a file name (replicated tables
/// keep theirs in Keeper) is in the second list, with the parts that lack it.
fn carried_mutations(before: &Table, after: &Table, taken: &BTreeSet<PartName>) -> (Vec<String>, Vec<LackedMutation>) {
    let newest_seen = taken.iter().map(PartName::mutation_version).max().unwrap_or(0);
    let known_before: BTreeMap<&str, bool> = before.mutations.iter().map(|m| (m.id.as_str(), m.is_done)).collect();
    let is_carried = |mutation: &&CatalogMutation| {
        let version = mutation.version();
        let began = match known_before.get(mutation.id.as_str()) {
            Some(was_done) => !was_done,
            None => version.is_some_and(|version| version <= newest_seen),
        };
        began && version.is_none_or(|version| awaits_mutation(version, taken))
    };
    let (files, in_keeper): (Vec<&CatalogMutation>, Vec<&CatalogMutation>) =
        after.mutations.iter().filter(is_carried).partition(|mutation| mutation.version().is_some());
    let lacked = |mutation: &CatalogMutation| {
        let id = mutation.id.clone();
        // A mutation that is finished by now is listed without its command.
        let earlier = before.mutations.iter().find(|earlier| earlier.id == id);
        let known = mutation.in_keeper.as_ref().or_else(|| earlier?.in_keeper.as_ref());
        match known {
            Some(known) => {
                let lacked = LackedMutation { id, command: known.command.clone(), parts: known.lacking(taken) };
                (!lacked.parts.is_empty()).then_some(lacked)
            }
            None => Some(LackedMutation { id, command: String::new(), parts: Vec::new() }),
        }
    };
    (
        files.into_iter().map(|mutation| mutation.id.clone()).collect(),
        in_keeper.into_iter().filter_map(lacked).collect(),
    )
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
            Self::MutationsMoved(_) | Self::MutationEnded(_) => WarningKind::MutationsMoved,
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
            Self::MutationEnded(id) => write!(
                f,
                "mutation {id} was unfinished when its parts were listed and is gone from the server's list; the snapshot is its \
                 state before that mutation"
            ),
            Self::VersionLost(part) => RetryReason::VersionLost(part.clone()).fmt(f),
            Self::DamagedOnServer(part, problems) => {
                write!(f, "part {part} is damaged on the server: {}", problems.join("; "))
            }
            Self::RowsNotSummed(reason) => write!(f, "its rows are not summed: {reason}"),
            Self::MutationsInKeeper(mutations) => {
                let ids: Vec<&str> = mutations.iter().map(|mutation| mutation.id.as_str()).collect();
                let parts: BTreeSet<&PartName> = mutations.iter().flat_map(|mutation| &mutation.parts).collect();
                let parts = match parts.len() as u64 {
                    0 => "the parts that lack them are not known".to_owned(),
                    parts => format!("the snapshot has {} that a restore does not change", count(parts, "part")),
                };
                write!(f, "the unfinished mutations {} are kept in Keeper: {parts}", ids.join(", "))
            }
        }
    }
}

impl<'a> Evidence<'a> {
    /// The evidence on a table without any problem.
    #[must_use]
    pub fn sound(
        before: &'a Table,
        after: Option<&'a Table>,
        scope: &'a FreezeScope,
        taken: &'a BTreeSet<PartName>,
    ) -> Self {
        Self {
            before,
            after,
            successor: None,
            scope,
            taken,
            refused: None,
            definition: DefinitionRead::Own,
            without_version: None,
            broken: &[],
            is_broken_on_server: false,
            is_linked_live: false,
            not_summed: None,
            listed: None,
            round: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        BrokenPart, Caveat, DefinitionRead, Evidence, FreezeRefusal, ListedDirectories, ListedEvidence,
        OffMomentReason, ROUNDS, RetryReason, TableSkipReason, Taken, Verdict, judge,
    };
    use crate::model::{CatalogMutation, KeeperMutation, LackedMutation, PartName, PartitionId, Table, TableName};
    use crate::plan::{FreezeScope, samples};

    fn name(text: &str) -> PartName {
        PartName::try_from(text.to_owned()).expect("a valid part name")
    }

    fn names(list: &[&str]) -> BTreeSet<PartName> {
        list.iter().map(|text| name(text)).collect()
    }

    fn table(parts: &[&str], mutations: &[(&str, bool)]) -> Table {
        let parts = parts.iter().map(|text| samples::part(name(text), "all", 1)).collect();
        let mutation =
            |(id, is_done): &(&str, bool)| CatalogMutation { id: (*id).into(), is_done: *is_done, in_keeper: None };
        Table { mutations: mutations.iter().map(mutation).collect(), ..samples::table(parts) }
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
        assert_eq!(judge(&Evidence::sound(&before, Some(&after), &FreezeScope::Whole, &both)), taken());
    }

    #[test]
    fn a_part_active_at_both_looks_must_have_been_frozen() {
        let (both, none) = (table(&["all_1_1_0"], &[]), names(&[]));
        let missed = RetryReason::PartMissed(name("all_1_1_0"));
        assert_eq!(judge(&Evidence::sound(&both, Some(&both), &FreezeScope::Whole, &none)), Verdict::Retry(missed));
        assert_eq!(judge(&Evidence::sound(&both, Some(&both), &FreezeScope::Nothing, &none)), taken());
        let after = table(&["all_1_2_1"], &[]);
        // Parts linked one by one are a state of the table only if they are complete.
        let (two, one) = (table(&["all_1_1_0", "all_2_2_0"], &[]), names(&["all_1_1_0"]));
        let linked =
            Evidence { is_linked_live: true, ..Evidence::sound(&two, Some(&after), &FreezeScope::Whole, &one) };
        assert_eq!(judge(&linked), Verdict::Retry(RetryReason::PartVanished(name("all_2_2_0"))));
        let verdict = judge(&Evidence::sound(&both, Some(&after), &FreezeScope::Whole, &none));
        assert_eq!(verdict, Verdict::Retry(RetryReason::NothingFrozen));
    }

    #[test]
    fn patch_parts_are_not_expected_in_the_shadow() {
        let both = table(&["patch-0123-all_1_1_0"], &[]);
        assert_eq!(judge(&Evidence::sound(&both, Some(&both), &FreezeScope::Whole, &names(&[]))), taken());
    }

    #[test]
    fn a_problem_of_one_freeze_is_retried_and_given_up_in_the_last_round() {
        let before = table(&[], &[]);
        let after = Table { definition: "CREATE TABLE d.t (b UInt8)".into(), ..before.clone() };
        let (none, part) = (names(&[]), name("all_1_1_0"));
        let broken = |problems: &[&str]| BrokenPart {
            part: name("all_1_1_0"),
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
            copied_damage: vec!["c".into()],
        };
        let (torn, copied) = ([broken(&["a", "b"])], [broken(&[])]);
        let sound = Evidence::sound(&before, Some(&before), &FreezeScope::Whole, &none);
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
        // In the last round, an imperfect table is taken with a caveat.
        let lost = Evidence { without_version: Some(&part), ..sound.clone() };
        assert_eq!(judge(&lost), Verdict::Retry(RetryReason::VersionLost(part.clone())));
        assert_eq!(caveats(judge(&Evidence { round: ROUNDS, ..lost })), [Caveat::VersionLost(part.clone())]);
        let damaged = Evidence { broken: &torn, is_broken_on_server: true, ..sound.clone() };
        assert!(matches!(judge(&damaged), Verdict::Retry(RetryReason::PartBroken { .. })));
        let all = Caveat::DamagedOnServer(part.clone(), vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(caveats(judge(&Evidence { round: ROUNDS, ..damaged })), [all]);
        // Damage that was copied deliberately is no reason to retry.
        let copied = Evidence { broken: &copied, not_summed: Some("no"), ..sound };
        let expected = [Caveat::DamagedOnServer(part, vec!["c".into()]), Caveat::RowsNotSummed("no".into())];
        assert_eq!(caveats(judge(&copied)), expected);
    }

    #[test]
    fn a_refusal_skips_the_table_unless_the_counter_was_in_use() {
        let (before, none) = (table(&[], &[]), names(&[]));
        let sound = Evidence::sound(&before, Some(&before), &FreezeScope::Whole, &none);
        let (refused, race) = (FreezeRefusal::Table("no".into()), FreezeRefusal::CounterRace("busy".into()));
        let skipped = |message: &str| Verdict::Skipped(TableSkipReason::Refused(message.into()));
        assert_eq!(judge(&Evidence { refused: Some(&refused), ..sound.clone() }), skipped("no"));
        let race = Evidence { refused: Some(&race), ..sound.clone() };
        assert_eq!(judge(&race), Verdict::Retry(RetryReason::CounterRace("busy".into())));
        assert_eq!(judge(&Evidence { round: ROUNDS, ..race }), skipped("busy"));
    }

    #[test]
    fn a_missing_table_is_searched_at_its_path_if_something_else_is_there() {
        let (before, none) = (table(&["all_1_1_0"], &[]), names(&["all_1_1_0"]));
        let gone = Verdict::Skipped(TableSkipReason::Gone);
        let successor = TableName::new("d", "u");
        let no_table = FreezeRefusal::NoTable;
        let lost = Evidence::sound(&before, None, &FreezeScope::Whole, &none);
        let refused = Evidence { after: Some(&before), refused: Some(&no_table), ..lost.clone() };
        for evidence in [lost, refused] {
            assert_eq!(judge(&evidence), gone);
            let renamed = Evidence { successor: Some(&successor), ..evidence };
            assert_eq!(judge(&renamed), Verdict::Retry(RetryReason::Renamed(successor.clone())));
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
            judge(&Evidence { round, ..Evidence::sound(before, Some(after), &FreezeScope::Whole, &none) })
        };
        assert!(matches!(verdict(&before, &done, 1), Verdict::Taken(taken) if taken.caveats.is_empty()));
        assert_eq!(verdict(&before, &killed, 1), Verdict::Retry(RetryReason::MutationEnded(id.into())));
        let began = RetryReason::MutationBegan(id.into());
        assert_eq!(verdict(&killed, &before, 1), Verdict::Retry(began.clone()));
        let last = verdict(&killed, &before, ROUNDS);
        assert!(matches!(last, Verdict::Taken(taken) if taken.caveats == [Caveat::MutationsMoved(began)]));
    }

    #[test]
    fn a_mutation_in_keeper_names_the_parts_that_lack_it() {
        let id = "0000000007";
        let all = KeeperMutation {
            command: "UPDATE v = 1 WHERE 1".into(),
            versions: [(PartitionId("all".into()), 5)].into(),
        };
        let mut before = table(&[], &[(id, false)]);
        before.mutations.iter_mut().for_each(|mutation| mutation.in_keeper = Some(all.clone()));
        // The server reports meanwhile that it is done, and lists it without its command.
        for after in [before.clone(), table(&[], &[(id, true)])] {
            for (parts, lacking) in [
                (&["all_1_1_0", "all_2_2_0_5", "all_4_4_0_3", "all_6_6_0"][..], &["all_1_1_0", "all_4_4_0_3"][..]),
                // Another partition is not affected, nor is a patch.
                (&["b_1_1_0", "patch-00112233445566778899aabbccddeeff-all_1_1_0", "all_2_2_0_5"], &[]),
            ] {
                let taken = names(parts);
                let Verdict::Taken(taken) = judge(&Evidence::sound(&before, Some(&after), &FreezeScope::Whole, &taken))
                else {
                    panic!("it is taken")
                };
                let lacked = LackedMutation {
                    id: id.into(),
                    command: "UPDATE v = 1 WHERE 1".into(),
                    parts: lacking.iter().map(|text| name(text)).collect(),
                };
                let expected = if lacking.is_empty() { Vec::new() } else { vec![lacked] };
                assert_eq!(taken.in_keeper, expected, "{parts:?}");
                assert_eq!(taken.caveats.is_empty(), lacking.is_empty());
            }
        }
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
        let sound = Evidence::sound(&before, Some(&after), &FreezeScope::Whole, &part);
        let Verdict::Taken(taken) = judge(&Evidence { round: ROUNDS, ..sound }) else { panic!("it is taken") };
        assert_eq!(taken.mutations, ["mutation_2.txt", "mutation_3.txt"]);
        let unknown = LackedMutation { id: "0000000001".into(), command: String::new(), parts: Vec::new() };
        assert_eq!(taken.in_keeper, std::slice::from_ref(&unknown));
        assert!(taken.caveats.contains(&Caveat::MutationsInKeeper(vec![unknown])));
        // Whatever the server reports about it: a mutation that all frozen parts have is finished. A part that was
        // inserted later does not wait for it.
        for (parts, carried) in [
            (&["all_1_1_0_2", "all_3_3_0"][..], &[][..]),
            (&["all_1_1_0_2", "all_1_1_0"], &["mutation_2.txt"]),
            (&[], &[]),
        ] {
            let (before, parts) = (table(&[], &[("mutation_2.txt", false)]), names(parts));
            let verdict = judge(&Evidence::sound(&before, Some(&before), &FreezeScope::Whole, &parts));
            assert!(matches!(verdict, Verdict::Taken(taken) if taken.mutations == *carried), "{parts:?}");
        }
    }

    #[test]
    fn a_listed_state_is_taken_completely_or_given_up() {
        let (before, after) = (table(&["all_1_1_0", "all_2_2_0"], &[]), table(&["all_1_2_1", "all_3_3_0"], &[]));
        let both = names(&["all_1_1_0", "all_2_2_0"]);
        let listed = |listed| Evidence {
            listed: Some(listed),
            ..Evidence::sound(&before, Some(&after), &FreezeScope::Whole, &both)
        };
        assert_eq!(judge(&listed(ListedEvidence::default())), taken());
        let gone = name("all_2_2_0");
        let missing = ListedEvidence { missing: Some(&gone), lifetime_secs: Some(0), ..ListedEvidence::default() };
        let part_gone = OffMomentReason::PartGone { part: gone.clone(), lifetime_secs: Some(0) };
        for round in 1..=ROUNDS {
            let verdict = judge(&Evidence { round, ..listed(missing.clone()) });
            assert_eq!(verdict, Verdict::FallBack(part_gone.clone()), "no other freeze finds it again");
        }
        let replaced = ListedEvidence { directories: ListedDirectories::Replaced, ..missing };
        assert_eq!(judge(&listed(replaced)), Verdict::FallBack(OffMomentReason::Replaced));
        let directories = ListedDirectories::WithUnlistedParts;
        let unlisted = listed(ListedEvidence { directories, ..ListedEvidence::default() });
        assert_eq!(judge(&unlisted), Verdict::FallBack(OffMomentReason::NotListed));
        let altered = Table { definition: "CREATE TABLE d.t (b UInt8)".into(), ..after.clone() };
        let evidence = Evidence { after: Some(&altered), ..listed(ListedEvidence::default()) };
        assert_eq!(judge(&evidence), Verdict::FallBack(OffMomentReason::DefinitionChanged));
        let successor = TableName::new("d", "u");
        let renamed = Evidence { after: None, successor: Some(&successor), ..listed(ListedEvidence::default()) };
        assert_eq!(judge(&renamed), Verdict::FallBack(OffMomentReason::Renamed(successor.clone())));
        let dropped = Evidence { successor: None, ..renamed };
        assert_eq!(judge(&dropped), Verdict::Skipped(TableSkipReason::Gone));
        // An empty list is a valid state, whatever the table contains by now.
        let (empty, none) = (table(&[], &[]), names(&[]));
        let sound = Evidence::sound(&empty, Some(&after), &FreezeScope::Whole, &none);
        assert_eq!(judge(&Evidence { listed: Some(ListedEvidence::default()), ..sound.clone() }), taken());
        assert_eq!(judge(&sound), Verdict::Retry(RetryReason::NothingFrozen));
    }

    #[test]
    fn a_problem_with_a_listed_state_is_retried_and_then_given_up() {
        let (before, none) = (table(&[], &[]), names(&[]));
        let sound = Evidence::sound(&before, Some(&before), &FreezeScope::Whole, &none);
        let missing =
            Evidence { listed: Some(ListedEvidence::default()), definition: DefinitionRead::Missing, ..sound };
        let reason = RetryReason::DefinitionMissing;
        assert_eq!(judge(&missing), Verdict::Retry(reason.clone()));
        let last = judge(&Evidence { round: ROUNDS, ..missing });
        assert_eq!(last, Verdict::FallBack(OffMomentReason::Unsettled(reason)));
    }

    #[test]
    fn mutations_after_the_list_are_none_of_its_state() {
        let (id, part) = ("mutation_2.txt", names(&["all_1_1_0"]));
        let (without, with) = (table(&["all_1_1_0"], &[]), table(&["all_1_1_0"], &[(id, false)]));
        let verdict = |before: &Table, after: &Table, taken: &BTreeSet<PartName>| {
            let sound = Evidence::sound(before, Some(after), &FreezeScope::Whole, taken);
            judge(&Evidence { listed: Some(ListedEvidence::default()), ..sound })
        };
        assert_eq!(verdict(&without, &with, &part), taken(), "it began after the list");
        let done = table(&["all_1_1_0_2"], &[(id, true)]);
        let carried = Verdict::Taken(Taken { mutations: vec![id.into()], in_keeper: Vec::new(), caveats: Vec::new() });
        assert_eq!(verdict(&with, &done, &part), carried, "it had begun, and the listed part lacks it");
        let ended = Caveat::MutationEnded(id.into());
        let verdict_of_killed = verdict(&with, &without, &part);
        assert!(matches!(verdict_of_killed, Verdict::Taken(taken) if taken.caveats == [ended]));
        let mutated = names(&["all_1_1_0_2"]);
        let (with, without) = (table(&["all_1_1_0_2"], &[(id, false)]), table(&["all_1_1_0_2"], &[]));
        assert_eq!(verdict(&with, &without, &mutated), taken(), "all listed parts had it");
    }
}
