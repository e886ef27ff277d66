//! Where tables are put together before a server is told of them, and what is left there by a restore that was cut short.
//!
//! `<disk>/chsnap_restore_<UTC digits>_<random>/` stands beside `store/` and `data/`, where no server looks. A table goes
//! from there to its place by one rename, right before it is attached. What the restore is about to do is written down
//! there first, and kept locked: the lock ends with the process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::exec;
use crate::fs::{self, Dir, FileLock, FsError, Kind};
use crate::model::{Catalog, SnapshotId, TableName, TableUuid};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::repo::RepoError;
use crate::server::{self, Server};

const PREFIX: &str = "chsnap_restore_";
const INTENT: &str = "intent.json";
const LOCK: &str = "lock";
const INTENT_LIMIT_BYTES: u64 = 64 << 20;
/// How often the server is asked whether it is still at a statement of an interrupted restore.
const POLL: Duration = Duration::from_millis(200);

/// A table that a restore attaches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The name under which it is attached.
    pub(super) name: TableName,
    /// Its UUID, in databases whose tables have some.
    pub(super) uuid: Option<TableUuid>,
    /// Where its directory goes: a disk and a path beneath it.
    pub(super) places: Vec<(String, PathBuf)>,
    /// Of a table that stands only until its contents are where they belong.
    pub(super) is_temporary: bool,
    /// The table whose place it takes, of one that does.
    pub(super) replaces: Option<TableName>,
    /// What that one is called then, where names cannot be exchanged.
    pub(super) old_name: Option<TableName>,
    /// Whether the table that was replaced is to stay, under the name that it has then.
    pub(super) keeps_old: bool,
}

