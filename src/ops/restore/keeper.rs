//! Reads Keeper's data at the paths of replicated tables. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::DateTime;

use crate::model::{PartName, PartitionId, TableName, TableUuid};
use crate::ops::error::OpError;
use crate::plan::{
    AttachedReplica, DroppedTable, KeeperPath, KeeperReplica, KeeperState, ParsedDefinition, PartState, PartsElsewhere,
    PathNames, Renames, ReplicaArguments, ReplicaPlan, ReplicaSource, Replicated, RestoreOptions, SourceItem,
    TargetServer, compare_parts, expand_macros, keeper_path,
};
use crate::server::{self, DroppedRow, KeeperNode, Server, ServerError};

use super::known::{DefinedReplica, KnownTables};
use super::sessions::wait_for_sessions;
use super::survey::listed_parts;

/// The facts about replicated tables that a plan needs. Keeper is asked only for those tables of the snapshot that stay
/// replicated.
///
/// `known` is given if one of these tables is to be created.
///
/// # Errors
/// If the server does not answer. A Keeper that does not answer is part of the result.
pub(super) fn keeper_state(
    server: &Server,
    known: Option<&KnownTables>,
    items: &[SourceItem],
    options: &RestoreOptions,
) -> Result<KeeperState, OpError> {
    let stays = options.replicated != Replicated::AsMergeTree;
    let is_replicated = |item: &&SourceItem| stays && item.engine.starts_with("Replicated") && item.data.is_some();
    let live = server::replicas(server)?;
    // A plain table of the snapshot may have become a replicated one by now.
    let is_live = |item: &SourceItem| live.iter().any(|replica| replica.table == new_name(&options.renames, item));
    if !items.iter().any(|item| is_replicated(&item) || is_live(item)) {
        return Ok(KeeperState::default());
    }
    let attached = live.into_iter().map(|replica| {
        let attached = AttachedReplica {
            path: replica.keeper_path,
            name: replica.name,
            is_readonly: replica.is_read_only,
            is_detached: false,
        };
        (replica.table, attached)
    });
    let mut state = KeeperState {
        macros: server::macros(server)?,
        defaults: server::default_replica(server)?.map(|(path, replica)| ReplicaArguments { path, replica }),
        paths: BTreeMap::new(),
        attached: attached.collect(),
        peer_uuids: BTreeMap::new(),
        dropped: Vec::new(),
        drops_replicas: server::drops_replicas(server)?,
    };
    let names: Vec<(&SourceItem, TableName)> =
        items.iter().filter(is_replicated).map(|item| (item, new_name(&options.renames, item))).collect();
    let is_made: BTreeSet<&TableName> =
        names.iter().map(|(_, to)| to).filter(|to| !state.attached.contains_key(*to)).collect();
    state.peer_uuids = peer_uuids(server, &names, &is_made);
    let mut keeper = Keeper::new(server);
    let mut made = Vec::new();
    for (item, to) in &names {
        let Ok(definition) = &item.definition else { continue };
        let uuid = state.peer_uuids.get(to).or(item.uuid.as_ref()).cloned();
        let source = ReplicaSource { from: &item.name, to, uuid: uuid.as_ref(), definition };
        for path in source.paths(&state) {
            let found = keeper.state(&path);
            state.paths.insert(path, found);
        }
        // Under another name it gets a path of its own, whichever table uses this one.
        if is_made.contains(to) && item.name == *to && options.replicated == Replicated::Keep {
            let is_here = |place: &AttachedReplica| {
                state.attached.values().any(|live| live.path == place.path && live.name == place.name)
            };
            made.extend(source.stored_place(&state).filter(|place| !is_here(place)));
        }
    }
    wait_for_sessions(&|path| path_now(server, path), made, &mut state.paths);
    if let Some(known) = known {
        // Only a missing table can come to the path of a table that is detached or dropped.
        let detached = detached_replicas(known, &state);
        state.attached.extend(detached);
        state.dropped = dropped(server, known, &state.macros)?;
    }
    let known: BTreeSet<String> = state.dropped.iter().map(|dropped| dropped.uuid.to_string()).collect();
    let elsewhere = server::dropped_elsewhere(server).into_iter().filter(|row| !known.contains(&row.uuid));
    for row in elsewhere.filter(|row| row.engine.starts_with("Replicated")) {
        // Its definition is on the other host: its name identifies it as the table of the snapshot.
        let Some((item, to)) = names.iter().find(|(_, to)| (&to.database, &to.table) == (&row.database, &row.table))
        else {
            continue;
        };
        let Ok(definition) = &item.definition else { continue };
        let Some(uuid) = row.uuid.clone().try_into().ok() else { continue };
        let replica = definition.replica();
        let path = replica.and_then(|replica| {
            let expanded = expand_macros(&replica.path, PathNames { table: to, uuid: Some(&uuid) }, &state.macros);
            expanded.ok().map(|path| keeper_path(&path))
        });
        state.dropped.push(dropped_table(&row, uuid, path, true));
    }
    Ok(state)
}

