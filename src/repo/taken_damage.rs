//! Damage that a part had when it was taken: known like damage that a verification finds.

use chrono::{DateTime, Utc};

use crate::model::{Level, SnapshotId};

use super::error::RepoError;
use super::event::{DamagedPart, Event, VerifiedEvent};
use super::index::Index;
use super::lock::Locked;
use super::parts::PartRecord;

/// The check that `create` has made of damaged parts; `None` if there are none. It proves nothing except the damage.
fn event(id: SnapshotId, records: &[PartRecord]) -> Option<Event> {
    let damaged: Vec<DamagedPart> = (records.iter().filter(|record| !record.damage.is_empty()))
        .map(|record| {
            let name = record.table_name();
            // A later snapshot that takes the same damage notes it itself.
            let (part, ids, live) = (record.part.clone(), vec![id], Some(false));
            DamagedPart { database: name.database, table: name.table, part, ids, live }
        })
        .collect();
    (!damaged.is_empty()).then(|| {
        Event::Verified(Box::new(VerifiedEvent {
            ids: vec![id],
            begun: None,
            unreadable: Vec::new(),
            level: Level::Size,
            tables: Vec::new(),
            slice: None,
            incomplete: true,
            oldest: None,
            spared: Vec::new(),
            read: Some(Vec::new()),
            read_ranges: None,
            read_bytes: 0,
            damage: damaged.len() as u64,
            damaged_ids: vec![id],
            drift: 0,
            drifted_ids: Vec::new(),
            damaged,
        }))
    })
}

impl Locked<'_> {
    /// Notes the damage that parts of a new snapshot had when they were taken, in the journal and in the index.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn note_taken_damage(
        &self,
        now: DateTime<Utc>,
        id: SnapshotId,
        records: &[PartRecord],
    ) -> Result<(), RepoError> {
        let Some(event) = event(id, records) else { return Ok(()) };
        self.record(now, &event)?;
        // On a network filesystem, opening the index does not do this.
        if let Ok(index) = Index::open(self.repository()) {
            index.remember_damage(self.repository());
        }
        Ok(())
    }
}
