//! The possible states of a disk after a power cut: every state that a record of calls allows, and trees made from
//! them.
//!
//! There are two models; `tests/faults/power_cut.rs` explains why these.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use crate::recorder::{Body, Change, Id, Inode, Record};

/// A stream of pseudo-random numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`; by the method of SplitMix64.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("below a usize")
    }
}

/// What happened to bytes that no sync covered.
#[derive(Clone, Copy, Debug)]
pub enum Unsynced {
    Written,
    Lost,
    /// Half of them are on disk.
    Torn,
    /// The size was written, the bytes were not.
    Zeros,
    /// One of the other two for each file.
    Mixed(u64),
}

impl Unsynced {
    fn of(self, file: Id, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Written => bytes.to_owned(),
            Self::Lost => Vec::new(),
            Self::Torn => bytes[..bytes.len() / 2].to_owned(),
            Self::Zeros => vec![0; bytes.len()],
            Self::Mixed(seed) => {
                let all = [Self::Written, Self::Lost, Self::Torn, Self::Zeros];
                all[Dice::new(seed ^ (file as u64) << 32).below(all.len())].of(file, bytes)
            }
        }
    }
}

/// A possible state of the disk.
#[derive(Debug)]
pub struct State {
    pub model: &'static str,
    /// How many calls had been made; the guarantees of these calls must hold.
    pub calls: usize,
    kept: Vec<bool>,
    data: Unsynced,
    inodes: Vec<Inode>,
}

/// The states of a record, each once: all states of the journaled model, and those of the other model in which one
/// directory is ahead of all others or behind them, and `samples` more for every sync. The power stays on for the first
/// `since` calls.
pub fn states(record: &Record, since: usize, seed: u64, samples: usize) -> Vec<State> {
    let mut dice = Dice::new(seed);
    let mut found: HashMap<blake3::Hash, State> = HashMap::new();
    let mut order = Vec::new();
    // A cut just before a sync leaves the same states as any cut since the previous sync.
    let is_sync = |calls: &usize| matches!(record.calls[*calls].change, Change::Sync { .. } | Change::SyncAll);
    let cuts: Vec<usize> = (since..record.calls.len()).filter(is_sync).chain([record.calls.len()]).collect();
    let mut add = |model, calls, kept: Vec<bool>, data| {
        let inodes = inodes(record, calls, &kept, data);
        let key = key(&inodes);
        let state = State { model, calls, kept, data, inodes };
        if found.get(&key).is_none_or(|other| other.calls < state.calls) && found.insert(key, state).is_none() {
            order.push(key);
        }
    };
    for calls in &cuts {
        for prefix in journal_floor(record, *calls)..=*calls {
            let mixed = Unsynced::Mixed(dice.below(usize::MAX) as u64);
            for data in [Unsynced::Written, Unsynced::Lost, Unsynced::Torn, Unsynced::Zeros, mixed] {
                add("journaled", *calls, (0..*calls).map(|call| call < prefix).collect(), data);
            }
        }
        for limits in weak_limits(record, *calls, samples, &mut dice) {
            let is_kept = |call: usize| touched(&record.calls[call].change).all(|inode| call < limits[inode]);
            let data = Unsynced::Mixed(dice.below(usize::MAX) as u64);
            add("weak", *calls, (0..*calls).map(is_kept).collect(), data);
        }
    }
    order.iter().filter_map(|key| found.remove(key)).collect()
}

/// The inodes that a change of names or attributes concerns: the changes to one of them keep their order.
fn touched(change: &Change) -> impl Iterator<Item = Id> {
    let (one, other) = match change {
        Change::Enter { dir, .. } | Change::Leave { dir, .. } => (Some(*dir), None),
        Change::Move { from, to, .. } => (Some(*from), Some(*to)),
        Change::Dress { inode, .. } | Change::Date { inode, .. } => (Some(*inode), None),
        Change::Write { .. } | Change::Sync { .. } | Change::SyncAll | Change::Nothing => (None, None),
    };
    one.into_iter().chain(other)
}

/// The inodes whose sync forces a journal to be written up to this change.
fn logged(change: &Change) -> impl Iterator<Item = Id> {
    let inode = match change {
        Change::Enter { inode, .. } | Change::Leave { inode, .. } | Change::Move { inode, .. } => Some(*inode),
        _ => None,
    };
    touched(change).chain(inode)
}

