//! The disks of the server as directories of this host.

use std::path::{Path, PathBuf};

use crate::exec::LiveTable;
use crate::fs::{Dir, ErrorKind, FsError, are_on_one_mount};
use crate::model::{CatalogPart, PathMap, Table};
use crate::plan::{ForeignDisk, ServerConfig};
use crate::repo::{Repository, ShadowPlace};
use crate::server::Disk;

use super::error::OpError;

/// A disk that this host can see.
#[derive(Clone, Debug)]
pub(super) struct LocalDisk {
    pub(super) disk: Disk,
    pub(super) dir: Dir,
}

impl LocalDisk {
    /// Opens a disk. `near` is any directory: both use the same implementation of system calls.
    ///
    /// # Errors
    /// If it is not visible here.
    pub(super) fn open(near: &Dir, disk: &Disk, paths: &PathMap) -> Result<Self, OpError> {
        let path = paths.local(&disk.path);
        match near.open_elsewhere(&path) {
            Ok(dir) => Ok(Self { disk: disk.clone(), dir }),
            Err(source) => Err(OpError::DiskNotVisible { disk: disk.name.clone(), path, source }),
        }
    }
}

/// The server's local disks.
#[derive(Clone, Debug)]
pub(super) struct LocalDisks {
    disks: Vec<LocalDisk>,
    /// All disks of the server, its own path first, including those that are not local or not visible here.
    all: Vec<Disk>,
    paths: PathMap,
}

/// The disk that holds a path of the server; the innermost of nested disks.
pub(super) fn holding<'a>(disks: &'a [Disk], path: &Path) -> Option<&'a Disk> {
    disks.iter().filter(|disk| path.starts_with(&disk.path)).max_by_key(|disk| disk.path.as_os_str().len())
}

/// Larger than any definition, and than any file of users, roles and grants.
pub(super) const DEFINITION_LIMIT_BYTES: u64 = 64 << 20;

/// The file that a server generates from its configuration: its directory below the server's own path, and its name.
pub(super) const PREPROCESSED: (&str, &str) = ("preprocessed_configs", "config.xml");

/// The disk that holds a path of the server, if it is not a plain local one.
pub(super) fn foreign_disk<'a>(disks: &'a [Disk], path: &Path) -> Option<ForeignDisk<'a>> {
    let disk = holding(disks, path).filter(|disk| !disk.is_local())?;
    Some(ForeignDisk { name: &disk.name, kind: &disk.disk_type })
}

