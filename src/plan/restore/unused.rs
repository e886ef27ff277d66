//! Warns about options for replicated tables that have no effect in a plan.

use crate::model::{TableName, Warning, WarningKind};

use super::options::{Replicated, RestoreOptions};
use super::replica::{KeeperPath, KeeperReplica, ReplicaObstacle, ReplicaSource};
use super::source::SourceItem;
use super::table::{Action, PartitionScope, RestorePlan, TablePlan};
use super::target::TargetServer;

/// Adds the warnings to a plan whose tables are decided.
pub(super) fn name_unused(
    plan: &mut RestorePlan,
    sources: &[SourceItem],
    target: &TargetServer,
    options: &RestoreOptions,
) {
    for table in &mut plan.tables {
        let source = sources.iter().find(|source| source.name == table.from);
        if let Some(message) = source.and_then(|source| stays_as_it_is(table, source, target, options)) {
            table.warnings.push(Warning::new(WarningKind::OptionUnused, message));
        }
    }
    let mut names: Vec<&String> = options.forgets_replicas.iter().collect();
    names.sort_unstable();
    names.dedup();
    let unused = names.into_iter().filter_map(|name| not_forgotten(name, &plan.tables, target));
    let unused: Vec<Warning> = unused.map(|message| Warning::new(WarningKind::OptionUnused, message)).collect();
    plan.warnings.extend(unused);
}

/// Why `--replicated` does not change an existing replicated table, if that is so.
fn stays_as_it_is(
    table: &TablePlan,
    source: &SourceItem,
    target: &TargetServer,
    options: &RestoreOptions,
) -> Option<String> {
    let live = target.keeper.attached.get(&table.to).filter(|live| !live.is_detached)?;
    let is_kept = matches!(table.action, Action::Keep(_) | Action::Partitions(_));
    match options.replicated {
        Replicated::NewPath if is_kept && source.data.is_some() => {
            let definition = source.definition.as_ref().ok()?;
            let stored = ReplicaSource { from: &source.name, to: &table.to, uuid: source.uuid.as_ref(), definition };
            // One whose path differs from that in the snapshot has a path of its own already.
            stored.stored_place(&target.keeper).is_some_and(|stored| stored.path == live.path).then(|| {
                format!(
                    "it is there and keeps its path {} in Keeper: --replicated new-path is for tables that are made; --rename \
                     restores it under another name, on a path of its own",
                    live.path
                )
            })
        }
        Replicated::AsMergeTree
            if is_kept
                && !matches!(table.action, Action::Partitions(PartitionScope::Selected))
                && source.data.is_some() =>
        {
            Some(
                "it is there and stays replicated: --replicated as-merge-tree is for tables that are made; --rename \
                 restores it under another name, as a plain table"
                    .to_owned(),
            )
        }
        _ => None,
    }
}

/// Why a replica that was to be removed from Keeper is not removed. `None` if it is, or if the plan refuses something
/// because of it.
fn not_forgotten(name: &str, tables: &[TablePlan], target: &TargetServer) -> Option<String> {
    let is_it = |replica: &KeeperReplica| replica.name == name;
    let is_forgotten = |table: &TablePlan| {
        table.replica.as_ref().is_some_and(|replica| replica.forgets.iter().any(|forgotten| forgotten == name))
    };
    let is_refused = |table: &TablePlan| match &table.action {
        Action::Blocked(obstacle) => match obstacle.as_ref() {
            ReplicaObstacle::NoneActive { replicas, .. } => replicas.iter().any(is_it),
            ReplicaObstacle::ForgetsActive { replica } | ReplicaObstacle::NameInUse { replica, .. } => is_it(replica),
            ReplicaObstacle::Dropped { .. } | ReplicaObstacle::PathInUse { .. } => false,
        },
        _ => false,
    };
    if tables.iter().any(|table| is_forgotten(table) || is_refused(table)) {
        return None;
    }
    let option = format!("--forget-replicas {name}");
    let found = target.keeper.paths.iter().find_map(|(path, state)| match state {
        KeeperPath::Table(replicas) if replicas.iter().any(is_it) => Some(path),
        _ => None,
    });
    let Some(path) = found else {
        let is_untold = target.keeper.paths.values().any(|state| matches!(state, KeeperPath::Untold));
        let why = if is_untold {
            "this server does not tell which replicas Keeper has, and none is removed".to_owned()
        } else {
            let known = known_replicas(target);
            let known = if known.is_empty() { String::new() } else { format!("; it has {}", known.join(", ")) };
            format!("Keeper has no replica of this name at the paths of these tables{known}")
        };
        return Some(format!("{option}: {why}"));
    };
    let live = target.keeper.attached.iter().find(|(_, live)| live.path == *path);
    let fetches = tables.iter().find(|table| table.replica.as_ref().is_some_and(|replica| replica.path == *path));
    let why = match (live, fetches) {
        (Some((table, _)), _) => stays(table, "is on this server", target),
        (None, Some(table)) => stays(&table.to, "has active replicas", target),
        (None, None) => "no table is made there".to_owned(),
    };
    Some(format!("{option}: it stays at {path} in Keeper, because {why}"))
}

fn stays(table: &TableName, why: &str, target: &TargetServer) -> String {
    let how = if target.keeper.drops_replicas {
        "SYSTEM DROP REPLICA removes a lost replica of a table that is alive"
    } else {
        "the node of a lost replica of a table that is alive has to be removed by hand"
    };
    format!("{table} {why}: {how}")
}

fn known_replicas(target: &TargetServer) -> Vec<&str> {
    let mut known: Vec<&str> = (target.keeper.paths.values())
        .filter_map(|state| match state {
            KeeperPath::Table(replicas) => Some(replicas.iter().map(|replica| replica.name.as_str())),
            _ => None,
        })
        .flatten()
        .collect();
    known.sort_unstable();
    known.dedup();
    known
}