/// How many calls a journal that is written in order must contain.
fn journal_floor(record: &Record, calls: usize) -> usize {
    let mut floor = 0;
    for (at, call) in record.calls[..calls].iter().enumerate() {
        match &call.change {
            Change::SyncAll => floor = at,
            Change::Sync { inode } => {
                let last = record.calls[..at].iter().rposition(|call| logged(&call.change).any(|id| id == *inode));
                floor = floor.max(last.map_or(0, |last| last + 1));
            }
            _ => {}
        }
    }
    floor
}

/// For every inode, the number of the call before which all calls that concern it are durable.
fn synced(record: &Record, calls: usize) -> Vec<usize> {
    let mut floors = vec![0; record.inodes.len()];
    for (at, call) in record.calls[..calls].iter().enumerate() {
        match &call.change {
            Change::SyncAll => floors.fill(at),
            Change::Sync { inode } => floors[*inode] = at,
            _ => {}
        }
    }
    floors
}

/// For every inode, how many of the calls that concern it have reached the disk, in the weak model.
fn weak_limits(record: &Record, calls: usize, samples: usize, dice: &mut Dice) -> Vec<Vec<usize>> {
    let mut floors = synced(record, calls);
    settle(record, calls, &mut floors, Settle::Forward);
    let pending: BTreeSet<Id> = (0..calls)
        .flat_map(|call| touched(&record.calls[call].change).map(move |inode| (call, inode)))
        .filter(|(call, inode)| *call >= floors[*inode])
        .map(|(_, inode)| inode)
        .collect();
    let mut found = vec![floors.clone(), vec![calls; floors.len()]];
    for inode in &pending {
        let (mut ahead, mut behind) = (floors.clone(), vec![calls; floors.len()]);
        ahead[*inode] = calls;
        behind[*inode] = floors[*inode];
        found.extend([ahead, behind]);
    }
    for _ in 0..if pending.len() > 1 { samples } else { 0 } {
        let mut limits = floors.clone();
        for inode in &pending {
            limits[*inode] = match dice.below(3) {
                0 => floors[*inode],
                1 => calls,
                _ => floors[*inode] + dice.below(calls - floors[*inode] + 1),
            };
        }
        found.push(limits);
    }
    for limits in &mut found {
        settle(record, calls, limits, Settle::Back);
    }
    found
}

/// How to complete a rename that has reached the disk in one of the two directories only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settle {
    Forward,
    Back,
}

/// Makes each rename complete, or undoes it.
fn settle(record: &Record, calls: usize, limits: &mut [usize], way: Settle) {
    loop {
        let before = limits.to_vec();
        for (call, change) in record.calls[..calls].iter().map(|call| &call.change).enumerate() {
            let Change::Move { from, to, .. } = change else { continue };
            let is_there = (call < limits[*from], call < limits[*to]);
            if is_there.0 == is_there.1 {
                continue;
            }
            for inode in [*from, *to] {
                limits[inode] = match way {
                    Settle::Forward => limits[inode].max(call + 1),
                    Settle::Back => limits[inode].min(call),
                };
            }
        }
        if limits == before {
            return;
        }
    }
}

/// The tree on disk after the changes that are `kept` have reached it.
fn inodes(record: &Record, calls: usize, kept: &[bool], data: Unsynced) -> Vec<Inode> {
    let mut inodes = record.inodes.clone();
    let synced = synced(record, calls);
    let mut pending: BTreeMap<Id, Vec<u8>> = BTreeMap::new();
    for (at, call) in record.calls[..calls].iter().enumerate() {
        if let Change::Write { file, bytes } = &call.change {
            if at < synced[*file] {
                contents(&mut inodes, *file).extend(bytes);
            } else {
                pending.entry(*file).or_default().extend(bytes);
            }
        }
        if !kept[at] {
            continue;
        }
        match &call.change {
            Change::Enter { dir, name, inode } => {
                entries(&mut inodes, *dir).insert(name.clone(), *inode);
            }
            Change::Leave { dir, name, .. } => {
                entries(&mut inodes, *dir).remove(name);
            }
            Change::Move { from, from_name, to, to_name, inode } => {
                entries(&mut inodes, *from).remove(from_name);
                entries(&mut inodes, *to).insert(to_name.clone(), *inode);
            }
            Change::Dress { inode, mode } => inodes[*inode].mode = *mode,
            Change::Date { inode, modified } => inodes[*inode].modified = Some(*modified),
            Change::Write { .. } | Change::Sync { .. } | Change::SyncAll | Change::Nothing => {}
        }
    }
    for (file, bytes) in pending {
        contents(&mut inodes, file).extend(data.of(file, &bytes));
    }
    inodes
}

