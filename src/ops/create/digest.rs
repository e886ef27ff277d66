//! `--digest`: a sum over the rows of each part, taken from the live part right after its freeze.
//!
//! The sum must be that of the snapshot's state. A part never changes, and a query reads only active ones: so a part that
//! is still listed gives what the frozen one holds, and one that was merged away meanwhile gives nothing and stays
//! without a digest. What patches and mutations will change is left out for the same reason.

use std::collections::BTreeMap;

use crate::model::{PartName, TableName};
use crate::plan::TableFreeze;
use crate::repo::{PartDigest, PartRecord};
use crate::server::{self, Server, ServerError};

/// What an expression is known by: two digests can be compared only if they are of the same one.
pub(in crate::ops) fn kind(version: &str, expression: &str) -> String {
    let hash = blake3::hash(format!("{version}\n{expression}").as_bytes()).to_hex();
    hash.as_str().chars().take(16).collect()
}

/// Digests of the parts of one table that are active now. Those of `earlier` records stand for parts that are the same.
pub(super) fn take(
    server: &Server,
    version: &str,
    freeze: &TableFreeze,
    earlier: &BTreeMap<&PartName, &PartRecord>,
) -> Result<BTreeMap<PartName, PartDigest>, ServerError> {
    let table: &TableName = freeze.table.name();
    let mut digests = BTreeMap::new();
    // A query applies patches to what it reads; the frozen part alone is without them.
    if freeze.parts().any(|part| part.name.is_patch()) || freeze.parts().next().is_none() {
        return Ok(digests);
    }
    let row_sum = server::row_sum(server, table)?;
    // No statement can ask for the part of a row there.
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
