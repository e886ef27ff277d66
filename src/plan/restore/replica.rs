//! Plans replicated tables according to Keeper's data at their paths.
//!
//! The state of a replicated table is in Keeper, at a path that its replicas share. Two tables with the same path and
//! replica name destroy each other's state, and a table that joins a path gets the data of the existing replicas. So
//! the action of a restore depends on the data at the path. See docs/decisions/0036-replicated-tables.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};

use crate::model::{TableName, TableUuid, count};
use crate::plan::{ParsedDefinition, ReplicaArguments, Verb};

use super::options::Replicated;

/// A replica of a path, as Keeper lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperReplica {
    /// Its name.
    pub name: String,
    /// The host and port at which other replicas reach it, if known.
    pub host: Option<String>,
    /// Whether its server has the table attached, and a session in Keeper.
    pub is_active: bool,
    /// The number of parts that Keeper lists for it.
    pub parts: u64,
}

impl fmt::Display for KeeperReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_active { "active" } else { "not active" };
        let host = self.host.as_ref().map(|host| format!("{host}, ")).unwrap_or_default();
        write!(f, "{} ({host}{state}, {})", self.name, count(self.parts, "part"))
    }
}

/// Keeper's data at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperPath {
    /// Nothing.
    Absent,
    /// A table with these replicas.
    Table(Vec<KeeperReplica>),
    /// Keeper cannot be asked, for this reason.
    Unreachable(String),
    /// The server does not show it: it has no `system.zookeeper`.
    Untold,
}

/// A replicated table that the server has, attached or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedReplica {
    /// Its path in Keeper.
    pub path: String,
    /// The name of this replica.
    pub name: String,
    /// Whether it is read-only.
    pub is_readonly: bool,
    /// Whether it is detached: it uses its path again when it is attached.
    pub is_detached: bool,
}

/// A table that was dropped, and whose state in Keeper the server has yet to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedTable {
    /// The name that it had.
    pub name: TableName,
    /// Its UUID.
    pub uuid: TableUuid,
    /// Its path in Keeper; `None` if its definition cannot be read.
    pub path: Option<String>,
    /// When it will be removed, if the server reports that.
    pub gone_at: Option<DateTime<Utc>>,
    /// The host that dropped it, if it is not the server itself.
    pub host: Option<String>,
}

/// The replicated tables, as a server and its Keeper report them.
#[derive(Clone, Debug, Default)]
pub struct KeeperState {
    /// The macros of the server's configuration.
    pub macros: BTreeMap<String, String>,
    /// The path and replica name of an engine without arguments, with macros.
    pub defaults: Option<ReplicaArguments>,
    /// The data at the requested paths.
    pub paths: BTreeMap<String, KeeperPath>,
    /// Its own replicated tables.
    pub attached: BTreeMap<TableName, AttachedReplica>,
    /// The UUIDs of tables with these names on other hosts, for tables whose path contains the UUID.
    pub peer_uuids: BTreeMap<TableName, TableUuid>,
    /// Tables that were dropped and have not been removed yet, on this server and on those of its clusters that
    /// answered.
    pub dropped: Vec<DroppedTable>,
    /// Whether the server can remove a replica from Keeper: `SYSTEM DROP REPLICA`.
    pub drops_replicas: bool,
}

impl KeeperState {
    /// Changes the state to that without a table of the server: its replica is removed, and with the last one the path.
    pub(super) fn forget(&mut self, table: &TableName) {
        let Some(gone) = self.attached.remove(table) else { return };
        if let Some(state) = self.paths.get_mut(&gone.path)
            && let KeeperPath::Table(replicas) = state
        {
            replicas.retain(|replica| replica.name != gone.name);
            if replicas.is_empty() {
                *state = KeeperPath::Absent;
            }
        }
    }
}

/// The values of `{database}`, `{table}` and `{uuid}` in a path.
#[derive(Clone, Copy, Debug)]
pub struct PathNames<'a> {
    /// The table.
    pub table: &'a TableName,
    /// Its UUID.
    pub uuid: Option<&'a TableUuid>,
}

/// A path in Keeper's own form. Source: `normalizeZooKeeperPath` in ClickHouse's
/// `src/Storages/StorageReplicatedMergeTree.cpp`.
#[must_use]
pub fn keeper_path(path: &str) -> String {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.starts_with('/') || path.contains(":/") { path.to_owned() } else { format!("/{path}") }
}

