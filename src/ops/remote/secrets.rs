//! The share of a snapshot that is sent if its secrets are not.

use std::collections::BTreeMap;

use crate::fs::Dir;
use crate::model::{Warning, WarningKind};
use crate::ops::error::OpError;
use crate::ops::read;
use crate::plan::{SecretVerdict, has_secret_values, without_secrets};
use crate::repo::{Manifest, MetadataFile, SecretsLeftOut, table_path};

/// Whether a push sends secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretScope {
    /// As they are in the snapshot.
    #[default]
    Send,
    /// Secrets in definitions are hidden; users, roles, named collections and configuration stay here.
    LeaveOut,
}

/// The secrets of a snapshot, outside its rows.
#[derive(Debug, Default)]
pub(super) struct SnapshotSecrets {
    /// The files that stay here.
    pub(super) left_out: SecretsLeftOut,
    /// The definitions with `[HIDDEN]` in place of each secret, by their paths.
    pub(super) hidden: BTreeMap<String, Vec<u8>>,
}

/// Finds the secrets of the snapshot in `dir`.
///
/// # Errors
/// If a file is missing, or is not the one that the manifest lists.
pub(super) fn secrets_in(dir: &Dir, manifest: &Manifest) -> Result<SnapshotSecrets, OpError> {
    let mut secrets = SnapshotSecrets::default();
    for file in manifest.metadata.iter().filter(|file| !file.path.starts_with("dumps/")) {
        match without_secrets(&file.path, &read::metadata(dir, manifest, &file.path)?) {
            SecretVerdict::Keep => {}
            SecretVerdict::Hide(text) => {
                secrets.left_out.hidden.push(file.path.clone());
                secrets.hidden.insert(file.path.clone(), text.into_bytes());
            }
            SecretVerdict::LeaveOut => secrets.left_out.files.push(file.path.clone()),
        }
    }
    Ok(secrets)
}

impl SnapshotSecrets {
    /// The manifest of the snapshot without these secrets.
    pub(super) fn removed_from(&self, manifest: &Manifest) -> Manifest {
        let mut manifest = manifest.clone();
        for table in &mut manifest.tables {
            if table.definition.as_ref().is_some_and(|path| self.left_out.files.contains(path)) {
                table.definition = None;
                table.reason.get_or_insert_with(|| "its definition cannot be searched for secrets".to_owned());
            }
            // A mutation that is not there is none that comes back: what was left out is listed by its file.
            let path = table_path(&table.name());
            table.mutations.retain(|name| {
                let file = path.join(name);
                !self.left_out.files.iter().any(|left| *left == file.to_string_lossy())
            });
            for mutation in table.keeper_mutations.iter_mut().filter(|mutation| has_secret_values(&mutation.command)) {
                mutation.command.clear();
            }
        }
        if self.left_out.is_empty() {
            return manifest;
        }
        manifest.metadata.retain(|file| !self.left_out.files.contains(&file.path));
        for file in &mut manifest.metadata {
            if let Some(text) = self.hidden.get(&file.path) {
                *file = MetadataFile::of(file.path.as_ref(), text);
            }
        }
        let warning = Warning::new(WarningKind::SecretsHidden, self.left_out.to_string());
        // Both lists say the same; snapshots of the first versions have no kinds.
        if manifest.warning_list.is_empty() {
            manifest.warning_list = manifest.all_warnings();
        }
        manifest.warnings.push(warning.to_string());
        manifest.warning_list.push(warning);
        manifest.secrets_left_out = Some(match &manifest.secrets_left_out {
            Some(before) => SecretsLeftOut {
                hidden: before.hidden.iter().chain(&self.left_out.hidden).cloned().collect(),
                files: before.files.iter().chain(&self.left_out.files).cloned().collect(),
            },
            None => self.left_out.clone(),
        });
        manifest
    }
}
