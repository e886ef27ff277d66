//! The disks of a server.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::databases::own_database;
use super::error::ServerError;
use super::rows::flag;
use super::sql;
use super::transport::Server;

/// One disk of a server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Disk {
    /// Its name in the server's configuration.
    pub name: String,
    /// Its directory, as the server sees it.
    pub path: PathBuf,
    /// Its type; `Local` (`local` on older servers) is the only one that chsnap can take parts from.
    #[serde(rename = "type")]
    pub disk_type: String,
    /// Whether its files are ciphertext.
    #[serde(deserialize_with = "flag")]
    pub is_encrypted: bool,
}

impl Disk {
    /// Whether the disk's files are plain files on a local path.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.disk_type.eq_ignore_ascii_case("local")
    }

    /// The path relative to this disk's directory, if `path` lies there.
    #[must_use]
    pub fn relative<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.path).ok()
    }
}

/// Reads the disks, the server's own path (`default`) first.
///
/// # Errors
/// If the server does not answer, or does not report where its data are.
pub fn disks(server: &Server) -> Result<Vec<Disk>, ServerError> {
    if server.features().has_table("disks") {
        let mut disks: Vec<Disk> = server.list(&sql::disks(server.features()))?;
        disks.sort_by_key(|disk| disk.name != "default");
        return Ok(disks);
    }
    let rows = own_database(server)?;
    let system = rows.first().ok_or_else(|| ServerError::Setup {
        reason: "the server lists neither disks nor its system database, so it does not say where its data is".into(),
    })?;
    // `<path>/metadata/system/`, on every server without system.disks.
    let metadata = Path::new(&system.metadata_path);
    let path = metadata.ancestors().nth(2).ok_or_else(|| ServerError::Setup {
        reason: format!("the server says that its definitions lie in {}", metadata.display()),
    })?;
    Ok(vec![Disk {
        name: "default".to_owned(),
        path: path.to_owned(),
        disk_type: "local".to_owned(),
        is_encrypted: false,
    }])
}
