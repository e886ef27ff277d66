//! Whether the server keeps replaced parts long enough to take all tables as of one moment.

use crate::model::count;
use crate::ops::error::OpError;
use crate::ops::read::show;
use crate::plan::{ParsedDefinition, SnapshotReference};
use crate::repo::Repository;
use crate::server::{self, Server};

use super::{Findings, chain, lists_remedy};

/// `create --one-moment` of many tables can take this long; by default, servers keep replaced parts for 480 s.
const SHORT_SECS: u64 = 60;

const REMEDY: &str = "set old_parts_lifetime to 480 in <merge_tree>, or of these tables, for parts that are merged away while \
                      a snapshot is made";

/// Reports whether a table of the newest snapshot may lose a part of its moment before the part is linked. It is a
/// warning only if that snapshot is of one moment.
pub(super) fn examine(repository: &Repository, server: &Server, findings: &mut Findings) {
    let newest = show(repository, &SnapshotReference::Latest(0));
    let is_used = newest.is_ok_and(|newest| newest.manifest.moment.is_some());
    match short_lifetimes(server) {
        Ok(None) => {}
        Ok(Some(short)) if is_used => findings.warn("moment", short, REMEDY),
        Ok(Some(short)) => findings.ok("moment", format!("{short}; nothing else needs them")),
        Err(OpError::Server(error)) => findings.warn("moment", chain(&error), lists_remedy(&error)),
        Err(error) => findings.warn("moment", chain(&error), REMEDY),
    }
}

/// A sentence about lifetimes that are too short, both the server's own setting and those of single tables.
fn short_lifetimes(server: &Server) -> Result<Option<String>, OpError> {
    let Some(usual) = server::old_parts_lifetime(server)? else { return Ok(None) };
    let mut short: Vec<(String, u64)> = Vec::new();
    for (name, text) in server::definitions(server, false)? {
        let own = ParsedDefinition::parse(&text).ok().and_then(|definition| definition.setting("old_parts_lifetime"));
        let own = own.and_then(|value| value.parse().ok()).filter(|seconds| *seconds < SHORT_SECS);
        short.extend(own.map(|seconds| (name.to_string(), seconds)));
    }
    short.sort_unstable();
    let subject = match short.first() {
        _ if usual < SHORT_SECS => format!("replaced parts stay for {usual} s (old_parts_lifetime)"),
        Some((first, seconds)) => {
            let more = match short.len() - 1 {
                0 => String::new(),
                more => format!(", and those of {} not for long either", count(more as u64, "more table")),
            };
            format!("replaced parts of {first} stay for {seconds} s (old_parts_lifetime){more}")
        }
        None => return Ok(None),
    };
    Ok(Some(format!("{subject}: too short for create --one-moment, which links them from there")))
}