/// The number of nested macro expansions. Source: `Macros::expand` in ClickHouse's `src/Common/Macros.cpp`.
const EXPANSIONS: usize = 10;

/// A path or replica name with its macros expanded.
///
/// # Errors
/// The first macro that the server does not have.
pub fn expand_macros(text: &str, names: PathNames<'_>, macros: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = text.to_owned();
    for _ in 0..EXPANSIONS {
        if !expanded.contains('{') {
            break;
        }
        let mut next = String::new();
        let mut rest = expanded.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, after)) = behind.split_once('}') else { break };
            next.push_str(before);
            match (macros.get(name), name, names.uuid) {
                (Some(value), _, _) => next.push_str(value),
                (None, "database", _) => next.push_str(&names.table.database),
                (None, "table", _) => next.push_str(&names.table.table),
                (None, "uuid", Some(uuid)) => next.push_str(uuid.as_str()),
                _ => return Err(name.to_owned()),
            }
            rest = after;
        }
        next.push_str(rest);
        if next == expanded {
            break;
        }
        expanded = next;
    }
    Ok(expanded)
}

/// The number of paths that are tried for a table without a UUID.
const OWN_PATHS: usize = 9;

/// Candidate paths, with macros, for a table that gets a path of its own, with or without a UUID.
fn own_paths(table: &TableName, has_uuid: bool, macros: &BTreeMap<String, String>) -> Vec<String> {
    let shard = if macros.contains_key("shard") { "/{shard}" } else { "" };
    if has_uuid {
        return vec![format!("/clickhouse/tables/{{uuid}}{shard}")];
    }
    // A slash in a name would create additional nodes; a brace, a macro.
    let node = |name: &str| name.replace(['/', '{', '}'], "_");
    let path = format!("/clickhouse/tables{shard}/{}/{}", node(&table.database), node(&table.table));
    (1..=OWN_PATHS).map(|number| if number == 1 { path.clone() } else { format!("{path}_{number}") }).collect()
}

/// A replicated table of the snapshot that does not exist on the server.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaSource<'a> {
    /// Its name in the snapshot.
    pub from: &'a TableName,
    /// Its new name.
    pub to: &'a TableName,
    /// Its UUID in the snapshot.
    pub uuid: Option<&'a TableUuid>,
    /// Its definition.
    pub definition: &'a ParsedDefinition,
}

impl ReplicaSource<'_> {
    fn arguments(&self, keeper: &KeeperState) -> ReplicaArguments {
        let usual = || ReplicaArguments {
            path: "/clickhouse/tables/{uuid}/{shard}".to_owned(),
            replica: "{replica}".to_owned(),
        };
        self.definition.replica().or_else(|| keeper.defaults.clone()).unwrap_or_else(usual)
    }

    /// The path and replica name according to its definition and its UUID; `None` if a macro is missing.
    #[must_use]
    pub fn stored_place(&self, keeper: &KeeperState) -> Option<AttachedReplica> {
        let names = PathNames { table: self.to, uuid: self.uuid };
        let expand = |text: &str| expand_macros(text, names, &keeper.macros).ok();
        let arguments = self.arguments(keeper);
        let (path, name) = (keeper_path(&expand(&arguments.path)?), expand(&arguments.replica)?);
        Some(AttachedReplica { path, name, is_readonly: false, is_detached: false })
    }

    /// The paths that a plan may choose for it, at which Keeper's data must be read.
    #[must_use]
    pub fn paths(&self, keeper: &KeeperState) -> Vec<String> {
        let template = self.arguments(keeper).path;
        let names = PathNames { table: self.to, uuid: self.uuid };
        let own = own_paths(self.to, false, &keeper.macros);
        let texts = std::iter::once(template).chain(own);
        texts
            .filter_map(|text| expand_macros(&text, names, &keeper.macros).ok())
            .map(|path| keeper_path(&path))
            .collect()
    }
}

/// The state of the path that a table gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundPath {
    /// Nothing is there.
    Absent,
    /// The state of a table without data, of which only this server has a replica: its creation was interrupted.
    Empty,
    /// Other active replicas: the table will fetch their data.
    Peers,
    /// The server does not show it.
    Untold,
    /// Nothing is there: the table's database is of the engine Replicated, which assigns a path with a UUID that no
    /// table has.
    Chosen,
}

