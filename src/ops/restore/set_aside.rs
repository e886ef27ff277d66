//! The server's reasons for moving parts to `detached/` when it attached their table.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::fs::{EntryKind, FsError};
use crate::model::PartName;
use crate::plan::WrongPart;
use crate::server::{self, LoggedError};

use super::context::RestoreContext;
use super::job::TableJob;
use super::not_restored::SetAside;

/// The number of characters of an error that a reason quotes.
const QUOTE_LIMIT: usize = 300;
/// The text that a server appends to the error of a part that it loads: all files, all columns.
const PART_CONTAINS: &str = ": Part contains files";
const COLUMNS: &str = ": columns: columns format version";

/// Finds the first of these parts that is in `detached/`, and why. `attached_at` is when its table was attached.
///
/// The table still exists. What cannot be read is left out: it is an explanation, and no evidence.
pub(super) fn find(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    wrong: &[WrongPart],
    attached_at: Instant,
) -> Option<SetAside> {
    let directories = directories(context, job).unwrap_or_default();
    let (part, directory) = wrong.iter().find_map(|wrong| {
        let is_it = |directory: &&String| part_in(directory) == wrong.part.as_str();
        Some((&wrong.part, directories.iter().find(is_it)?.clone()))
    })?;
    let listed = || -> Option<String> {
        let listed: BTreeMap<String, String> = server::detached_parts(context.server, &job.entry.name).ok()?;
        listed.get(&directory).filter(|reason| !reason.is_empty()).cloned()
    };
    let seconds = attached_at.elapsed().as_secs() + 1;
    let errors = server::errors_of_last(context.server, seconds).unwrap_or_default();
    let places: Vec<String> = job.entry.places.iter().map(|(_, path)| path.to_string_lossy().into_owned()).collect();
    let reason = error_of(&errors, &places, part).or_else(listed);
    Some(SetAside { part: part.clone(), directory, reason })
}

/// Names of directories in the table's `detached/`, on all of its disks.
fn directories(context: &RestoreContext<'_>, job: &TableJob<'_>) -> Result<Vec<String>, FsError> {
    let mut names = Vec::new();
    for (disk, path) in &job.entry.places {
        let Some(local) = context.survey.local.named(disk) else { continue };
        let Some(dir) = local.dir.find_beneath(&path.join("detached"))? else { continue };
        let entries = dir.entries_with_kind()?.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
        names.extend(entries.map(|entry| entry.name.to_string_lossy().into_owned()));
    }
    names.sort_unstable();
    Ok(names)
}

/// The part that a directory in `detached/` holds.
///
/// Source: `DetachedPartInfo::DETACH_REASONS`, `DetachedPartInfo::tryParseDetachedPartName`.
fn part_in(directory: &str) -> &str {
    const PREFIXES: [&str; 6] =
        ["broken-on-start_", "broken-from-backup_", "covered-by-broken_", "broken_", "unexpected_", "noquorum_"];
    PREFIXES.iter().find_map(|prefix| directory.strip_prefix(prefix)).unwrap_or(directory)
}

/// The error with which the server loaded a part. An error that names the part's directory is preferred; others count
/// only if they are certainly about loading a part.
fn error_of(errors: &[LoggedError], places: &[String], part: &PartName) -> Option<String> {
    let names_part =
        |error: &&LoggedError| places.iter().any(|place| error.message.contains(&format!("{place}/{part}/")));
    let names_other = |error: &&LoggedError| error.message.contains("store/") || error.message.contains("data/");
    let is_of_a_part = |error: &&LoggedError| error.message.contains(PART_CONTAINS) && !names_other(error);
    let found = errors.iter().find(names_part).or_else(|| errors.iter().find(is_of_a_part))?;
    let end = [PART_CONTAINS, COLUMNS].iter().filter_map(|mark| found.message.find(mark)).min();
    let message = found.message.get(..end.unwrap_or(found.message.len())).unwrap_or_default();
    let short: String = message.chars().take(QUOTE_LIMIT).collect();
    Some(format!("{}: {short}", found.name))
}

#[cfg(test)]
mod tests {
    use super::{error_of, part_in};
    use crate::model::PartName;
    use crate::server::LoggedError;

    #[test]
    fn a_directory_names_its_part() {
        for (directory, part) in [
            ("broken-on-start_all_1_1_0", "all_1_1_0"),
            ("broken_202601_1_1_0", "202601_1_1_0"),
            ("covered-by-broken_all_1_2_1", "all_1_2_1"),
            ("all_1_1_0", "all_1_1_0"),
        ] {
            assert_eq!(part_in(directory), part);
        }
    }

    #[test]
    fn only_an_error_of_loading_this_part_is_its_reason() {
        let error = |name: &str, message: &str| LoggedError { name: name.to_owned(), message: message.to_owned() };
        let errors = [
            error("SYNTAX_ERROR", "secret"),
            error("INCORRECT_DATA", "store/ab/abc/all_2_2_0/x is bad: Part contains files: x (1 bytes)"),
            error("CANNOT_PARSE", "expected 'a' before: 'b': Part contains files: x (1 bytes)"),
            error("FILE_DOESNT_EXIST", "store/ab/abc/all_1_1_0/x doesn't exist: columns: columns format version: 1"),
        ];
        let of = |errors: &[LoggedError], part: &str| {
            error_of(errors, &["store/ab/abc".to_owned()], &PartName::try_from(part.to_owned()).expect("a name"))
        };
        let expected = "FILE_DOESNT_EXIST: store/ab/abc/all_1_1_0/x doesn't exist";
        assert_eq!(of(&errors, "all_1_1_0").as_deref(), Some(expected));
        assert_eq!(of(&errors, "all_9_9_0").as_deref(), Some("CANNOT_PARSE: expected 'a' before: 'b'"));
        assert_eq!(of(&errors[..2], "all_9_9_0"), None);
    }
}