impl LocalDisks {
    /// Opens all local disks: a table can be created on any of them at any time.
    ///
    /// # Errors
    /// If the server's own path, or a disk that one of these tables uses, is not visible here. Any other invisible disk
    /// is left out: a table that appears there while a snapshot is made is skipped with a warning that names it.
    pub(super) fn open<'a>(
        repository: &Repository,
        disks: &[Disk],
        tables: impl Iterator<Item = &'a Table> + Clone,
        paths: &PathMap,
    ) -> Result<Self, OpError> {
        let used = |disk: &Disk| {
            let mut paths = tables.clone().flat_map(|table| &table.data_paths);
            paths.any(|path| holding(disks, path).is_some_and(|holder| holder == disk))
        };
        let mut open = Vec::new();
        for (position, disk) in disks.iter().enumerate() {
            if !disk.is_local() {
                continue;
            }
            match LocalDisk::open(repository.dir(), disk, paths) {
                Err(error) if position == 0 || used(disk) => return Err(error),
                result => open.extend(result.ok()),
            }
        }
        let local = Self::of(open, disks, paths);
        local.check_that_parts_are_visible(tables)?;
        Ok(local)
    }

    /// Opens the server's own path, and those of its other local disks that are visible here.
    ///
    /// # Errors
    /// If the server's own path, or a part of its tables, is not visible here.
    pub(super) fn all(
        repository: &Repository,
        disks: &[Disk],
        tables: &[Table],
        paths: &PathMap,
    ) -> Result<Self, OpError> {
        let mut open = Vec::new();
        for (position, disk) in disks.iter().enumerate().filter(|(_, disk)| disk.is_local()) {
            match LocalDisk::open(repository.dir(), disk, paths) {
                Err(error) if position == 0 => return Err(error),
                result => open.extend(result.ok()),
            }
        }
        let local = Self::of(open, disks, paths);
        local.check_that_parts_are_visible(tables.iter())?;
        Ok(local)
    }

    /// Opens one disk, and checks that it is the server's.
    ///
    /// # Errors
    /// If it is not visible here.
    pub(super) fn only<'a>(
        repository: &Repository,
        disk: &Disk,
        tables: impl Iterator<Item = &'a Table>,
        paths: &PathMap,
    ) -> Result<Self, OpError> {
        let local = Self::of(vec![LocalDisk::open(repository.dir(), disk, paths)?], std::slice::from_ref(disk), paths);
        local.check_that_parts_are_visible(tables)?;
        Ok(local)
    }

    /// `all` are the server's disks; the first is the one of its own path.
    fn of(disks: Vec<LocalDisk>, all: &[Disk], paths: &PathMap) -> Self {
        Self { disks, all: all.to_vec(), paths: paths.clone() }
    }

    /// Checks that one part of each disk is there too. A path can exist and still be another server's, or the host's
    /// own instead of a container's. Merges may remove some parts meanwhile, but not all.
    fn check_that_parts_are_visible<'a>(&self, tables: impl Iterator<Item = &'a Table>) -> Result<(), OpError> {
        let parts: Vec<_> = tables.flat_map(|table| table.parts.iter()).collect();
        for local in &self.disks {
            let mine = || parts.iter().filter(|part| part.disk == local.disk.name);
            let Some(first) = mine().next() else { continue };
            let mut refused = None;
            let visible = mine().take(1000).any(|part| match self.open_live(&part.path()) {
                Ok(found) => found.is_some(),
                Err(error) => {
                    refused.get_or_insert(error);
                    false
                }
            });
            if let (false, Some(source)) = (visible, refused) {
                let (disk, path) = (local.disk.name.clone(), local.dir.path().to_owned());
                return Err(OpError::DiskNotVisible { disk, path, source });
            }
            if !visible {
                let path =
                    local.disk.relative(&first.path()).map_or_else(|| first.path(), |p| local.dir.path().join(p));
                return Err(OpError::PartNotVisible { path });
            }
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LocalDisk> {
        self.disks.iter()
    }

    /// Adds a disk that appeared after the others were opened.
    pub(super) fn add(&mut self, disk: LocalDisk) {
        if self.named(&disk.disk.name).is_none() {
            self.all.push(disk.disk.clone());
            self.disks.push(disk);
        }
    }

    /// Adds a disk that the server does not list, if its directory is visible here. `path` is the server's.
    pub(super) fn add_unlisted(&mut self, name: &str, path: &Path) {
        let disk =
            Disk { name: name.to_owned(), path: path.to_owned(), disk_type: "Local".to_owned(), is_encrypted: false };
        let opened = self.own().and_then(|own| LocalDisk::open(&own.dir, &disk, &self.paths).ok());
        if let Some(disk) = opened {
            self.add(disk);
        }
    }

    /// The disk of this name.
    pub(super) fn named(&self, name: &str) -> Option<&LocalDisk> {
        self.disks.iter().find(|local| local.disk.name == name)
    }

    /// The server's own path; `None` if the first disk is not local: no other disk can replace it.
    pub(super) fn own(&self) -> Option<&LocalDisk> {
        self.all.first().and_then(|own| self.named(&own.name))
    }

    /// The disk that holds a path of the server, and the path below it. `None` if that disk is not visible here, even
    /// if another disk encloses it.
    pub(super) fn locate(&self, path: &Path) -> Option<(&LocalDisk, PathBuf)> {
        let holder = self.named(&holding(&self.all, path)?.name)?;
        Some((holder, holder.disk.relative(path)?.to_owned()))
    }

    /// Why a freeze of a table could not be placed: one of its directories is on a disk that is not visible here.
    pub(super) fn out_of_reach(&self, table: &Table) -> Option<String> {
        table.data_paths.iter().find_map(|path| match holding(&self.all, path) {
            None => {
                Some(format!("its directory {} is on no disk that the server had when it was asked", path.display()))
            }
            Some(disk) if self.named(&disk.name).is_none() => Some(format!(
                "its disk {:?} is not visible here at {}",
                disk.name,
                self.paths.local(&disk.path).display()
            )),
            Some(_) => None,
        })
    }

    /// Why a table would not be taken, as far as its directories show: they cannot be opened here, or FREEZE cannot link
    /// from them.
    pub(super) fn obstacle(&self, table: &Table) -> Option<String> {
        self.out_of_reach(table).or_else(|| self.obstacle_here(table))
    }

    /// As [`Self::obstacle`], for the directories on these disks alone.
    pub(super) fn obstacle_here(&self, table: &Table) -> Option<String> {
        let is_elsewhere = |live: &LiveTable| {
            let disk = self.named(&live.disk)?;
            let (own, other) = (disk.dir.stat_self().ok()?, live.dir.stat_self().ok()?);
            (own.device != other.device).then(|| {
                let path = live.dir.path().display();
                format!("its directory {path} is on another filesystem than its disk {:?}: FREEZE fails", live.disk)
            })
        };
        match self.live(table) {
            Ok(live) => live.iter().find_map(is_elsewhere),
            Err(error) => Some(format!("its directory cannot be opened: {}", crate::monitor::chain(&error))),
        }
    }

    /// The live directories of a table that exist.
    ///
    /// # Errors
    /// If one exists and cannot be opened.
    pub(super) fn live(&self, table: &Table) -> Result<Vec<LiveTable>, FsError> {
        let mut live = Vec::new();
        for path in &table.data_paths {
            let Some((local, _)) = self.locate(path) else { continue };
            if let Some(dir) = self.open_live(path)? {
                live.push(LiveTable { disk: local.disk.name.clone(), dir });
            }
        }
        Ok(live)
    }

    /// Opens a live directory of the server, including one of a database or a table that is a symbolic link. `None` if
    /// it does not exist.
    ///
    /// # Errors
    /// If it exists and cannot be opened.
    pub(super) fn open_live(&self, path: &Path) -> Result<Option<Dir>, FsError> {
        let Some((local, relative)) = self.locate(path) else { return Ok(None) };
        local.dir.find_following(&relative, &|target| self.paths.local(target))
    }

    /// Opens a directory anywhere, as the server sees it.
    ///
    /// # Errors
    /// If it does not exist, or cannot be opened.
    pub(super) fn open_anywhere(&self, path: &Path) -> Result<Dir, FsError> {
        let near = self.disks.first().map(|local| &local.dir);
        let path = self.paths.local(path);
        near.map_or_else(|| Dir::open(&path, crate::fs::real()), |near| near.open_elsewhere(&path))
    }

    /// The configuration that the server generated from its files; an empty one if there is no such file.
    ///
    /// # Errors
    /// If it exists and cannot be read.
    pub(super) fn server_config(&self) -> Result<ServerConfig, FsError> {
        let (directory, file) = PREPROCESSED;
        let dir = self.own().map(|own| own.dir.find_beneath(Path::new(directory))).transpose()?.flatten();
        let text = dir.map(|dir| dir.find_and_read(file, DEFINITION_LIMIT_BYTES)).transpose()?.flatten();
        Ok(ServerConfig::parse(&String::from_utf8_lossy(&text.unwrap_or_default())))
    }

    /// Opens a directory below the server's own path, through links too. `None` if it does not exist.
    ///
    /// # Errors
    /// If it exists and cannot be opened.
    pub(super) fn find_own(&self, relative: &Path) -> Result<Option<Dir>, FsError> {
        let Some(own) = self.own() else { return Ok(None) };
        own.dir.find_following(relative, &|target| self.paths.local(target))
    }

    /// Reads a definition file below the server's own path. `None` if it is elsewhere or cannot be read here.
    pub(super) fn read_definition(&self, path: &Path) -> Option<Vec<u8>> {
        let own = self.own()?;
        let relative = if path.is_absolute() { own.disk.relative(path)? } else { path };
        let (parent, name) = (relative.parent()?, relative.file_name()?);
        let text = self.find_own(parent).ok()??.read(name, DEFINITION_LIMIT_BYTES).ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// The places in which the server may create shadows.
    pub(super) fn shadow_places(&self) -> Vec<ShadowPlace> {
        self.disks
            .iter()
            .map(|local| ShadowPlace {
                disk: local.disk.name.clone(),
                path: local.dir.path().to_owned(),
                inode: local.dir.stat_self().ok().map(|stat| (stat.device, stat.inode)),
            })
            .collect()
    }
}

const PROBE: &str = "probe";

/// Whether a file of this disk can be linked into `incoming`; false if there was no part to probe with.
///
/// Probes by linking a file, and never by comparing device numbers: between two bind mounts of one filesystem a link
/// fails although the numbers are equal.
///
/// # Errors
/// If the probe fails.
pub(super) fn probe_link<'a>(
    local: &LocalDisks,
    disk: &LocalDisk,
    parts: impl Iterator<Item = &'a CatalogPart>,
    incoming: &Dir,
) -> Result<bool, OpError> {
    let result = parts.filter(|part| part.disk == disk.disk.name).find_map(|part| {
        let live = local.open_live(&part.path()).ok().flatten().filter(|live| is_on_its_disk(live, disk))?;
        match incoming.link_from(&live, "checksums.txt", PROBE) {
            // Merged away, or packed: probe with another part.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            result => Some(result),
        }
    });
    match result {
        None => Ok(false),
        Some(Ok(())) => {
            incoming.remove_file(PROBE)?;
            Ok(true)
        }
        Some(Err(source)) => {
            // The filesystem holds as many links as it allows, which proves that the file is on this filesystem.
            if source.kind() == ErrorKind::TooManyLinks {
                return Ok(true);
            }
            Err(link_refused(disk, incoming.path().ancestors().nth(2).unwrap_or(incoming.path()), source))
        }
    }
}

/// Works as [`probe_link`] without a write: finds what can be seen beforehand of a link from this disk into the
/// repository.
///
/// # Errors
/// If it is certain that the link fails.
pub(super) fn foresee_link<'a>(
    local: &LocalDisks,
    disk: &LocalDisk,
    mut parts: impl Iterator<Item = &'a CatalogPart>,
    repository: &Repository,
) -> Result<bool, OpError> {
    let sample = parts.by_ref().filter(|part| part.disk == disk.disk.name).find_map(|part| {
        let live = local.open_live(&part.path()).ok().flatten().filter(|live| is_on_its_disk(live, disk))?;
        live.find("checksums.txt").ok().flatten().map(|_| live)
    });
    let Some(live) = sample else { return Ok(false) };
    crate::fs::foresee_link(&live, "checksums.txt", repository.dir())
        .map(|()| true)
        .map_err(|source| link_refused(disk, repository.path(), source))
}

/// Whether a directory is on the filesystem and mount of its disk. A table whose directory is a link to another one says
/// nothing about the rest of its disk.
fn is_on_its_disk(live: &Dir, disk: &LocalDisk) -> bool {
    let has_device = || Ok::<bool, FsError>(live.stat_self()?.device == disk.dir.stat_self()?.device);
    has_device().and_then(|same| Ok(same && are_on_one_mount(live, &disk.dir)?)).unwrap_or(true)
}

fn link_refused(disk: &LocalDisk, repository: &Path, source: FsError) -> OpError {
    let (name, path) = (disk.disk.name.clone(), disk.dir.path().to_owned());
    match source.kind() {
        ErrorKind::CrossDevice => {
            OpError::OtherFilesystem { disk: name, path, repository: repository.to_owned(), source }
        }
        ErrorKind::NoPermission => OpError::LinkRefused { disk: name, path, source },
        _ => source.into(),
    }
}
