//! Tables whose TTL is left out since a restore.

use crate::model::TableName;
use crate::ops::bound::{bound_server, is_same};
use crate::ops::error::OpError;
use crate::ops::read::{self, show};
use crate::plan::{Definition, SnapshotReference};
use crate::repo::{BoundServer, Repository};
use crate::server::{self, Disk, Server, sql};

use super::{Findings, chain};

/// Tables of which a finding gives the statements; of more it gives the names.
const STATEMENTS_LIMIT: usize = 3;

/// Names the tables that are defined as in the newest snapshot but for a TTL that they lack.
///
/// A snapshot that is made after such a restore has the definition without the TTL: then nothing is known any more.
pub(super) fn examine(repository: &Repository, server: &Server, findings: &mut Findings) {
    match find(repository, server) {
        Ok(tables) if tables.is_empty() => {}
        Ok(tables) => {
            let names: Vec<String> = tables.iter().map(|(name, _)| name.to_string()).collect();
            let text = format!(
                "without the TTL that the newest snapshot has, as restore --hold-ttl leaves it: {}",
                names.join(", ")
            );
            let statements: Vec<String> =
                tables.into_iter().take(STATEMENTS_LIMIT).flat_map(|(_, statements)| statements).collect();
            let more = if names.len() > STATEMENTS_LIMIT { "; chsnap diff latest live shows the rest" } else { "" };
            findings.warn("ttl", text, format!("to bring it back: {}{more}", statements.join("; ")));
        }
        Err(error) => findings.warn("ttl", chain(&error), "chsnap verify checks the snapshot"),
    }
}

fn find(repository: &Repository, server: &Server) -> Result<Vec<(TableName, Vec<String>)>, OpError> {
    let Ok(newest) = show(repository, &SnapshotReference::Latest(0)) else { return Ok(Vec::new()) };
    let manifest = newest.manifest;
    let stored = BoundServer { data_path: manifest.server.data_path.clone(), uuid: manifest.server.uuid.clone() };
    let disks: Vec<Disk> = server::disks(server)?;
    if !is_same(&stored, &bound_server(&server::identity(server)?, &disks)) {
        return Ok(Vec::new());
    }
    let dir = repository.snapshot_dir(manifest.id)?;
    let live = server::definitions(server, false)?;
    let mut found = Vec::new();
    for entry in &manifest.tables {
        let name = entry.name();
        let (Some(path), Some(live)) = (&entry.definition, live.get(&name)) else { continue };
        if !entry.engine.ends_with("MergeTree") {
            continue;
        }
        let Ok(text) = read::metadata(&dir, &manifest, path) else { continue };
        // Shown without secrets.
        let stored =
            Definition::parse(&String::from_utf8_lossy(&text)).and_then(|stored| Definition::parse(&stored.masked()));
        if let (Ok(stored), Ok(live)) = (stored, Definition::parse(live)) {
            let statements = live.missing_ttl(&stored, &sql::quote_table(&name));
            if !statements.is_empty() {
                found.push((name, statements));
            }
        }
    }
    Ok(found)
}
