//! Shell completions at the TAB key: names from the repository's index and from the configuration, never from the
//! server, which may be slow.

use std::ffi::OsString;

use chsnap::fs;
use chsnap::ops;
use chsnap::repo::{Index, Repository, SnapshotState};
use clap::Command;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::CompleteEnv;

use super::invocation::Invocation;
use super::{pin, render};

/// The variable through which a shell's script requests completions; its value is the shell's name.
pub(super) const VARIABLE: &str = "CHSNAP_COMPLETE";

/// Answers a shell that requests completions; returns whether it did.
pub(super) fn answer() -> bool {
    if std::env::var_os(VARIABLE).is_none_or(|shell| shell.is_empty()) {
        return false;
    }
    // No user sees the errors of a completion request.
    CompleteEnv::with_factory(super::tree)
        .var(VARIABLE)
        .bin("chsnap")
        .try_complete(std::env::args_os(), None)
        .unwrap_or(true)
}

/// Gives every argument that takes a snapshot, a table or a profile the existing names.
pub(super) fn attach(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let placeholder = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        match placeholder.as_deref() {
            Some("SNAPSHOT") => arg.add(ArgValueCandidates::new(snapshots)),
            Some("DB.GLOB") => arg.add(ArgValueCandidates::new(tables)),
            Some("PROFILE") => arg.add(ArgValueCandidates::new(profiles)),
            _ => arg,
        }
    });
    command.mut_subcommands(attach).mut_subcommands(|command| match command.get_name() {
        "undo" => command.mut_arg("snapshots", |arg| arg.add(ArgValueCandidates::new(removed))),
        _ => command,
    })
}

/// The words of the line that is being completed: those after `--`.
fn words() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1).collect()
}

fn invocation() -> Option<Invocation> {
    Invocation::read(super::tree(), &words()).ok()
}

fn repository() -> Option<Repository> {
    let invocation = invocation()?;
    let path = invocation.repository()?;
    Repository::open(&path, &fs::real()).ok()
}

fn snapshots() -> Vec<CompletionCandidate> {
    let Some(repository) = repository() else { return Vec::new() };
    let Ok(listing) = ops::list(&repository) else { return Vec::new() };
    let newest_first = listing.snapshots.iter().rev();
    let ids = newest_first.enumerate().map(|(position, (summary, pin))| {
        let label = summary.label.text.as_deref().map(|text| render::safe(text, 40));
        let pin = pin.as_ref().map(pin::note);
        let told: Vec<String> =
            [Some(render::count(summary.totals.tables, "table")), label, pin].into_iter().flatten().collect();
        CompletionCandidate::new(summary.id.to_string())
            .help(Some(told.join(", ").into()))
            .display_order(Some(position))
    });
    let latest = (!listing.snapshots.is_empty()).then(|| {
        CompletionCandidate::new("latest").help(Some("the newest one of the main series".into())).display_order(Some(0))
    });
    latest.into_iter().chain(ids).collect()
}

/// The snapshots in the trash.
fn removed() -> Vec<CompletionCandidate> {
    let removed = repository().and_then(|repository| repository.removed_ids().ok()).unwrap_or_default();
    removed.into_iter().rev().map(|id| CompletionCandidate::new(id.to_string())).collect()
}

/// The tables of the newest snapshot.
fn tables() -> Vec<CompletionCandidate> {
    let Some(repository) = repository() else { return Vec::new() };
    let Ok(index) = Index::open(&repository) else { return Vec::new() };
    let state = index.latest().and_then(|id| repository.snapshot(id).ok());
    let Some(SnapshotState::Complete(manifest)) = state else { return Vec::new() };
    let name = |database: &str, table: &str| format!("{database}.{table}");
    let mut names: Vec<String> =
        manifest.tables.iter().map(|entry| name(&entry.database, &entry.table)).filter(|name| is_plain(name)).collect();
    names.extend(manifest.tables.iter().map(|entry| name(&entry.database, "*")).filter(|name| is_plain(name)));
    names.sort();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// A name that a terminal shows unchanged; other names must be typed by hand.
fn is_plain(name: &str) -> bool {
    render::safe(name, usize::MAX) == name
}

fn profiles() -> Vec<CompletionCandidate> {
    invocation()
        .map(|invocation| invocation.profiles().into_iter().map(CompletionCandidate::new).collect())
        .unwrap_or_default()
}
