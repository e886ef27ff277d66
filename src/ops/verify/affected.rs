//! Finds all snapshots that share a damage, and intact copies, anywhere in the repository.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::exec::verify::{
    InodeKey, IntactFile, IntactSearch, PartFinding, PartGroup, Sharer, Verifier, WantedFile, check_metadata,
    find_sharers,
};
use crate::fs::Dir;
use crate::model::{PartName, SnapshotId, TableName};
use crate::monitor::{Monitor, Stage, StageAtWork};
use crate::repo::part_path;

use super::super::error::OpError;
use super::merge::{Merged, merge};
use super::request::{Damage, Intact};
use super::subjects::{Groups, Opened, Subject, open, open_removed};
use super::{Spared, VerifyRun};

/// Damage, with everything that a repair needs.
pub(super) struct AffectedEntries {
    pub(super) list: Vec<Damage>,
    /// The intact copy for each item of the list, if there is one.
    pub(super) copies: Vec<Option<IntactFile>>,
    /// The snapshots that contain the damage or the copies, leased.
    pub(super) subjects: Vec<Subject>,
}

impl VerifyRun<'_> {
    /// Searches all snapshots of the repository for entries that share the damage, and for intact copies.
    pub(super) fn find_affected(
        &self,
        mut subjects: Vec<Subject>,
        mut findings: Vec<PartFinding>,
        spared: &Spared,
        monitor: &dyn Monitor,
    ) -> Result<AffectedEntries, OpError> {
        if findings.is_empty() {
            return Ok(AffectedEntries { list: Vec::new(), copies: Vec::new(), subjects });
        }
        let _searching = StageAtWork::start(monitor, Stage::Search, None);
        let asked: BTreeSet<SnapshotId> = subjects.iter().map(|subject| subject.id).collect();
        for id in self.repository.snapshot_ids()?.0 {
            // Damage of the others is ignored, except for shared inodes, and so is a failure to read them.
            if !asked.contains(&id)
                && let Ok(Opened::Subject(subject, _)) = open(self.repository, id, subjects.len())
            {
                subjects.push(*subject);
            }
        }
        let inodes: HashSet<InodeKey> = findings.iter().filter_map(|finding| finding.inode).collect();
        let sharers: Vec<Vec<Sharer>> = if inodes.is_empty() {
            vec![Vec::new(); subjects.len()]
        } else {
            subjects.par_iter().map(|subject| find_sharers(&subject.dir, &inodes)).collect()
        };
        findings.extend(self.check_sharers(&subjects, &sharers, (asked.len(), &spared.not_read()), &inodes));
        let ids: Vec<SnapshotId> = subjects.iter().map(|subject| subject.id).collect();
        let Merged { mut list, wanted } = merge(findings, &ids);
        let in_trash = self.find_in_trash(&inodes);
        mark_linked_outside(&mut list, sharers.iter().flatten().chain(&in_trash));
        self.note_removed(&mut list, in_trash, &inodes);
        let copies = self.find_copies(&subjects, &wanted, &inodes);
        for (damage, copy) in list.iter_mut().zip(&copies) {
            let intact = copy.as_ref().and_then(|copy| Some((*ids.get(copy.snapshot)?, copy)));
            damage.intact = intact.map(|(id, copy)| Intact { id, path: copy.path.clone() });
        }
        Ok(AffectedEntries { list, copies, subjects })
    }

    /// Checks parts that share a damaged inode and that were out of the run's scope, or were spared because an earlier
    /// check has read them. Only the shared damage is reported.
    fn check_sharers(
        &self,
        subjects: &[Subject],
        sharers: &[Vec<Sharer>],
        (asked, spared): (usize, &HashSet<&(TableName, PartName)>),
        inodes: &HashSet<InodeKey>,
    ) -> Vec<PartFinding> {
        let mut groups = Groups::default();
        let mut findings = Vec::new();
        for (position, (subject, sharers)) in subjects.iter().zip(sharers).enumerate() {
            let parts: HashSet<PathBuf> =
                sharers.iter().map(|sharer| sharer.path.components().take(4).collect()).collect();
            let was_asked = position < asked;
            let is_whole = was_asked && self.scope.tables.is_empty() && self.scope.slice.is_none() && spared.is_empty();
            if parts.is_empty() || is_whole {
                continue;
            }
            let paths: HashSet<&Path> = sharers.iter().map(|sharer| sharer.path.as_path()).collect();
            let all = super::VerifyScope { tables: &[], slice: None };
            for (file, table) in subject.metadata(all) {
                let is_new = !was_asked || !table.as_ref().is_some_and(|table| self.scope.has_table(table));
                if is_new && paths.contains(Path::new(&file.path)) {
                    let level = self.request.level;
                    let found = check_metadata(&subject.dir, position, file, level, self.options, self.unread);
                    findings.extend(found.into_iter().map(|finding| PartFinding { table: table.clone(), ..finding }));
                }
            }
            for record in subject.parts(position, self.unread).unwrap_or_default() {
                let table = record.table_name();
                let key = (table, record.part.clone());
                let is_new = !was_asked || !self.scope.has(&key.0, &key.1) || spared.contains(&key);
                let path = part_path(&record.table, &record.part);
                if is_new && parts.contains(&path) {
                    groups.add(position, record, subject.keeps_ids());
                }
            }
        }
        let dirs: Vec<Dir> = subjects.iter().map(|subject| subject.dir.clone()).collect();
        let verifier = Verifier::new(&dirs, self.request.level, self.options, self.unread);
        for ((table, part), instances) in groups.parts {
            findings.extend(verifier.check(&PartGroup { table, part, instances }).findings);
        }
        findings.retain(|finding| finding.inode.is_some_and(|inode| inodes.contains(&inode)));
        findings
    }

    /// The entries of damaged inodes in the trash, relative to it.
    fn find_in_trash(&self, inodes: &HashSet<InodeKey>) -> Vec<Sharer> {
        let trash = self.repository.dir().find_beneath(Path::new("trash")).ok().flatten();
        trash.filter(|_| !inodes.is_empty()).map(|trash| find_sharers(&trash, inodes)).unwrap_or_default()
    }

    /// Adds the parts of removed snapshots that have the damage too: a snapshot that is brought back from the trash is
    /// still damaged.
    fn note_removed(&self, list: &mut [Damage], in_trash: Vec<Sharer>, inodes: &HashSet<InodeKey>) {
        let mut by_snapshot: BTreeMap<SnapshotId, Vec<Sharer>> = BTreeMap::new();
        for sharer in in_trash {
            let mut path = sharer.path.components();
            let id = path.next().and_then(|name| name.as_os_str().to_str()?.parse().ok());
            let path = path.as_path().to_owned();
            if let Some(id) = id {
                by_snapshot.entry(id).or_default().push(Sharer { path, ..sharer });
            }
        }
        let (mut subjects, mut sharers) = (Vec::new(), Vec::new());
        for (id, of_snapshot) in by_snapshot {
            // A snapshot that is unlinked meanwhile can no longer be brought back.
            if let Some(subject) = open_removed(self.repository, id) {
                subjects.push(subject);
                sharers.push(of_snapshot);
            }
        }
        for finding in self.check_sharers(&subjects, &sharers, (0, &HashSet::new()), inodes) {
            let Some((table, part)) = finding.table.as_ref().zip(finding.part.as_ref()) else { continue };
            let ids = finding.snapshots.iter().filter_map(|at| Some(subjects.get(*at)?.id));
            let parts: Vec<_> = ids.map(|id| (table.clone(), part.clone(), id)).collect();
            let same = |damage: &&mut Damage| damage.inode == finding.inode && damage.kind == finding.kind;
            if let Some(damage) = list.iter_mut().find(same) {
                damage.parts.extend(parts);
            }
        }
    }

    fn find_copies(
        &self,
        subjects: &[Subject],
        wanted: &[Option<WantedFile>],
        damaged: &HashSet<InodeKey>,
    ) -> Vec<Option<IntactFile>> {
        let asked: Vec<WantedFile> = wanted.iter().flatten().copied().collect();
        if asked.is_empty() {
            return vec![None; wanted.len()];
        }
        let mut search = IntactSearch::new(asked, damaged, self.options);
        // The newest is the most likely to be kept.
        for (position, subject) in subjects.iter().enumerate().rev() {
            if search.is_done() {
                break;
            }
            for record in subject.parts(position, self.unread).unwrap_or_default() {
                search.look_at_part(&subject.dir, position, &record);
            }
            for file in subject.manifest.iter().flat_map(|manifest| &manifest.metadata) {
                search.look_at_metadata(&subject.dir, position, file);
            }
        }
        let mut copies = search.into_copies().into_iter();
        wanted.iter().map(|wanted| wanted.and_then(|_| copies.next().flatten())).collect()
    }
}

/// Marks the damaged inodes that have entries besides these, which are those of all snapshots and the trash.
fn mark_linked_outside<'a>(list: &mut [Damage], sharers: impl Iterator<Item = &'a Sharer>) {
    let mut links: HashMap<InodeKey, (u32, u32)> = HashMap::new();
    for sharer in sharers {
        let (found, all) = links.entry(sharer.inode).or_default();
        *found += 1;
        *all = sharer.links;
    }
    for damage in list {
        let links = damage.inode.and_then(|inode| links.get(&inode));
        damage.is_linked_outside = links.is_some_and(|(found, all)| all > found);
    }
}
