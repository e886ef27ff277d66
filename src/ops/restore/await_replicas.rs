//! Waits for replicated tables that were created or written to, and reports how they compare with their other replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::{TableName, WarningKind, count, thousands};
use crate::ops::error::OpError;
use crate::plan::{KeeperPath, PartState, RestoreContent, TablePlan, lacking_rows};
use crate::server::{self, HostPart, ReplicaStatus, Server, ServerError};

use super::attaching::Attaching;
use super::context::RestoreContext;
use super::keeper::{parts_elsewhere, path_now};
use super::report::{ReplicaReport, ReplicaRows, RestoredState, TableReport};
use super::survey::listed_parts;

/// The interval at which replicas are checked, and the longest time to wait for them.
const POLL: Duration = Duration::from_millis(200);
const SETTLES: Duration = Duration::from_secs(15);
const FETCHES: Duration = Duration::from_secs(60);

/// Waits, for a limited time, until replicated tables have everything that their peers have, and the reverse. Reports
/// what is still missing, and how fetched data compares with the snapshot.
///
/// # Errors
/// If the program was asked to stop.
pub(super) fn await_replicas(attaching: &Attaching<'_>, reports: &mut [TableReport]) -> Result<(), OpError> {
    let plan_of = |report: &TableReport| attaching.plan.tables.iter().find(|plan| plan.to == report.name());
    let is_replicated = |report: &TableReport| {
        let live = plan_of(report).map(|plan| plan.live.as_ref().map_or(&plan.engine, |live| &live.engine));
        let is_elsewhere = report.state == RestoredState::Fetched || !report.made_on_hosts.is_empty();
        let is_written = report.state.has_data() || is_elsewhere;
        is_written && live.is_some_and(|engine| engine.starts_with("Replicated"))
    };
    let context = attaching.context;
    let mut written: Vec<&mut TableReport> = reports.iter_mut().filter(|report| is_replicated(report)).collect();
    let fetches = |report: &&mut TableReport| report.state == RestoredState::Fetched;
    wait(context, FETCHES, written.iter().filter(|report| fetches(report)).map(|report| report.name()), &|table| {
        let plan = attaching.plan.tables.iter().find(|plan| plan.to == *table);
        let Some(plan) = plan else { return Ok(true) };
        let missing = missing_parts(context, plan, &listed_parts(context.server, table)?)?;
        Ok(missing == 0 || is_alone(context.server, plan))
    })?;
    for report in written.iter_mut().filter(|report| fetches(report)) {
        if let Some(plan) = plan_of(report) {
            compare_fetched(context, plan, report);
        }
    }
    wait(context, SETTLES, written.iter().map(|report| report.name()), &|table| {
        Ok(server::replica_status(context.server, table)?.is_none_or(|status| is_settled(&status)))
    })?;
    let names: Vec<TableName> = written.iter().map(|report| report.name()).collect();
    let hosts = rows_elsewhere(context, &names)?;
    for report in written {
        look_at(context, hosts.get(&report.name()), report);
    }
    Ok(())
}

/// The rows of a table on this host, and on each host that has a replica of it.
#[derive(Default)]
struct RowsByHost {
    here: u64,
    hosts: Vec<ReplicaRows>,
    /// Parts of replicas whose content is not that of this host's part of the same name.
    differing: Vec<DifferingPart>,
}

struct DifferingPart {
    replica: String,
    host: String,
    part: String,
}

/// The part among `parts` of a host that has other content than this host's part of the same name. Replicas have the same
/// content under one name at all times, also while one of them is behind.
fn differing_part<'a>(here: &[&HostPart], parts: &[&'a HostPart]) -> Option<&'a HostPart> {
    let here: BTreeMap<&str, &HostPart> = here.iter().map(|part| (part.name.as_str(), *part)).collect();
    let differs = |part: &&&HostPart| {
        let Some(own) = here.get(part.name.as_str()) else { return false };
        let is_told = !own.digest.is_empty() && !part.digest.is_empty();
        own.rows != part.rows || is_told && own.digest != part.digest
    };
    parts.iter().find(differs).copied()
}