impl Entry {
    /// A table that the server makes by itself, and that is to go again.
    pub(super) fn helper(name: TableName) -> Self {
        Self {
            name,
            uuid: None,
            places: Vec::new(),
            is_temporary: true,
            replaces: None,
            old_name: None,
            keeps_old: false,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Intent {
    snapshot: SnapshotId,
    host: String,
    pid: u32,
    started: DateTime<Utc>,
    tables: Vec<Entry>,
}

/// Directories of one restore, one a disk.
pub(super) struct Staging {
    name: String,
    own: Dir,
    disks: BTreeMap<String, Dir>,
    lock: FileLock,
}

fn random() -> Result<u32, OpError> {
    let mut bits = [0; 4];
    getrandom::fill(&mut bits).map_err(|error| RepoError::Random { reason: error.to_string() })?;
    Ok(u32::from_ne_bytes(bits))
}

/// A random UUID (version 4, RFC 9562).
pub(super) fn fresh_uuid() -> Result<TableUuid, OpError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| RepoError::Random { reason: error.to_string() })?;
    let number = u128::from_ne_bytes(bits) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{number:032x}");
    let mut text = String::with_capacity(36);
    for (position, digit) in digits.chars().enumerate() {
        if matches!(position, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    Ok(TableUuid::try_from(text).expect("32 hex digits with four dashes are a UUID"))
}

/// A word that stands in every statement of one restore, and the name of its directories.
pub(super) fn new_name(now: DateTime<Utc>) -> Result<String, OpError> {
    Ok(format!("{PREFIX}{}_{:08x}", now.format("%Y%m%d%H%M%S"), random()?))
}

impl Staging {
    /// Makes the directory on the server's own disk, and writes down what is about to be done.
    ///
    /// # Errors
    /// If it cannot be written, durably.
    pub(super) fn begin(
        local: &LocalDisks,
        name: &str,
        snapshot: SnapshotId,
        now: DateTime<Utc>,
        tables: Vec<Entry>,
    ) -> Result<Self, OpError> {
        let disk = local.own().expect("the server's own disk is open");
        disk.dir.create_dir(name, 0o700)?;
        let own = disk.dir.open_dir(name)?;
        let lock =
            FileLock::try_acquire(&own, LOCK)?.map_err(|_| OpError::TargetInUse { path: own.path().to_owned() })?;
        let intent = Intent { snapshot, host: fs::host_name(), pid: std::process::id(), started: now, tables };
        let bytes = serde_json::to_vec_pretty(&intent).expect("an intent has only string keys");
        own.replace(INTENT, 0o600, &bytes)?;
        disk.dir.sync()?;
        Ok(Self { name: name.to_owned(), disks: BTreeMap::from([(disk.disk.name.clone(), own.clone())]), own, lock })
    }

    /// The directory on a disk, made if it is not there yet.
    pub(super) fn dir(&mut self, local: &LocalDisks, disk: &str) -> Result<Dir, OpError> {
        if let Some(dir) = self.disks.get(disk) {
            return Ok(dir.clone());
        }
        let local = local.named(disk).ok_or_else(|| OpError::NoDisk { disk: disk.to_owned() })?;
        let dir = local.dir.ensure_dir(&self.name, 0o700)?;
        self.disks.insert(disk.to_owned(), dir.clone());
        Ok(dir)
    }

    /// The directory on a disk, where it has one.
    pub(super) fn find(&self, disk: &str) -> Option<&Dir> {
        self.disks.get(disk)
    }

    /// Makes everything durable that stands there.
    pub(super) fn sync(&self) -> Result<(), FsError> {
        self.disks.values().try_for_each(Dir::sync_filesystem)
    }

    /// Forgets the intent, and removes the directories.
    pub(super) fn finish(self, local: &LocalDisks) -> Result<(), FsError> {
        for disk in self.disks.keys() {
            if let Some(local) =
                local.named(disk).filter(|_| self.disks.get(disk).map(Dir::path) != Some(self.own.path()))
            {
                exec::remove_tree(&local.dir, &self.name, &|_| ())?;
            }
        }
        // The one with the intent last.
        if let Some(own) = local.own() {
            exec::remove_tree(&own.dir, &self.name, &|_| ())?;
        }
        drop(self.lock);
        Ok(())
    }
}

/// What interrupted restores have left.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Tables that they had finished, with the snapshots.
    pub(super) finished: Vec<(SnapshotId, Entry)>,
    /// What could not be put in order now.
    pub(super) pending: Vec<String>,
}

fn is_ours(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    rest.is_some_and(|(time, random)| digits(time, 14) && digits(random, 8))
}

/// The directories of restores that are over. One that is still at work holds its lock, and is left alone.
pub(super) fn leftovers(local: &LocalDisks) -> Result<Vec<String>, OpError> {
    let Some(own) = local.own() else { return Ok(Vec::new()) };
    let mut names = BTreeSet::new();
    for disk in local.iter() {
        let entries = disk.dir.entries_with_kind()?.into_iter().filter(|entry| entry.kind == Kind::Directory);
        names.extend(entries.filter_map(|entry| entry.name.into_string().ok()).filter(|name| is_ours(name)));
    }
    let mut over = Vec::new();
    for name in names {
        let is_at_work = match own.dir.find_beneath(Path::new(&name))? {
            Some(dir) if dir.find(LOCK)?.is_some() => FileLock::try_hold(&dir, LOCK)?.is_none(),
            _ => false,
        };
        if !is_at_work {
            over.push(name);
        }
    }
    Ok(over)
}

/// Puts in order what interrupted restores have left: waits for their statements, drops their temporary tables, removes
/// directories that never became tables. Tables that they had attached under their own names are whole, and stay; which
/// these are is forgotten only where the caller `forgets`, having taken it up itself.
///
/// # Errors
/// If the server does not answer, or something cannot be removed.
pub(super) fn sweep(server: &Server, local: &LocalDisks, forgets: bool) -> Result<Swept, OpError> {
    let mut swept = Swept::default();
    for name in leftovers(local)? {
        let own = local.own().expect("the server's own disk is open");
        let Some(dir) = own.dir.find_beneath(Path::new(&name))? else {
            remove(local, &name)?;
            continue;
        };
        let bytes = dir.find_and_read(INTENT, INTENT_LIMIT_BYTES)?;
        // Cut short before its intent was written, it has done nothing else.
        let Some(bytes) = bytes else {
            remove(local, &name)?;
            continue;
        };
        let Ok(intent) = serde_json::from_slice::<Intent>(&bytes) else {
            swept.pending.push(format!("{} cannot be read: see docs/operations.md", dir.path().join(INTENT).display()));
            continue;
        };
        wait_for(server, &name)?;
        let mut stays = false;
        for entry in &intent.tables {
            match settle(server, local, entry) {
                Ok(true) => {
                    stays |= !forgets;
                    swept.finished.push((intent.snapshot, entry.clone()));
                }
                Ok(false) => {}
                Err(error) => {
                    stays = true;
                    let error = crate::monitor::chain(&error);
                    swept.pending.push(format!("{} of an interrupted restore: {error}", entry.name));
                }
            }
        }
        if stays {
            empty(local, &name)?;
        } else {
            remove(local, &name)?;
        }
    }
    Ok(swept)
}

fn remove(local: &LocalDisks, name: &str) -> Result<(), FsError> {
    // Its own disk's last: there the intent is.
    let mut disks: Vec<_> = local.iter().collect();
    disks.reverse();
    disks.into_iter().try_for_each(|disk| exec::remove_tree(&disk.dir, name, &|_| ()).map(drop))
}

/// Removes what was put together there, and leaves the intent.
fn empty(local: &LocalDisks, name: &str) -> Result<(), FsError> {
    for disk in local.iter() {
        let Some(dir) = disk.dir.find_beneath(Path::new(name))? else { continue };
        for entry in dir.entries()?.iter().filter(|entry| entry.name != INTENT && entry.name != LOCK) {
            exec::remove_tree(&dir, &entry.name, &|_| ())?;
        }
    }
    Ok(())
}

/// Waits until the server is at no statement of this restore any more.
pub(super) fn wait_for(server: &Server, name: &str) -> Result<(), OpError> {
    let begun = Instant::now();
    while server::running_with(server, name)? > 0 {
        if begun.elapsed() > server.freeze_deadline() {
            let query = format!("a statement of {name}");
            return Err(server::ServerError::Deadline { query, deadline: server.freeze_deadline() }.into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Whether the entry is a finished table. What is only half there is taken away.
pub(super) fn settle(server: &Server, local: &LocalDisks, entry: &Entry) -> Result<bool, OpError> {
    let catalog = server::survey(server, false)?;
    let there = |name: &TableName| catalog.tables.iter().find(|table| table.name() == name);
    let is_it = |name: &TableName| there(name).is_some_and(|table| table.key.uuid == entry.uuid);
    if !entry.is_temporary {
        let is_attached = there(&entry.name).is_some() && is_it(&entry.name);
        if !is_attached {
            remove_places(local, entry, &catalog)?;
        }
        return Ok(is_attached);
    }
    if let Some(old) = entry.old_name.as_ref().filter(|old| there(old).is_some()) {
        // Names were exchanged one after the other.
        match &entry.replaces {
            Some(target) if there(target).is_none() => rename(server, old, target)?,
            _ if !entry.keeps_old => server::drop_table(server, old, false)?,
            _ => {}
        }
    }
    if there(&entry.name).is_some() {
        // After the exchange the table that was replaced has the temporary name.
        let is_old = entry.uuid.is_some() && !is_it(&entry.name);
        if !(is_old && entry.keeps_old) {
            server::drop_table(server, &entry.name, entry.uuid.is_some())?;
        }
        return Ok(false);
    }
    remove_places(local, entry, &catalog)?;
    Ok(false)
}

pub(super) fn rename(server: &Server, from: &TableName, to: &TableName) -> Result<(), OpError> {
    let quote = server::sql::quote_table;
    Ok(server::change(server, &format!("RENAME TABLE {} TO {}", quote(from), quote(to)), &[])?)
}

/// Removes the directories of a table that no table of the server has for its own.
pub(super) fn remove_places(local: &LocalDisks, entry: &Entry, catalog: &Catalog) -> Result<(), OpError> {
    for (disk, path) in &entry.places {
        let Some(local) = local.named(disk).filter(|_| is_place(path, entry)) else { continue };
        let whole = local.disk.path.join(path);
        let is_used = |data: &PathBuf| data.components().eq(whole.components());
        if catalog.tables.iter().any(|table| table.data_paths.iter().any(is_used)) {
            continue;
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        if let Some(parent) = local.dir.find_beneath(parent)? {
            exec::remove_tree(&parent, name, &|_| ())?;
        }
    }
    Ok(())
}

/// `store/<3 digits>/<its UUID>`, or `data/<database>/<table>`: an intent that names anything else is not followed.
fn is_place(path: &Path, entry: &Entry) -> bool {
    let parts: Vec<_> = path.components().collect();
    let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    let [first, second, third] = parts.as_slice() else { return false };
    let text = |part: &Component<'_>| part.as_os_str().to_string_lossy().into_owned();
    plain
        && match text(first).as_str() {
            "store" => entry.uuid.as_ref().is_some_and(|uuid| {
                text(third) == uuid.as_str() && uuid.as_str().starts_with(&text(second)) && text(second).len() == 3
            }),
            "data" => {
                text(second) == crate::model::escape_for_file_name(&entry.name.database)
                    && text(third) == crate::model::escape_for_file_name(&entry.name.table)
            }
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Entry, fresh_uuid, is_ours, is_place, new_name};
    use crate::model::TableName;

    #[test]
    fn an_intent_leads_nowhere_but_to_the_table_that_it_names() {
        let uuid = fresh_uuid().expect("random numbers");
        let mut entry = Entry {
            name: TableName::new("d.b", "t"),
            uuid: Some(uuid.clone()),
            places: Vec::new(),
            is_temporary: false,
            replaces: None,
            old_name: None,
            keeps_old: false,
        };
        let store = PathBuf::from("store").join(&uuid.as_str()[..3]).join(uuid.as_str());
        assert!(is_place(&store, &entry) && is_place(Path::new("data/d%2Eb/t"), &entry));
        for path in
            ["data", "data/d%2Eb", "data/d%2Eb/u", "data/../t", "/data/d%2Eb/t", "store/abc/def", "metadata/d%2Eb/t"]
        {
            assert!(!is_place(Path::new(path), &entry), "{path}");
        }
        entry.uuid = None;
        assert!(!is_place(&store, &entry));
    }

    #[test]
    fn only_directories_of_ours_are_leftovers() {
        let now = "2026-11-22T02:00:00Z".parse().expect("a time");
        assert!(is_ours(&new_name(now).expect("a name")));
        for name in ["chsnap_restore_", "chsnap_restore_mine", "store", "chsnap_restore_20261122020000_0000000g"] {
            assert!(!is_ours(name), "{name}");
        }
        let uuid = fresh_uuid().expect("random numbers").to_string();
        assert!(
            uuid.as_bytes().get(14) == Some(&b'4')
                && matches!(uuid.as_bytes().get(19), Some(b'8' | b'9' | b'a' | b'b')),
            "{uuid}"
        );
    }
}