impl FoundPath {
    /// The stable name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Empty => "empty",
            Self::Peers => "peers",
            Self::Untold => "unknown",
            Self::Chosen => "database",
        }
    }
}

/// How to create a replicated table that does not exist on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaPlan {
    /// Path and replica name, with macros, as in the new definition.
    pub arguments: ReplicaArguments,
    /// The path, expanded.
    pub path: String,
    /// The name of the replica, expanded.
    pub name: String,
    /// The state of the path.
    pub found: FoundPath,
    /// The replicas at the path.
    pub replicas: Vec<KeeperReplica>,
    /// ATTACH if Keeper has this replica already, so that it adopts the data there. Otherwise CREATE.
    pub verb: Verb,
    /// Whether the path differs from that in the snapshot, and belongs only to this table.
    pub has_own_path: bool,
    /// Replicas to remove from Keeper first.
    pub forgets: Vec<String>,
    /// The UUID of the new table.
    pub uuid: Option<TableUuid>,
    /// Whether that is its present UUID on other hosts.
    pub has_peers_uuid: bool,
}

impl ReplicaPlan {
    /// The plan for a table in a database of the engine Replicated, whose path is known only after its creation.
    pub(super) fn chosen_by_database() -> Self {
        Self {
            arguments: ReplicaArguments { path: String::new(), replica: String::new() },
            path: String::new(),
            name: String::new(),
            found: FoundPath::Chosen,
            replicas: Vec::new(),
            verb: Verb::Create,
            has_own_path: true,
            forgets: Vec::new(),
            uuid: None,
            has_peers_uuid: false,
        }
    }

    /// The table that it creates.
    #[must_use]
    pub fn attached(&self) -> AttachedReplica {
        AttachedReplica { path: self.path.clone(), name: self.name.clone(), is_readonly: false, is_detached: false }
    }

    /// Whether it can be created under another name first: neither its path nor its replica name contains the table's
    /// name.
    #[must_use]
    pub fn can_be_renamed(&self) -> bool {
        let ReplicaArguments { path, replica } = &self.arguments;
        let names_it = |text: &String| text.contains("{table}") || text.contains("{database}");
        self.found != FoundPath::Chosen && !names_it(path) && !names_it(replica)
    }
}

/// An obstacle for a replicated table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaObstacle {
    /// A dropped table has the path until it is removed: then the server removes the nodes of the path, no matter who
    /// uses them.
    Dropped {
        /// The path.
        path: String,
        /// The table.
        table: DroppedTable,
    },
    /// The path has replicas, and none is active: one that is switched off may have the newest data.
    NoneActive {
        /// The path.
        path: String,
        /// The replicas.
        replicas: Vec<KeeperReplica>,
        /// Whether the server can remove them.
        drops_replicas: bool,
    },
    /// The path has an active replica with this server's name, although the server does not have the table: another
    /// server uses the name, or the session of this one has not ended.
    NameInUse {
        /// The path.
        path: String,
        /// The replica.
        replica: KeeperReplica,
    },
    /// A replica that was to be removed is active.
    ForgetsActive {
        /// The replica.
        replica: KeeperReplica,
    },
    /// Another table of this server has the path.
    PathInUse {
        /// The path.
        path: String,
        /// The other table.
        table: TableName,
        /// Whether that one is detached.
        is_detached: bool,
    },
}

impl ReplicaObstacle {
    /// The stable name.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Dropped { .. } => "dropped_table_waits",
            Self::NoneActive { .. } => "no_active_replica",
            Self::NameInUse { .. } => "replica_name_in_use",
            Self::ForgetsActive { .. } => "replica_is_active",
            Self::PathInUse { .. } => "path_in_use",
        }
    }

    /// Whether it disappears by itself.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Dropped { .. })
    }
}