/// A table's row counts as observed over a while. A replica of a table that is being written to is always slightly
/// behind: it matches this one if it reaches a number of rows that this one had meanwhile.
#[derive(Default)]
struct Followed {
    here: Option<(u64, u64)>,
    last: RowsByHost,
    /// Names of the replicas that matched this one.
    alike: BTreeSet<String>,
}

impl Followed {
    fn see(&mut self, now: RowsByHost) {
        let (low, high) = self.here.unwrap_or((now.here, now.here));
        let (low, high) = (low.min(now.here), high.max(now.here));
        self.here = Some((low, high));
        let alike = now.hosts.iter().filter(|host| (low..=high).contains(&host.rows));
        self.alike.extend(alike.map(|host| host.name.clone()));
        self.last = now;
    }

    /// A replica whose rows differ.
    fn other(&self) -> Option<&ReplicaRows> {
        self.last.hosts.iter().find(|host| !self.alike.contains(&host.name))
    }
}

/// The rows that replicas of these tables have on the hosts of this server's clusters and of the given cluster, as soon
/// as they match or the time for that is over. Empty if no host can be queried.
fn rows_elsewhere(
    context: &RestoreContext<'_>,
    tables: &[TableName],
) -> Result<BTreeMap<TableName, Followed>, OpError> {
    let begun = Instant::now();
    let mut followed: BTreeMap<TableName, Followed> = BTreeMap::new();
    loop {
        context.check_interrupted()?;
        let found = read_rows(context, tables);
        let found = found.inspect_err(|error| tracing::debug!(%error, "rows on other hosts are not known"));
        for (table, now) in found.unwrap_or_default() {
            followed.entry(table).or_default().see(now);
        }
        if begun.elapsed() > SETTLES || followed.values().all(|table| table.other().is_none()) {
            return Ok(followed);
        }
        std::thread::sleep(POLL);
    }
}

fn read_rows(
    context: &RestoreContext<'_>,
    tables: &[TableName],
) -> Result<BTreeMap<TableName, RowsByHost>, ServerError> {
    let server = context.server;
    let mut found: BTreeMap<TableName, RowsByHost> = BTreeMap::new();
    let mut clusters = if tables.is_empty() { Vec::new() } else { server::own_clusters(server)? };
    clusters.extend(context.request.options.on_cluster.clone().filter(|_| !tables.is_empty()));
    clusters.sort_unstable();
    clusters.dedup();
    if clusters.is_empty() {
        return Ok(found);
    }
    let live = server::replicas(server)?;
    let own: Vec<_> = live.iter().filter(|replica| tables.contains(&replica.table)).collect();
    let paths: Vec<String> = own.iter().map(|replica| replica.keeper_path.clone()).collect();
    for cluster in clusters.iter().filter(|_| !paths.is_empty()) {
        let replicas = server::replicas_on_hosts(server, cluster, &paths)?.answers;
        let mut names: Vec<TableName> = replicas.values().flatten().map(server::HostReplica::name).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            continue;
        }
        let parts = server::parts_on_hosts(server, cluster, &names)?.answers;
        let parts_of = |host: &str, table: &TableName| -> Vec<&HostPart> {
            parts.get(host).into_iter().flatten().filter(|part| part.table_name() == *table).collect()
        };
        for (host, replica) in replicas.iter().flat_map(|(host, rows)| rows.iter().map(move |row| (host, row))) {
            let Some(own) = own.iter().find(|own| own.keeper_path == replica.zookeeper_path) else { continue };
            // The table itself, or one that another cluster has listed already.
            let seen = found.entry(own.table.clone()).or_default();
            if own.name == replica.replica_name || seen.hosts.iter().any(|seen| seen.name == replica.replica_name) {
                continue;
            }
            let there = parts_of(host, &replica.name());
            let is_here = |row: &&server::HostReplica| {
                row.zookeeper_path == own.keeper_path && row.replica_name == own.name && row.name() == own.table
            };
            let own_host = replicas.iter().find(|(_, rows)| rows.iter().any(|row| is_here(&row)));
            let here = own_host.map(|(host, _)| parts_of(host, &own.table)).unwrap_or_default();
            let (name, host) = (replica.replica_name.clone(), host.clone());
            if let Some(part) = differing_part(&here, &there) {
                let (replica, host, part) = (name.clone(), host.clone(), part.name.clone());
                seen.differing.push(DifferingPart { replica, host, part });
            }
            let rows = there.iter().fold(0, |sum: u64, part| sum.saturating_add(part.rows));
            seen.hosts.push(ReplicaRows { name, host, rows });
        }
    }
    for (table, rows) in &mut found {
        rows.here = active_rows(&listed_parts(server, table)?);
    }
    Ok(found)
}