fn entries(inodes: &mut [Inode], dir: Id) -> &mut BTreeMap<std::ffi::OsString, Id> {
    match &mut inodes[dir].body {
        Body::Directory(entries) => entries,
        other => panic!("{other:?} has no entries"),
    }
}

fn contents(inodes: &mut [Inode], file: Id) -> &mut Vec<u8> {
    match &mut inodes[file].body {
        Body::File(bytes) => bytes,
        other => panic!("{other:?} is written to"),
    }
}

/// Equal for trees that look the same from their root.
fn key(inodes: &[Inode]) -> blake3::Hash {
    fn feed(hasher: &mut blake3::Hasher, inodes: &[Inode], id: Id) {
        hasher.update(&id.to_le_bytes()).update(&inodes[id].mode.to_le_bytes());
        hasher.update(format!("{:?}", inodes[id].modified).as_bytes());
        match &inodes[id].body {
            Body::Directory(entries) => {
                hasher.update(&entries.len().to_le_bytes());
                for (name, id) in entries {
                    hasher.update(name.as_encoded_bytes()).update(b"/");
                    feed(hasher, inodes, *id);
                }
            }
            Body::File(bytes) => drop(hasher.update(&bytes.len().to_le_bytes()).update(bytes)),
            Body::Symlink(_) | Body::Kept => {}
        }
    }
    let mut hasher = blake3::Hasher::new();
    feed(&mut hasher, inodes, 0);
    hasher.finalize()
}

impl State {
    /// Makes this the tree at the root of the record.
    pub fn restore(&self, record: &Record) {
        for entry in fs::read_dir(&record.root).expect("readable") {
            fs::remove_dir_all(entry.expect("an entry").path()).expect("removed");
        }
        let Body::Directory(entries) = &self.inodes[0].body else { panic!("the root is a directory") };
        let mut made = HashMap::new();
        for (name, id) in entries {
            self.make(record, *id, &record.root.join(name), &mut made);
        }
    }

    fn make(&self, record: &Record, id: Id, path: &Path, made: &mut HashMap<Id, PathBuf>) {
        let inode = &self.inodes[id];
        match &inode.body {
            Body::Directory(entries) => {
                fs::create_dir(path).expect("made");
                for (name, id) in entries {
                    self.make(record, *id, &path.join(name), made);
                }
            }
            Body::Kept => return fs::hard_link(record.kept(id), path).expect("linked"),
            Body::Symlink(target) => return std::os::unix::fs::symlink(target, path).expect("made"),
            Body::File(bytes) => match made.get(&id) {
                Some(other) => return fs::hard_link(other, path).expect("linked"),
                None => fs::write(path, bytes).expect("written"),
            },
        }
        made.insert(id, path.to_owned());
        fs::set_permissions(path, fs::Permissions::from_mode(inode.mode)).expect("set");
        if let Some((tv_sec, nanoseconds)) = inode.modified {
            let time = rustix::fs::Timespec { tv_sec, tv_nsec: i64::from(nanoseconds) };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::empty()).expect("set");
        }
    }

    /// Describes where the power was cut, and what had not reached the disk.
    pub fn story(&self, record: &Record) -> String {
        let before = &record.calls[..self.calls];
        let end = before.last().map_or("nothing", |call| call.text.as_str());
        let is_missing =
            |(at, call): &(usize, &crate::recorder::Call)| !self.kept[*at] && touched(&call.change).next().is_some();
        let missing: Vec<_> = before.iter().enumerate().filter(is_missing).collect();
        // The middle of a long list is not informative.
        let is_shown = |at: usize| at < 20 || at + 20 >= missing.len();
        let shown = missing.iter().enumerate().filter(|(at, _)| is_shown(*at));
        let lines = shown.map(|(_, (at, call))| format!("\n  {at}: {}", call.text));
        format!(
            "{} model, power cut after {} calls, the last one: {end}; unsynced bytes: {:?}; {} not on disk:{}",
            self.model,
            self.calls,
            self.data,
            missing.len(),
            lines.collect::<String>()
        )
    }
}