/// The UUIDs that tables to be created have on other hosts of this server's clusters, for tables whose path contains
/// their UUID. With another UUID they would not be replicas of the tables on those hosts.
fn peer_uuids(
    server: &Server,
    names: &[(&SourceItem, TableName)],
    is_made: &BTreeSet<&TableName>,
) -> BTreeMap<TableName, TableUuid> {
    let has_uuid_path = |item: &SourceItem| {
        let replica = item.definition.as_ref().ok().and_then(ParsedDefinition::replica);
        item.uuid.is_some() && replica.is_none_or(|replica| replica.path.contains("{uuid}"))
    };
    let asked = names.iter().filter(|(item, to)| item.name == *to && is_made.contains(to) && has_uuid_path(item));
    let asked: Vec<TableName> = asked.map(|(_, to)| to.clone()).collect();
    let mut found = BTreeMap::new();
    if asked.is_empty() || !server.features().has_column("tables", "uuid") {
        return found;
    }
    let mut read = || -> Result<(), ServerError> {
        for cluster in server::own_clusters(server)? {
            for (table, uuid) in server::uuids_on_hosts(server, &cluster, &asked)?.answers.into_values().flatten() {
                if let Ok(uuid) = TableUuid::try_from(uuid) {
                    found.entry(table).or_insert(uuid);
                }
            }
        }
        Ok(())
    };
    if let Err(error) = read() {
        tracing::debug!(%error, "UUIDs on other hosts are not known");
    }
    found
}

/// Tables that are not attached to the server and can be attached again: each still uses its path in Keeper.
fn detached_replicas(known: &KnownTables, state: &KeeperState) -> Vec<(TableName, AttachedReplica)> {
    let detached = known.replicas().iter().filter(|defined| !state.attached.contains_key(&defined.name));
    let replica = |defined: &DefinedReplica| {
        let names = PathNames { table: &defined.name, uuid: defined.uuid.as_ref() };
        let expand = |text: &str| expand_macros(text, names, &state.macros).ok();
        let path = keeper_path(&expand(&defined.arguments.path)?);
        let name = expand(&defined.arguments.replica)?;
        Some((defined.name.clone(), AttachedReplica { path, name, is_readonly: false, is_detached: true }))
    };
    detached.filter_map(replica).collect()
}

fn new_name(renames: &Renames, item: &SourceItem) -> TableName {
    renames.table(&item.name)
}

fn dropped_table(row: &DroppedRow, uuid: TableUuid, path: Option<String>, is_elsewhere: bool) -> DroppedTable {
    DroppedTable {
        name: TableName::new(row.database.clone(), row.table.clone()),
        uuid,
        path,
        gone_at: i64::try_from(row.gone_at).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        host: is_elsewhere.then(|| row.host.clone()),
    }
}

/// Tables that this server has dropped, according to its list and to the definitions in `metadata_dropped/`.
fn dropped(
    server: &Server,
    known: &KnownTables,
    macros: &BTreeMap<String, String>,
) -> Result<Vec<DroppedTable>, OpError> {
    let path_of = |defined: &DefinedReplica, name: &TableName, uuid: &TableUuid| {
        let expanded = expand_macros(&defined.arguments.path, PathNames { table: name, uuid: Some(uuid) }, macros);
        expanded.ok().map(|path| keeper_path(&path))
    };
    let mut dropped = Vec::new();
    for row in server::dropped_tables(server)? {
        let Ok(uuid) = TableUuid::try_from(row.uuid.clone()) else { continue };
        if !row.engine.starts_with("Replicated") {
            continue;
        }
        let name = TableName::new(row.database.clone(), row.table.clone());
        let defined = known.dropped_replicas().iter().find(|defined| defined.uuid.as_ref() == Some(&uuid));
        let path = defined.and_then(|defined| path_of(defined, &name, &uuid));
        dropped.push(dropped_table(&row, uuid, path, false));
    }
    // A server without such a list removes them all the same.
    for defined in known.dropped_replicas() {
        let Some(uuid) = defined.uuid.clone() else { continue };
        if dropped.iter().all(|listed: &DroppedTable| listed.uuid != uuid) {
            let path = path_of(defined, &defined.name, &uuid);
            dropped.push(DroppedTable { name: defined.name.clone(), uuid, path, gone_at: None, host: None });
        }
    }
    Ok(dropped)
}

/// Keeper's present data at a path.
pub(super) fn path_now(server: &Server, path: &str) -> KeeperPath {
    Keeper::new(server).state(path)
}