impl fmt::Display for ReplicaObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped { path, table } => {
                let host = table.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
                let until = match table.gone_at {
                    Some(at) => format!("wait until {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
                    None => "wait until system.dropped_tables does not list it any more".to_owned(),
                };
                let DroppedTable { name, uuid, .. } = table;
                write!(
                    f,
                    "the dropped table {name} ({uuid}){host} still has its path {path} in Keeper, and takes with it what \
                     is there when its time is over: UNDROP TABLE brings it back; else {until}, or give this one a path \
                     of its own with --replicated new-path"
                )
            }
            Self::NoneActive { path, replicas, drops_replicas } => {
                let listed: Vec<String> = replicas.iter().map(ToString::to_string).collect();
                let names: Vec<&str> = replicas.iter().map(|replica| replica.name.as_str()).collect();
                write!(
                    f,
                    "its path {path} in Keeper has replicas, and none is active: {}. One that is switched off may have \
                     newer data than the snapshot: start it; if all are lost, ",
                    listed.join(", ")
                )?;
                if *drops_replicas {
                    write!(f, "--forget-replicas {} removes them from Keeper", names.join(","))?;
                } else {
                    write!(f, "remove the node {path} from Keeper (this server has no SYSTEM DROP REPLICA)")?;
                }
                f.write_str(", or give this table a path of its own with --replicated new-path")
            }
            Self::NameInUse { path, replica } => write!(
                f,
                "its path {path} in Keeper has an active replica {replica}, and this server does not have the table: \
                 another server has the same name, or an earlier session of this one is not over yet; see the macros of \
                 both, or try again in a minute"
            ),
            Self::ForgetsActive { replica } => {
                write!(f, "the replica {replica} is active: --forget-replicas removes only replicas that are lost")
            }
            Self::PathInUse { path, table, is_detached } => {
                let state = if *is_detached { ", which is detached" } else { "" };
                write!(
                    f,
                    "its path {path} in Keeper is that of {table}{state}: --replicated new-path gives this one a path of its \
                     own"
                )
            }
        }
    }
}

/// The decision about a replicated table that does not exist on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReplicaDecision {
    /// It is created.
    Make(ReplicaPlan),
    /// Something is in the way.
    Blocked(ReplicaObstacle),
    /// It cannot be created, for this reason.
    Impossible(String),
}

/// The options of a restore for replicated tables.
pub(super) struct ReplicaOptions<'a> {
    pub(super) replicated: Replicated,
    /// Replicas that are lost for good.
    pub(super) forgets: &'a [String],
    /// Whether tables of the database have UUIDs.
    pub(super) has_uuids: bool,
    /// Whether the stored UUID is unused.
    pub(super) is_uuid_free: bool,
    /// The paths of the other planned tables.
    pub(super) taken_paths: &'a BTreeSet<String>,
}

/// Decides according to Keeper's data. `fresh` returns UUIDs that no table has.
pub(super) fn decide(
    source: ReplicaSource<'_>,
    keeper: &KeeperState,
    options: &ReplicaOptions<'_>,
    fresh: &mut dyn FnMut() -> TableUuid,
) -> ReplicaDecision {
    let question = ReplicaQuestion { source, keeper, options, arguments: source.arguments(keeper) };
    question.decide(fresh).unwrap_or_else(ReplicaDecision::Impossible)
}

struct ReplicaQuestion<'a> {
    source: ReplicaSource<'a>,
    keeper: &'a KeeperState,
    options: &'a ReplicaOptions<'a>,
    arguments: ReplicaArguments,
}

/// A candidate path for a table.
struct PathCandidate {
    arguments: ReplicaArguments,
    path: String,
    uuid: Option<TableUuid>,
    /// Whether its UUID is new, and part of the path.
    is_new: bool,
}

