//! `--digest`: a sum over the rows of each part, taken from the live part right after its freeze.
//!
//! The sum must match the snapshot's state. A part never changes, and a query reads only active parts. So a part that
//! is still listed gives the sum of the frozen one, and a part that was merged away meanwhile gives none and stays
//! without a digest. For the same reason, changes by pending patches and mutations are left out.

use std::collections::BTreeMap;

use crate::model::{PartName, TableName};
use crate::plan::TableFreeze;
use crate::repo::{PartDigest, PartRecord};
use crate::server::{self, Server, ServerError};

/// The identity of an expression: two digests are comparable only if they are of the same expression.
pub(in crate::ops) fn kind(version: &str, expression: &str) -> String {
    let hash = blake3::hash(format!("{version}\n{expression}").as_bytes()).to_hex();
    hash.as_str().chars().take(16).collect()
}

/// Digests of the parts of one table that are active now. Digests of `earlier` records are reused for parts that are
/// the same.
pub(super) fn take(
    server: &Server,
    version: &str,
    freeze: &TableFreeze,
    earlier: &BTreeMap<&PartName, &PartRecord>,
) -> Result<BTreeMap<PartName, PartDigest>, ServerError> {
    let table: &TableName = freeze.table.name();
    let mut digests = BTreeMap::new();
    // A query applies patches to the rows that it reads; the frozen part alone lacks them.
    if freeze.parts().any(|part| part.name.is_patch()) || freeze.parts().next().is_none() {
        return Ok(digests);
    }
    let row_sum = server::row_sum(server, table)?;
    // There, no statement can ask for the part of a row.
    if row_sum.hides_parts() {
        return Ok(digests);
    }
    let kind = kind(version, row_sum.expression());
    let mut wanted = Vec::new();
    for part in freeze.parts() {
        let known =
            earlier.get(&part.name).and_then(|record| record.digest.as_ref()).filter(|digest| digest.of == kind);
        match known {
            Some(digest) => drop(digests.insert(part.name.clone(), PartDigest::clone(digest))),
            None => wanted.push(&part.name),
        }
    }
    if !wanted.is_empty() {
        for sum in server::part_sums(server, table, &row_sum, &wanted)? {
            digests.insert(sum.part, PartDigest { rows: sum.rows, sum: sum.sum, of: kind.clone() });
        }
    }
    Ok(digests)
}
