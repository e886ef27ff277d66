//! Where damage was found: every snapshot that shares it, and an intact copy, wherever in the repository they are.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::exec::table_path;
use crate::exec::verify::{
    Copy, Finding, InodeKey, IntactSearch, PartGroup, Sharer, Verifier, Wanted, check_metadata, find_sharers,
};
use crate::fs::Dir;
use crate::model::{PartName, SnapshotId, TableName};
use crate::monitor::{Monitor, Stage, StageAtWork};

use super::super::error::OpError;
use super::merge::{Merged, merge};
use super::request::{Damage, Intact};
use super::subjects::{Groups, Opened, Subject, open};
use super::{Run, Spared};

/// Damage with all that a repair needs.
pub(super) struct Widened {
    pub(super) list: Vec<Damage>,
    /// For each of the list.
    pub(super) copies: Vec<Option<Copy>>,
    /// The snapshots that it is in, and those that copies are in, leased.
    pub(super) subjects: Vec<Subject>,
}

impl Run<'_> {
    /// Looks for what shares the damage, and for what is intact, in all snapshots of the repository.
    pub(super) fn widen(
        &self,
        mut subjects: Vec<Subject>,
        mut findings: Vec<Finding>,
        spared: &Spared,
        monitor: &dyn Monitor,
    ) -> Result<Widened, OpError> {
        if findings.is_empty() {
            return Ok(Widened { list: Vec::new(), copies: Vec::new(), subjects });
        }
        let _searching = StageAtWork::start(monitor, Stage::Search, None);
        let asked: BTreeSet<SnapshotId> = subjects.iter().map(|subject| subject.id).collect();
        for id in self.repository.snapshot_ids()?.0 {
            // What is wrong with the others is not asked, but for what they share; nor that they cannot be read.
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
        self.mark_linked_outside(&mut list, &sharers, &inodes);
        let copies = self.find_copies(&subjects, &wanted, &inodes);
        for (damage, copy) in list.iter_mut().zip(&copies) {
            let intact = copy.as_ref().and_then(|copy| Some((*ids.get(copy.snapshot)?, copy)));
            damage.intact = intact.map(|(id, copy)| Intact { id, path: copy.path.clone() });
        }
        Ok(Widened { list, copies, subjects })
    }

    /// Checks the parts that share a damaged inode and that the run was not about, or did not read because an earlier check
    /// has. Only that is reported of them.
    fn check_sharers(
        &self,
        subjects: &[Subject],
        sharers: &[Vec<Sharer>],
        (asked, spared): (usize, &HashSet<&(TableName, PartName)>),
        inodes: &HashSet<InodeKey>,
    ) -> Vec<Finding> {
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
            let all = super::Scope { tables: &[], slice: None };
            for (file, table) in subject.metadata(all) {
                let is_new = !was_asked || !table.as_ref().is_some_and(|table| self.scope.has_table(table));
                if is_new && paths.contains(Path::new(&file.path)) {
                    let level = self.request.level;
                    let found = check_metadata(&subject.dir, position, file, level, self.means, self.unread);
                    findings.extend(found.into_iter().map(|finding| Finding { table: table.clone(), ..finding }));
                }
            }
            for record in subject.parts(position, self.unread).unwrap_or_default() {
                let table = record.table_name();
                let key = (table, record.part.clone());
                let is_new = !was_asked || !self.scope.has(&key.0, &key.1) || spared.contains(&key);
                let path = table_path(&record.database, &record.table).join(record.part.as_str());
                if is_new && parts.contains(&path) {
                    groups.add(position, record, subject.keeps_ids());
                }
            }
        }
        let dirs: Vec<Dir> = subjects.iter().map(|subject| subject.dir.clone()).collect();
        let verifier = Verifier::new(&dirs, self.request.level, self.means, self.unread);
        for ((table, part), instances) in groups.parts {
            findings.extend(verifier.check(&PartGroup { table, part, instances }).findings);
        }
        findings.retain(|finding| finding.inode.is_some_and(|inode| inodes.contains(&inode)));
        findings
    }

    /// Says which damaged inodes have entries that are in no snapshot, the trash included.
    fn mark_linked_outside(&self, list: &mut [Damage], sharers: &[Vec<Sharer>], inodes: &HashSet<InodeKey>) {
        let mut links: HashMap<InodeKey, (u32, u32)> = HashMap::new();
        let trash = self.repository.dir().find_beneath(Path::new("trash")).ok().flatten();
        let in_trash = match trash {
            Some(trash) if !inodes.is_empty() => find_sharers(&trash, inodes),
            _ => Vec::new(),
        };
        for sharer in sharers.iter().flatten().chain(&in_trash) {
            let (found, all) = links.entry(sharer.inode).or_default();
            *found += 1;
            *all = sharer.links;
        }
        for damage in list {
            let links = damage.inode.and_then(|inode| links.get(&inode));
            damage.is_linked_outside = links.is_some_and(|(found, all)| all > found);
        }
    }

    fn find_copies(
        &self,
        subjects: &[Subject],
        wanted: &[Option<Wanted>],
        damaged: &HashSet<InodeKey>,
    ) -> Vec<Option<Copy>> {
        let asked: Vec<Wanted> = wanted.iter().flatten().copied().collect();
        if asked.is_empty() {
            return vec![None; wanted.len()];
        }
        let mut search = IntactSearch::new(asked, damaged, self.means);
        // The newest is the likeliest to stay.
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