/// Another replica at a path that has been in Keeper for longer than the planned one.
///
/// # Errors
/// If Keeper cannot be asked.
pub(super) fn earlier_replica(server: &Server, replica: &ReplicaPlan) -> Result<Option<String>, ServerError> {
    if !server::shows_keeper(server) {
        return Ok(None);
    }
    let nodes = Keeper::new(server).find(&format!("{}/replicas", replica.path))?.unwrap_or_default();
    let Some(own) = nodes.iter().find(|node| node.name == replica.name).map(|node| node.created) else {
        return Ok(None);
    };
    Ok(nodes.into_iter().find(|node| node.created < own).map(|node| node.name))
}

/// Parts that Keeper lists for other replicas at a path, and that a table with these parts neither has nor has merged:
/// data of the table that this server has yet to fetch. Empty if the server does not report it.
///
/// # Errors
/// If Keeper cannot be asked.
pub(super) fn parts_elsewhere(
    server: &Server,
    replica: &AttachedReplica,
    listed: &[PartState],
) -> Result<Vec<PartState>, ServerError> {
    if !server::shows_keeper(server) {
        return Ok(Vec::new());
    }
    let mut keeper = Keeper::new(server);
    let mut names: BTreeSet<String> = BTreeSet::new();
    for node in keeper.below(&replica.path, "replicas")?.unwrap_or_default() {
        if node.name != replica.name {
            let parts = keeper.below(&replica.path, &format!("replicas/{}/parts", node.name))?.unwrap_or_default();
            names.extend(parts.into_iter().map(|part| part.name));
        }
    }
    Ok(missing_from(&names, listed))
}

/// How long to wait for parts that only other replicas have, and the interval at which they are looked for.
const CATCHES_UP: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(300);

/// Looks for parts of the replicated tables among these that only other replicas have. Waits a while for a replica that
/// is behind.
///
/// # Errors
/// If the server does not answer. A Keeper that does not answer is reported with each table.
pub(super) fn look_elsewhere(
    server: &Server,
    target: &mut TargetServer,
    wanted: &BTreeSet<TableName>,
) -> Result<(), OpError> {
    let begun = Instant::now();
    let mut waiting: Vec<TableName> = Vec::new();
    for (name, replica) in
        target.keeper.attached.iter().filter(|(name, replica)| !replica.is_detached && wanted.contains(name))
    {
        if let Some(table) = target.tables.get_mut(name) {
            table.replica = Some(replica.clone());
            waiting.push(name.clone());
        }
    }
    // Why Keeper is not asked any more: it did not answer in time.
    let mut silent: Option<String> = None;
    loop {
        let mut behind = Vec::new();
        for name in waiting {
            let Some(table) = target.tables.get_mut(&name) else { continue };
            if let Some(reason) = &silent {
                table.elsewhere = PartsElsewhere::Unknown(reason.clone());
                continue;
            }
            let Some(replica) = &table.replica else { continue };
            let listed = listed_parts(server, &name)?;
            match parts_elsewhere(server, replica, &listed) {
                Ok(parts) => {
                    let is_behind = !parts.is_empty();
                    table.elsewhere = PartsElsewhere::Listed(parts);
                    behind.extend(is_behind.then_some(name));
                }
                Err(error) => {
                    let reason = crate::monitor::chain(&error);
                    silent = error.may_still_run().then(|| reason.clone());
                    table.elsewhere = PartsElsewhere::Unknown(reason);
                }
            }
        }
        if behind.is_empty() || begun.elapsed() > CATCHES_UP {
            return Ok(());
        }
        waiting = behind;
        std::thread::sleep(POLL);
    }
}

/// Those of these parts that neither are active parts of a table nor were merged into one.
fn missing_from(names: &BTreeSet<String>, listed: &[PartState]) -> Vec<PartState> {
    let partitions: BTreeSet<&PartitionId> = listed.iter().map(|part| &part.partition).collect();
    let state = |name: &String| {
        let part = PartName::try_from(name.clone()).ok()?;
        // `<partition>_<min block>_<max block>_<level>[_<mutation>]`: a partition id contains no underscore.
        let partition = partitions.iter().find(|id| name.starts_with(&format!("{}_", id.0))).map(|id| (*id).clone());
        let partition = partition.unwrap_or_else(|| PartitionId(name.split('_').next().unwrap_or_default().into()));
        Some(PartState { name: part, partition, fingerprint: None, rows: None, bytes: 0, is_active: true })
    };
    // A part that was on this host and is not active any more was merged, or dropped.
    let is_known = |name: &&String| listed.iter().any(|part| part.name.as_str() == **name);
    let expected: Vec<PartState> = names.iter().filter(|name| !is_known(name)).filter_map(state).collect();
    let missing: BTreeSet<PartName> = compare_parts(&expected, listed).missing().cloned().collect();
    expected.into_iter().filter(|part| missing.contains(&part.name)).collect()
}

