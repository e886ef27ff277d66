//! The disks for the parts of a table.

use crate::plan::{ParsedDefinition, StorageChoice};

use super::options::RestoreOptions;
use super::source::SourceData;
use super::target::TargetServer;

/// The disks for the parts of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disks {
    /// One of these disks of the server, preferably the first.
    Of(Vec<String>),
    /// The disk that the table's definition describes itself, with its text from `disk(` on. A server shows where that
    /// is only once a table is on it.
    Described(String),
}

impl Default for Disks {
    fn default() -> Self {
        Self::Of(Vec::new())
    }
}

/// The disks for a table's parts, or why no disk is possible.
pub(super) fn disks(
    target: &TargetServer,
    options: &RestoreOptions,
    data: &SourceData,
    definition: Option<&ParsedDefinition>,
) -> Result<Disks, String> {
    let is_local = |disk: &String| target.disks.contains(disk);
    let own = || target.disks.first().cloned().into_iter().collect::<Vec<_>>();
    let of_policy = |policy: &str| -> Result<Vec<String>, String> {
        let Some(policies) = &target.policies else { return Ok(own()) };
        let Some(disks) = policies.get(policy) else {
            return Err(format!("the server has no storage policy {policy:?}; --storage-policy names another"));
        };
        let local: Vec<String> = disks.iter().filter(|disk| is_local(disk)).cloned().collect();
        if local.is_empty() {
            return Err(format!("no disk of the storage policy {policy:?} is local and visible here"));
        }
        Ok(local)
    };
    let names = match definition.map(ParsedDefinition::storage) {
        Some(StorageChoice::InlineDisk(text)) => return Ok(Disks::Described(text)),
        Some(StorageChoice::Disk(disk)) if is_local(&disk) => Ok(vec![disk]),
        Some(StorageChoice::Disk(disk)) => {
            Err(format!("the server has no local disk {disk:?} that is visible here; --storage-policy names a policy"))
        }
        Some(StorageChoice::Policy(policy)) => of_policy(&policy),
        Some(StorageChoice::Default) | None if data.policy.is_empty() || options.storage_policy.is_some() => Ok(own()),
        Some(StorageChoice::Default) | None => of_policy(&data.policy),
    };
    names.map(Disks::Of)
}
