//! From options to an open repository and a connected server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chsnap::fs;
use chsnap::ops::OpError;
use chsnap::repo::{Repository, SeriesChoice};
use chsnap::server::{ConnectOptions, Password, Server, ServerError};

use super::failure::Failure;
use super::globals::{DEFAULT_URL, Globals};

pub(super) fn repo_path(globals: &Globals) -> Result<&PathBuf, Failure> {
    let given = globals.repo.as_ref().filter(|path| !path.as_os_str().is_empty());
    given.ok_or_else(|| {
        let profiles = &globals.known_profiles;
        let hint = if profiles.is_empty() {
            "give --repo DIR or set CHSNAP_REPO".to_owned()
        } else {
            format!("give --repo DIR, or one of the configured profiles: {} (--profile)", profiles.join(", "))
        };
        Failure::usage("no repository is named").with_hint(hint)
    })
}

pub(super) fn open(globals: &Globals) -> Result<Repository, Failure> {
    let repository = Repository::open(repo_path(globals)?, &fs::real()).map_err(OpError::from)?;
    let series = SeriesChoice { configured: globals.main_series.clone(), named: globals.series.clone() };
    Ok(repository.with_series(series))
}

/// Refuses an address that has more in it than an address, before anything shows or keeps it.
pub(super) fn check_url(globals: &Globals) -> Result<(), Failure> {
    if globals.url.is_empty() {
        return Ok(());
    }
    chsnap::server::check_url(&globals.url).map_err(|problem| OpError::from(ServerError::Url(problem)).into())
}

pub(super) fn connect(globals: &Globals, interrupted: Arc<AtomicBool>) -> Result<Server, Failure> {
    Ok(Server::connect(options(globals, interrupted)?).map_err(OpError::from)?)
}

pub(super) fn options(globals: &Globals, interrupted: Arc<AtomicBool>) -> Result<ConnectOptions, Failure> {
    Ok(ConnectOptions {
        url: if globals.url.is_empty() { DEFAULT_URL.to_owned() } else { globals.url.clone() },
        user: globals.user.clone().filter(|user| !user.is_empty()),
        password: password(globals)?,
        ca_file: globals.ca_file.clone(),
        query_deadline: globals.query_timeout,
        freeze_deadline: globals.freeze_timeout,
        interrupted,
    })
}

/// The credential that systemd's `LoadCredential=` gives.
const CREDENTIAL: &str = "clickhouse-password";

/// The strongest first: the file that the command line names, the environment, a file named elsewhere, a credential.
fn password(globals: &Globals) -> Result<Option<Password>, Failure> {
    let file = globals.password_file.as_ref().filter(|path| !path.as_os_str().is_empty());
    let variable = std::env::var("CHSNAP_PASSWORD").ok();
    if let Some(password) = variable.filter(|_| !globals.password_file_is_named) {
        return Ok(Some(Password(password)));
    }
    if let Some(path) = file {
        return read_password(path).map(Some);
    }
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty());
    let credential = directory.map(|directory| PathBuf::from(directory).join(CREDENTIAL));
    credential.filter(|path| path.exists()).map(|path| read_password(&path)).transpose()
}

fn read_password(path: &Path) -> Result<Password, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::failed(format!("cannot read the password file {}", path.display())).caused_by(error.to_string())
    })?;
    Ok(Password(text.trim_end_matches(['\r', '\n']).to_owned()))
}
