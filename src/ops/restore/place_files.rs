//! Puts the files of `Set` and `Join` tables where the server finds them.

use crate::exec::RestoreMode;
use crate::fs::{CopyOptions, Dir, ErrorKind, Hashing};
use crate::model::Ownership;
use crate::ops::error::{FoundDamage, OpError};

use super::context::RestoreContext;
use super::dump_files::{not_copied, place_of};
use super::source::SourceTable;

/// The directory in which the server writes the next file of a `Set` or `Join` table. It treats a table without it as
/// new (`StorageSetOrJoinBase::restore`).
const TMP: &str = "tmp";

/// Puts the files of a `Set` or `Join` table into its directory, which the server does not know yet. Returns their
/// number and their bytes.
pub(super) fn place_files(
    context: &RestoreContext<'_>,
    table: &SourceTable,
    dir: &Dir,
    options: &CopyOptions<'_>,
    with_rows: bool,
) -> Result<(u64, u64), OpError> {
    let (uid, gid) = context.survey.owner;
    dir.create_dir(TMP, 0o700)?;
    dir.open_dir(TMP)?.set_ownership(Ownership { uid, gid, mode: 0o750 })?;
    let (mut files, mut bytes) = (0, 0);
    let dump = table.entry.dump.as_ref().filter(|_| with_rows);
    for path in dump.iter().flat_map(|dump| &dump.files) {
        let Some((from, name)) = place_of(context.source.dir(), &table.name(), path)? else {
            return Err(lost(context, table, path));
        };
        let stat = from.stat(&name)?;
        // The server never writes into such a file. It may remove one, which removes only the link.
        let may_link = context.request.mode != RestoreMode::Copy && stat.ownership.uid == uid;
        let is_linked = may_link
            && match dir.link_from(&from, &name, &name) {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::CrossDevice | ErrorKind::NoPermission | ErrorKind::TooManyLinks
                    ) =>
                {
                    false
                }
                result => result.map(|()| true)?,
            };
        if !is_linked {
            dir.copy_from(options, &from, &name, &name, Hashing::None).map_err(not_copied)?;
            dir.give_file(&name, (uid, gid))?;
        }
        (files, bytes) = (files + 1, bytes + stat.size_bytes);
    }
    Ok((files, bytes))
}

/// The error about a file that was there when the snapshot was checked.
pub(super) fn lost(context: &RestoreContext<'_>, table: &SourceTable, path: &str) -> OpError {
    let damage = FoundDamage { table: table.name(), part: None, problem: format!("its file {path} is missing") };
    OpError::SnapshotDamaged { id: context.source.id, damage: vec![damage] }
}