fn active_rows(listed: &[PartState]) -> u64 {
    let rows = listed.iter().filter(|part| part.counts());
    rows.fold(0, |sum: u64, part| sum.saturating_add(part.rows.unwrap_or(0)))
}

/// Whether no other replica at a table's path is active any more, so that nothing comes from there.
fn is_alone(server: &Server, plan: &TablePlan) -> bool {
    let Some(replica) = &plan.replica else { return false };
    match path_now(server, &replica.path) {
        KeeperPath::Table(replicas) => !replicas.iter().any(|one| one.is_active && one.name != replica.name),
        KeeperPath::Absent | KeeperPath::Unreachable(_) | KeeperPath::Untold => false,
    }
}

/// Asks for each table repeatedly whether it is done, until all are or the time is over.
fn wait(
    context: &RestoreContext<'_>,
    limit: Duration,
    tables: impl Iterator<Item = TableName>,
    is_done: &dyn Fn(&TableName) -> Result<bool, ServerError>,
) -> Result<(), OpError> {
    let begun = Instant::now();
    let mut waiting: Vec<TableName> = tables.collect();
    loop {
        context.check_interrupted()?;
        // A query that fails now is retried, and reported after the wait.
        waiting.retain(|table| !is_done(table).unwrap_or(false));
        if waiting.is_empty() || begun.elapsed() > limit {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
}

/// The number of its peers' parts that a table lacks, or the length of its queue if the server does not report parts.
fn missing_parts(context: &RestoreContext<'_>, plan: &TablePlan, listed: &[PartState]) -> Result<u64, ServerError> {
    let Some(replica) = &plan.replica else { return Ok(0) };
    if !server::shows_keeper(context.server) {
        return Ok(server::replica_status(context.server, &plan.to)?.map_or(0, |status| status.queue_size));
    }
    // For a while, a peer still lists parts that it has merged away.
    Ok(parts_elsewhere(context.server, &replica.attached(), listed)?.len() as u64)
}

/// Reports whose data a fetched table has, and what the snapshot has in addition.
fn compare_fetched(context: &RestoreContext<'_>, plan: &TablePlan, report: &mut TableReport) {
    let Some(replica) = &plan.replica else { return };
    let peers: Vec<&str> = (replica.replicas.iter())
        .filter(|one| one.is_active && one.name != replica.name)
        .map(|one| one.name.as_str())
        .collect();
    let peers = if peers.is_empty() { "other replicas".to_owned() } else { peers.join(", ") };
    let mut message = format!("its data is that of {peers} now, and not the snapshot's");
    let listed = listed_parts(context.server, &plan.to);
    match listed.and_then(|listed| Ok((missing_parts(context, plan, &listed)?, listed))) {
        Ok((missing, listed)) => {
            report.rows = active_rows(&listed);
            let stored =
                context.item(&plan.from).and_then(|item| item.data.as_ref()).map_or(0, |data| data.amount.rows);
            let is_compared = context.request.options.what != RestoreContent::Schema;
            report.expected_rows = if is_compared { stored } else { 0 };
            let parts = context.item(&plan.from).and_then(|item| item.data.as_ref()).filter(|_| is_compared);
            let lacks = parts.map_or(0, |data| lacking_rows(&data.parts, &listed));
            if missing > 0 && is_alone(context.server, plan) {
                message = format!(
                    "{message}; {} are only there, and none of these replicas is active any more: start one; if all are lost, \
                     drop this table and restore it with --forget-replicas, which the plan then names",
                    count(missing, "part")
                );
            } else if missing > 0 {
                message = format!("{message}; {} have yet to come from there", count(missing, "part"));
            } else if lacks > 0 {
                let (lacks, stored) = (count(lacks, "row"), thousands(report.expected_rows));
                let verb = if lacks == "1 row" { "is" } else { "are" };
                message = format!(
                    "{message}: {lacks} of the snapshot's {stored} {verb} not there; a second restore of it with --replace \
                     puts the snapshot's data in the place of that"
                );
            }
        }
        Err(error) => {
            message = format!("{message}; it could not be looked at: {}", crate::monitor::chain(&error));
        }
    }
    report.warn(WarningKind::ReplicaFetched, message);
}

fn is_settled(status: &ReplicaStatus) -> bool {
    !status.is_readonly && status.queue_size == 0 && status.active_replicas == status.total_replicas
}

/// Reports how a replicated table compares with its other replicas.
fn look_at(context: &RestoreContext<'_>, rows: Option<&Followed>, report: &mut TableReport) {
    let status = match server::replica_status(context.server, &report.name()) {
        Ok(Some(status)) => status,
        Ok(None) => return,
        Err(error) => {
            let message = format!("its replicas could not be looked at: {}", crate::monitor::chain(&error));
            return report.warn(WarningKind::ReplicasUnknown, message);
        }
    };
    let ReplicaStatus { is_readonly, total_replicas, active_replicas, queue_size } = status;
    if is_readonly {
        let message = "it is replicated and read-only: nothing can be written to it";
        report.warn(WarningKind::ReplicaReadOnly, message);
    } else if active_replicas < total_replicas {
        let message = format!("{active_replicas} of {} are active", count(total_replicas, "replica"));
        report.warn(WarningKind::ReplicaBehind, message);
    } else if queue_size > 0 && report.state != RestoredState::Fetched {
        let message = format!("its queue still has {queue_size} entries");
        report.warn(WarningKind::ReplicaBehind, message);
    }
    let hosts = rows.map(|rows| rows.last.hosts.clone()).unwrap_or_default();
    if let Some((rows, other)) = rows.and_then(|rows| Some((rows, rows.other()?))) {
        let (there, here) = (count(other.rows, "row"), count(rows.last.here, "row"));
        let message = format!("its replica {} on {} has {there}, and this one {here}", other.name, other.host);
        report.warn(WarningKind::ReplicaBehind, message);
    }
    for DifferingPart { replica, host, part } in rows.iter().flat_map(|rows| &rows.last.differing) {
        let message = format!(
            "its replica {replica} on {host} has other content in the part {part} than this one: compare the two with \
             CHECK TABLE"
        );
        report.warn(WarningKind::ReplicaDiffers, message);
    }
    report.replica = Some(ReplicaReport { total_replicas, active_replicas, queue_size, is_readonly, hosts });
}

#[cfg(test)]
mod tests {
    use super::{Followed, HostPart, ReplicaRows, RowsByHost, differing_part};

    #[test]
    fn parts_of_one_name_have_one_content_and_others_are_not_compared() {
        let part = |name: &str, rows: u64, digest: &str| HostPart {
            database: "d".to_owned(),
            table: "t".to_owned(),
            name: name.to_owned(),
            rows,
            digest: digest.to_owned(),
        };
        let here = [part("0_0_0_0", 3, "a"), part("0_1_1_0", 4, "b")];
        let differs = |there: &HostPart| differing_part(&here.each_ref(), &[there]).is_some();
        for (there, expected) in [
            (part("0_0_0_0", 3, "a"), false),
            (part("0_0_0_0", 3, "b"), true),
            (part("0_0_0_0", 4, "a"), true),
            // Merged there already.
            (part("0_0_1_1", 7, "c"), false),
            // A server that reports none.
            (part("0_0_0_0", 3, ""), false),
            (part("0_0_0_0", 2, ""), true),
        ] {
            assert_eq!(differs(&there), expected, "{there:?}");
        }
    }

    #[test]
    fn a_replica_that_reaches_the_rows_of_this_one_is_not_behind() {
        let mut followed = Followed::default();
        let mut see = |here: u64, there: u64| {
            let host = ReplicaRows { name: "r2".to_owned(), host: "h:9000".to_owned(), rows: there };
            followed.see(RowsByHost { here, hosts: vec![host], differing: Vec::new() });
            followed.other().map(|other| other.rows)
        };
        assert_eq!(see(100, 90), Some(90));
        assert_eq!(see(120, 99), Some(99));
        assert_eq!(see(140, 101), None, "100 rows are long there");
        assert_eq!(see(160, 90), None);
    }
}
