//! Tables whose TTL a restore left out.

use crate::model::TableName;
use crate::ops::bound::{bound_server, is_same};
use crate::ops::error::OpError;
use crate::ops::read::{self, show};
use crate::plan::{ParsedDefinition, SnapshotReference};
use crate::repo::{BoundServer, Repository};
use crate::server::{self, Disk, Server, sql};

use super::{Findings, chain};

/// The largest number of tables for which a finding gives the statements; for more it gives only the names.
const STATEMENTS_LIMIT: usize = 3;

/// Names the tables that are defined as in the newest snapshot except for a missing TTL, including tables under another
/// name.
///
/// A snapshot made after such a restore has the definition without the TTL: then the missing TTL can no longer be
/// found.
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
    let mut live = server::definitions(server, false)?;
    let (mut found, mut with_ttl) = (Vec::new(), Vec::new());
    for entry in &manifest.tables {
        let name = entry.name();
        let live = live.remove(&name);
        let Some(path) = entry.definition.as_ref().filter(|_| entry.engine.ends_with("MergeTree")) else { continue };
        let Ok(text) = read::metadata(&dir, &manifest, path) else { continue };
        // The server shows it without secrets.
        let stored = ParsedDefinition::parse(&String::from_utf8_lossy(&text))
            .and_then(|stored| ParsedDefinition::parse(&stored.masked()));
        let Ok(stored) = stored else { continue };
        if let Some(Ok(live)) = live.as_deref().map(ParsedDefinition::parse) {
            let statements = live.missing_ttl(&stored, &sql::quote_table(&name));
            if !statements.is_empty() {
                found.push((name, statements));
            }
        }
        if stored.has_ttl() {
            with_ttl.push(stored);
        }
    }
    // The remaining ones are in no snapshot yet, for example a table that came back under another name.
    let mut others: Vec<(TableName, String)> = live.into_iter().collect();
    others.sort_unstable();
    for (name, text) in others {
        let Ok(live) = ParsedDefinition::parse(&text) else { continue };
        let quoted = sql::quote_table(&name);
        let missing = with_ttl.iter().map(|stored| live.missing_ttl(stored, &quoted));
        found.extend(missing.into_iter().find(|missing| !missing.is_empty()).map(|missing| (name, missing)));
    }
    Ok(found)
}