impl ReplicaQuestion<'_> {
    fn expand(&self, text: &str, table: &TableName, uuid: Option<&TableUuid>) -> Result<String, String> {
        let expanded = expand_macros(text, PathNames { table, uuid }, &self.keeper.macros);
        expanded.map_err(|name| {
            format!(
                "the server has no macro {{{name}}}, which its path in Keeper has: --replicated new-path gives it a path \
                 of its own, --replicated as-merge-tree makes it a plain table"
            )
        })
    }

    fn expand_path(&self, text: &str, table: &TableName, uuid: Option<&TableUuid>) -> Result<String, String> {
        Ok(keeper_path(&self.expand(text, table, uuid)?))
    }

    fn decide(&self, fresh: &mut dyn FnMut() -> TableUuid) -> Result<ReplicaDecision, String> {
        let Self { source, keeper, options, arguments } = self;
        let is_elsewhere = source.from != source.to || options.replicated == Replicated::NewPath;
        if is_elsewhere {
            return self.on_own_path(fresh);
        }
        let stored = self.expand_path(&arguments.path, source.to, source.uuid);
        if let Ok(stored) = &stored {
            let dropped = keeper.dropped.iter().find(|dropped| dropped.path.as_ref() == Some(stored));
            let has_peers = matches!(keeper.paths.get(stored), Some(KeeperPath::Table(replicas)) if replicas.iter().any(|replica| replica.is_active));
            // With a new UUID it would get another path, which no other replica has.
            let keeps_path = options.is_uuid_free || !arguments.path.contains("{uuid}") || has_peers;
            if let Some(table) = dropped.filter(|_| keeps_path) {
                let (path, table) = (stored.clone(), table.clone());
                return Ok(ReplicaDecision::Blocked(ReplicaObstacle::Dropped { path, table }));
            }
        }
        let uuid = match source.uuid {
            _ if !options.has_uuids => None,
            Some(uuid) if options.is_uuid_free => Some(uuid.clone()),
            _ => Some(fresh()),
        };
        let is_new = uuid.as_ref() != source.uuid && arguments.path.contains("{uuid}");
        let path = if is_new { self.expand_path(&arguments.path, source.to, uuid.as_ref()) } else { stored }?;
        self.at(PathCandidate { arguments: arguments.clone(), path, uuid, is_new }, is_new)
    }

    /// Chooses a path that no other table has: that of its definition, if the new name or UUID changes it.
    fn on_own_path(&self, fresh: &mut dyn FnMut() -> TableUuid) -> Result<ReplicaDecision, String> {
        let Self { source, keeper, options, arguments } = self;
        let stored = self.expand_path(&arguments.path, source.from, source.uuid).ok();
        let uuid = options.has_uuids.then(fresh);
        let as_defined = (options.replicated != Replicated::NewPath).then(|| arguments.path.clone());
        let others = own_paths(source.to, options.has_uuids, &keeper.macros);
        let replica = match self.expand(&arguments.replica, source.to, uuid.as_ref()) {
            Ok(_) => arguments.replica.clone(),
            Err(_) if keeper.macros.contains_key("replica") => "{replica}".to_owned(),
            Err(reason) => return Err(reason),
        };
        for template in as_defined.into_iter().chain(others) {
            let Ok(path) = self.expand_path(&template, source.to, uuid.as_ref()) else { continue };
            let is_taken = options.taken_paths.contains(&path)
                || keeper.attached.values().any(|attached| attached.path == path)
                || keeper.dropped.iter().any(|dropped| dropped.path.as_ref() == Some(&path));
            if stored.as_ref() == Some(&path) || is_taken {
                continue;
            }
            let is_new = uuid.is_some() && template.contains("{uuid}");
            match self.state(&path, is_new) {
                KeeperPath::Table(_) => {}
                KeeperPath::Absent | KeeperPath::Untold | KeeperPath::Unreachable(_) => {
                    let arguments = ReplicaArguments { path: template, replica };
                    return self.at(PathCandidate { arguments, path, uuid, is_new }, true);
                }
            }
        }
        Err("no free path for it was found in Keeper".to_owned())
    }

    fn state(&self, path: &str, is_new: bool) -> KeeperPath {
        match self.keeper.paths.get(path) {
            Some(state) => state.clone(),
            None if is_new => KeeperPath::Absent,
            None => KeeperPath::Unreachable(format!("{path} was not asked for")),
        }
    }

    fn at(&self, candidate: PathCandidate, has_own_path: bool) -> Result<ReplicaDecision, String> {
        let Self { source, keeper, options, .. } = self;
        let PathCandidate { arguments, path, uuid, is_new } = candidate;
        let name = self.expand(&arguments.replica, source.to, uuid.as_ref())?;
        let is_it = |replica: &AttachedReplica| replica.path == path && replica.name == name;
        if let Some((table, replica)) = keeper.attached.iter().find(|(_, replica)| is_it(replica)) {
            let (table, is_detached) = (table.clone(), replica.is_detached);
            return Ok(ReplicaDecision::Blocked(ReplicaObstacle::PathInUse { path, table, is_detached }));
        }
        let blocked = |obstacle| Ok(ReplicaDecision::Blocked(obstacle));
        let (found, replicas, verb, forgets) = match self.state(&path, is_new) {
            KeeperPath::Absent => (FoundPath::Absent, Vec::new(), Verb::Create, Vec::new()),
            KeeperPath::Untold => (FoundPath::Untold, Vec::new(), Verb::Create, Vec::new()),
            KeeperPath::Unreachable(reason) => return Err(format!("Keeper cannot be queried for its path: {reason}")),
            KeeperPath::Table(replicas) => {
                let own = replicas.iter().find(|replica| replica.name == name);
                if let Some(replica) = own.filter(|own| own.is_active) {
                    return blocked(ReplicaObstacle::NameInUse { path, replica: replica.clone() });
                }
                let verb = if own.is_some() { Verb::Attach } else { Verb::Create };
                let is_ours = replicas.iter().all(|replica| replica.name == name && replica.parts == 0);
                let is_forgotten = |replica: &KeeperReplica| options.forgets.contains(&replica.name);
                if replicas.iter().any(|replica| replica.is_active) {
                    (FoundPath::Peers, replicas, verb, Vec::new())
                } else if is_ours {
                    (FoundPath::Empty, replicas, verb, Vec::new())
                } else if replicas.iter().all(is_forgotten) && keeper.drops_replicas {
                    let names = replicas.iter().map(|replica| replica.name.clone()).collect();
                    (FoundPath::Absent, replicas, Verb::Create, names)
                } else {
                    let drops_replicas = keeper.drops_replicas;
                    return blocked(ReplicaObstacle::NoneActive { path, replicas, drops_replicas });
                }
            }
        };
        if let Some(replica) = replicas.iter().find(|one| one.is_active && options.forgets.contains(&one.name)) {
            return blocked(ReplicaObstacle::ForgetsActive { replica: replica.clone() });
        }
        Ok(ReplicaDecision::Make(ReplicaPlan {
            arguments,
            path,
            name,
            found,
            replicas,
            verb,
            has_own_path,
            forgets,
            has_peers_uuid: uuid.is_some() && keeper.peer_uuids.get(source.to) == uuid.as_ref(),
            uuid,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(number: u8) -> TableUuid {
        TableUuid::try_from(format!("{number:08x}-0000-4000-8000-000000000000")).expect("a UUID")
    }

    fn replica(name: &str, is_active: bool, parts: u64) -> KeeperReplica {
        KeeperReplica { name: name.to_owned(), host: Some("h:9009".to_owned()), is_active, parts }
    }

    struct Case {
        engine: &'static str,
        to: &'static str,
        options: Replicated,
        forgets: Vec<String>,
        has_uuids: bool,
        is_uuid_free: bool,
        keeper: KeeperState,
    }

    const LITERAL: &str = "ReplicatedMergeTree('/c/{shard}/t', '{replica}')";
    const BY_UUID: &str = "ReplicatedMergeTree('/c/{uuid}/{shard}', '{replica}')";

    fn literal(state: KeeperPath) -> Case {
        let macros = [("shard", "s1"), ("replica", "r1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        Case {
            engine: LITERAL,
            to: "t",
            options: Replicated::Keep,
            forgets: Vec::new(),
            has_uuids: true,
            is_uuid_free: true,
            keeper: KeeperState {
                macros: macros.into(),
                paths: [("/c/s1/t".to_owned(), state)].into(),
                drops_replicas: true,
                ..KeeperState::default()
            },
        }
    }

    fn decision(case: &Case) -> ReplicaDecision {
        let (from, to) = (TableName::new("d", "t"), TableName::new("d", case.to));
        let text = format!("ATTACH TABLE _ (x UInt8) ENGINE = {} ORDER BY x", case.engine);
        let definition = ParsedDefinition::parse(&text).expect("a definition");
        let stored = uuid(1);
        let source = ReplicaSource { from: &from, to: &to, uuid: Some(&stored), definition: &definition };
        let options = ReplicaOptions {
            replicated: case.options,
            forgets: &case.forgets,
            has_uuids: case.has_uuids,
            is_uuid_free: case.is_uuid_free,
            taken_paths: &BTreeSet::new(),
        };
        decide(source, &case.keeper, &options, &mut || uuid(9))
    }

    fn made(case: &Case) -> ReplicaPlan {
        match decision(case) {
            ReplicaDecision::Make(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    fn obstacle(case: &Case) -> ReplicaObstacle {
        match decision(case) {
            ReplicaDecision::Blocked(obstacle) => obstacle,
            other => panic!("{other:?}"),
        }
    }

    fn dropped(path: &str, number: u8) -> DroppedTable {
        let name = TableName::new("d", "t");
        DroppedTable { name, uuid: uuid(number), path: Some(path.to_owned()), gone_at: None, host: None }
    }

    #[test]
    fn a_table_under_its_own_name_is_made_by_what_is_at_its_path() {
        let table = |replicas: &[KeeperReplica]| literal(KeeperPath::Table(replicas.to_vec()));
        for (case, wanted) in [
            (literal(KeeperPath::Absent), (FoundPath::Absent, Verb::Create)),
            (literal(KeeperPath::Untold), (FoundPath::Untold, Verb::Create)),
            (table(&[]), (FoundPath::Empty, Verb::Create)),
            (table(&[replica("r1", false, 0)]), (FoundPath::Empty, Verb::Attach)),
            (table(&[replica("r1", false, 3), replica("r2", true, 3)]), (FoundPath::Peers, Verb::Attach)),
            (table(&[replica("r2", true, 0)]), (FoundPath::Peers, Verb::Create)),
        ] {
            let plan = made(&case);
            assert_eq!((plan.found, plan.verb), wanted);
            assert_eq!((plan.path.as_str(), plan.name.as_str()), ("/c/s1/t", "r1"));
            assert_eq!((plan.uuid, plan.has_own_path), (Some(uuid(1)), false));
        }
        let unreachable = literal(KeeperPath::Unreachable("no session".to_owned()));
        assert!(matches!(decision(&unreachable), ReplicaDecision::Impossible(reason) if reason.contains("no session")));
    }

    #[test]
    fn replicas_that_are_not_active_are_left_alone_until_they_are_named() {
        let lost = [replica("r1", false, 3), replica("r2", false, 4)];
        let mut case = literal(KeeperPath::Table(lost.to_vec()));
        for names in [&[][..], &["r1"], &["r1", "x"]] {
            case.forgets = names.iter().map(|name| (*name).to_owned()).collect();
            let text = obstacle(&case).to_string();
            assert!(
                text.contains("r2 (h:9009, not active, 4 parts)") && text.contains("--forget-replicas r1,r2"),
                "{text}"
            );
        }
        case.forgets = vec!["r2".to_owned(), "r1".to_owned()];
        let plan = made(&case);
        assert_eq!(
            (plan.found, plan.verb, plan.forgets),
            (FoundPath::Absent, Verb::Create, case.forgets.iter().rev().cloned().collect())
        );
        case.keeper.drops_replicas = false;
        assert!(obstacle(&case).to_string().contains("remove the node /c/s1/t"));
        // Never one that is active, and never if this server's name is used elsewhere.
        let mut active = literal(KeeperPath::Table(vec![replica("r2", true, 3)]));
        active.forgets = vec!["r2".to_owned()];
        assert!(matches!(obstacle(&active), ReplicaObstacle::ForgetsActive { .. }));
        let own = literal(KeeperPath::Table(vec![replica("r1", true, 3)]));
        assert!(matches!(obstacle(&own), ReplicaObstacle::NameInUse { .. }));
    }

    #[test]
    fn a_dropped_table_is_waited_for_where_its_path_would_be_taken() {
        let mut case = literal(KeeperPath::Table(vec![replica("r1", false, 3)]));
        case.is_uuid_free = false;
        case.keeper.dropped = vec![dropped("/c/s1/t", 1)];
        assert!(obstacle(&case).passes());
        // With a new UUID it gets another path.
        case.engine = BY_UUID;
        let path = |number: u8| format!("/c/{}/s1", uuid(number));
        case.keeper.dropped = vec![dropped(&path(1), 1)];
        case.keeper.paths.insert(path(1), KeeperPath::Table(vec![replica("r1", false, 3)]));
        let plan = made(&case);
        assert_eq!((plan.path, plan.uuid, plan.has_own_path), (path(9), Some(uuid(9)), true));
        // But not while other replicas continue without this one.
        case.keeper.paths.insert(path(1), KeeperPath::Table(vec![replica("r2", true, 3)]));
        assert!(obstacle(&case).passes());
    }

    #[test]
    fn a_path_with_the_uuid_of_its_peers_is_theirs() {
        let mut case = literal(KeeperPath::Absent);
        case.engine = BY_UUID;
        case.keeper.peer_uuids.insert(TableName::new("d", "t"), uuid(7));
        case.keeper.paths.insert(format!("/c/{}/s1", uuid(7)), KeeperPath::Table(vec![replica("r2", true, 3)]));
        let (from, definition) =
            (TableName::new("d", "t"), format!("ATTACH TABLE _ (x UInt8) ENGINE = {BY_UUID} ORDER BY x"));
        let definition = ParsedDefinition::parse(&definition).expect("a definition");
        let peers = uuid(7);
        let source = ReplicaSource { from: &from, to: &from, uuid: Some(&peers), definition: &definition };
        let options = ReplicaOptions {
            replicated: Replicated::Keep,
            forgets: &[],
            has_uuids: true,
            is_uuid_free: true,
            taken_paths: &BTreeSet::new(),
        };
        let ReplicaDecision::Make(plan) = decide(source, &case.keeper, &options, &mut || uuid(9)) else {
            panic!("it is made");
        };
        assert_eq!((plan.found, plan.uuid, plan.has_peers_uuid), (FoundPath::Peers, Some(uuid(7)), true));
    }

    #[test]
    fn another_name_gets_another_path() {
        for (engine, options, has_uuids, path) in [
            (LITERAL, Replicated::Keep, true, format!("/clickhouse/tables/{}/s1", uuid(9))),
            (LITERAL, Replicated::Keep, false, "/clickhouse/tables/s1/d/u".to_owned()),
            (BY_UUID, Replicated::Keep, true, format!("/c/{}/s1", uuid(9))),
            (BY_UUID, Replicated::NewPath, true, format!("/clickhouse/tables/{}/s1", uuid(9))),
            ("ReplicatedMergeTree('/c/{table}', 'x')", Replicated::Keep, false, "/c/u".to_owned()),
        ] {
            let mut case = literal(KeeperPath::Table(vec![replica("r2", true, 3)]));
            (case.engine, case.to, case.options, case.has_uuids) = (engine, "u", options, has_uuids);
            case.keeper.paths.extend([
                ("/clickhouse/tables/s1/d/u".to_owned(), KeeperPath::Absent),
                ("/c/u".to_owned(), KeeperPath::Absent),
            ]);
            let plan = made(&case);
            assert_eq!((plan.path, plan.has_own_path, plan.found), (path, true, FoundPath::Absent));
        }
        // The same name with a new path, for tables without UUIDs: the first unused one.
        let mut case = literal(KeeperPath::Absent);
        (case.options, case.has_uuids) = (Replicated::NewPath, false);
        let taken = KeeperPath::Table(vec![replica("r2", false, 0)]);
        case.keeper.paths.extend([
            ("/clickhouse/tables/s1/d/t".to_owned(), taken),
            ("/clickhouse/tables/s1/d/t_2".to_owned(), KeeperPath::Absent),
        ]);
        assert_eq!(made(&case).path, "/clickhouse/tables/s1/d/t_2");
    }

    #[test]
    fn a_path_of_a_live_table_is_never_taken() {
        let mut case = literal(KeeperPath::Table(vec![replica("r1", true, 3)]));
        let attached = AttachedReplica {
            path: "/c/s1/t".to_owned(),
            name: "r1".to_owned(),
            is_readonly: false,
            is_detached: true,
        };
        case.keeper.attached.insert(TableName::new("d", "renamed"), attached);
        assert!(obstacle(&case).to_string().contains("d.renamed, which is detached"));
    }

    #[test]
    fn macros_are_expanded_as_the_server_does() {
        let macros: BTreeMap<String, String> =
            [("shard", "s1"), ("root", "/c/{shard}")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (table, uuid) = (TableName::new("d", "t"), uuid(1));
        let expand = |text: &str| expand_macros(text, PathNames { table: &table, uuid: Some(&uuid) }, &macros);
        assert_eq!(expand("{root}/{database}.{table}").as_deref(), Ok("/c/s1/d.t"));
        assert_eq!(expand("/x/{uuid}"), Ok(format!("/x/{uuid}")));
        assert_eq!(expand("/x/{layer}"), Err("layer".to_owned()));
        assert_eq!(expand("/plain").as_deref(), Ok("/plain"));
    }
}
