//! From options to an open repository and a connected server.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chsnap::fs;
use chsnap::repo::Repository;
use chsnap::server::{ConnectOptions, Password, Server};

use super::failure::Failure;
use super::globals::{DEFAULT_URL, Globals};

pub(super) fn repo_path(globals: &Globals) -> Result<&PathBuf, Failure> {
    let given = globals.repo.as_ref().filter(|path| !path.as_os_str().is_empty());
    given.ok_or_else(|| Failure::usage("no repository is named").with_hint("give --repo DIR or set CHSNAP_REPO"))
}

pub(super) fn open(globals: &Globals) -> Result<Repository, Failure> {
    Ok(Repository::open(repo_path(globals)?, &fs::real()).map_err(chsnap::ops::OpError::from)?)
}

pub(super) fn connect(globals: &Globals, interrupted: Arc<AtomicBool>) -> Result<Server, Failure> {
    Ok(Server::connect(options(globals, interrupted)?).map_err(chsnap::ops::OpError::from)?)
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

fn password(globals: &Globals) -> Result<Option<Password>, Failure> {
    if let Some(path) = &globals.password_file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::failed(format!("cannot read the password file {}", path.display())).caused_by(error.to_string())
        })?;
        return Ok(Some(Password(text.trim_end_matches(['\r', '\n']).to_owned())));
    }
    Ok(std::env::var("CHSNAP_PASSWORD").ok().map(Password))
}