/// The content of an existing path.
enum KeeperPathContent {
    Table(Vec<KeeperReplica>),
    NoTable,
}

/// Keeper as the server shows it, with what was read so far.
struct Keeper<'a> {
    server: &'a Server,
    nodes: BTreeMap<String, Vec<KeeperNode>>,
    /// Why it is not asked any more: it did not answer in time.
    silent: Option<String>,
}

impl<'a> Keeper<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, nodes: BTreeMap::new(), silent: None }
    }

    fn state(&mut self, path: &str) -> KeeperPath {
        if !server::shows_keeper(self.server) {
            return KeeperPath::Untold;
        }
        if let Some(reason) = &self.silent {
            return KeeperPath::Unreachable(reason.clone());
        }
        match self.replicas(&keeper_path(path)) {
            Err(error) if error.may_still_run() => {
                let reason = crate::monitor::chain(&error);
                self.silent = Some(reason.clone());
                KeeperPath::Unreachable(reason)
            }
            Ok(None) => KeeperPath::Absent,
            Ok(Some(KeeperPathContent::Table(replicas))) => KeeperPath::Table(replicas),
            Ok(Some(KeeperPathContent::NoTable)) => {
                KeeperPath::Unreachable("there is a node that is not a table's".to_owned())
            }
            Err(error) => KeeperPath::Unreachable(crate::monitor::chain(&error)),
        }
    }

    fn replicas(&mut self, path: &str) -> Result<Option<KeeperPathContent>, ServerError> {
        if self.find(path)?.is_none() {
            return Ok(None);
        }
        let mut replicas = Vec::new();
        let Some(nodes) = self.find(&format!("{path}/replicas"))? else { return Ok(Some(KeeperPathContent::NoTable)) };
        for node in nodes {
            let place = format!("{path}/replicas/{}", node.name);
            let nodes = self.find(&place)?.unwrap_or_default();
            let value = |name: &str| nodes.iter().find(|node| node.name == name).map(|node| node.value.clone());
            let parts = self.find(&format!("{place}/parts"))?.unwrap_or_default();
            replicas.push(KeeperReplica {
                name: node.name,
                host: value("host").as_deref().and_then(host),
                is_active: value("is_active").is_some(),
                parts: parts.len() as u64,
            });
        }
        // Keeper lists them in no order.
        replicas.sort_by(|one: &KeeperReplica, other| one.name.cmp(&other.name));
        Ok(Some(KeeperPathContent::Table(replicas)))
    }

    /// The nodes below a path; `None` if the path does not exist.
    fn find(&mut self, path: &str) -> Result<Option<Vec<KeeperNode>>, ServerError> {
        let (root, rest) = match path.split_once(":/") {
            Some((keeper, rest)) => (format!("{keeper}:/"), rest),
            None => ("/".to_owned(), path.trim_start_matches('/')),
        };
        self.below(&root, rest)
    }

    /// The nodes below a path that begins at an existing node. Each step is looked up in the list of the one before it,
    /// because servers differ in their answer for a missing node.
    fn below(&mut self, root: &str, rest: &str) -> Result<Option<Vec<KeeperNode>>, ServerError> {
        let mut at = root.to_owned();
        for step in rest.split('/').filter(|step| !step.is_empty()) {
            if !self.list(&at)?.iter().any(|node| node.name == step) {
                return Ok(None);
            }
            if !at.ends_with('/') {
                at.push('/');
            }
            at.push_str(step);
        }
        Ok(Some(self.list(&at)?.clone()))
    }

    fn list(&mut self, path: &str) -> Result<&Vec<KeeperNode>, ServerError> {
        if !self.nodes.contains_key(path) {
            let nodes = server::keeper_nodes(self.server, path)?;
            self.nodes.insert(path.to_owned(), nodes);
        }
        Ok(self.nodes.get(path).expect("it was just read"))
    }
}

/// `host:port` of a replica. Source: `ReplicatedMergeTreeAddress` in ClickHouse's
/// `src/Storages/MergeTree/ReplicatedMergeTreeAddress.cpp`.
fn host(value: &str) -> Option<String> {
    let field = |name: &str| value.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(format!("{}:{}", field("host")?, field("port")?))
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_replicas_address_is_read_as_servers_write_it() {
        let value = "host: 10.0.0.1\nport: 9009\ntcp_port: 9000\ndatabase: d\ntable: t\nscheme: http\n";
        assert_eq!(host(value).as_deref(), Some("10.0.0.1:9009"));
        assert_eq!(host("nothing"), None);
    }
}
