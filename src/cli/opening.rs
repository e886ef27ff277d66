//! Opens a repository and connects to a server according to the options.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chsnap::fs;
use chsnap::ops::OpError;
use chsnap::repo::{Repository, SeriesChoice};
use chsnap::server::{ConnectOptions, Password, Server, ServerError};

use super::failure::CommandFailure;
use super::globals::{DEFAULT_URL, Globals};
use super::trust;

pub(super) fn repo_path(globals: &Globals) -> Result<&PathBuf, CommandFailure> {
    let given = globals.repo.as_ref().filter(|path| !path.as_os_str().is_empty());
    given.ok_or_else(|| {
        let profiles = &globals.known_profiles;
        let hint = if profiles.is_empty() {
            "give --repo DIR or set CHSNAP_REPO".to_owned()
        } else {
            format!("give --repo DIR, or one of the configured profiles: {} (--profile)", profiles.join(", "))
        };
        CommandFailure::usage("no repository is named").with_hint(hint)
    })
}

pub(super) fn open(globals: &Globals) -> Result<Repository, CommandFailure> {
    let repository = Repository::open(repo_path(globals)?, &fs::real()).map_err(OpError::from)?;
    let series = SeriesChoice { configured: globals.main_series.clone(), named: globals.series.clone() };
    Ok(repository.with_series(series))
}

/// Refuses an address that contains more than an address, before it is displayed or stored.
pub(super) fn check_url(globals: &Globals) -> Result<(), CommandFailure> {
    if globals.url.is_empty() {
        return Ok(());
    }
    chsnap::server::check_url(&globals.url).map_err(|problem| OpError::from(ServerError::Url(problem)).into())
}

pub(super) fn connect(globals: &Globals, interrupted: Arc<AtomicBool>) -> Result<Server, CommandFailure> {
    Ok(Server::connect(options(globals, interrupted)?).map_err(OpError::from)?)
}

pub(super) fn options(globals: &Globals, interrupted: Arc<AtomicBool>) -> Result<ConnectOptions, CommandFailure> {
    Ok(ConnectOptions::new(if globals.url.is_empty() { DEFAULT_URL.to_owned() } else { globals.url.clone() })
        .with_user(globals.user.clone().filter(|user| !user.is_empty()))
        .with_password(password(globals)?)
        .with_ca_file(globals.ca_file.clone())
        .with_query_deadline(globals.query_timeout)
        .with_freeze_deadline(globals.freeze_timeout)
        .with_interrupted(interrupted))
}

/// The credential that systemd's `LoadCredential=` gives.
const CREDENTIAL: &str = "clickhouse-password";

/// The sources, the strongest first: the file that the command line names, the environment, a file named elsewhere, a
/// credential.
fn password(globals: &Globals) -> Result<Option<Password>, CommandFailure> {
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

/// The source of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordSource {
    /// `CHSNAP_PASSWORD`.
    Variable,
    /// The file from `--password-file`, its variable or its key.
    File,
    /// The credential that systemd has loaded.
    Credential,
}

/// The source of this command line's password, if there is one.
pub(super) fn password_source(found: &clap::ArgMatches) -> Option<PasswordSource> {
    let has_file = found.get_raw("password_file").is_some_and(|mut raw| raw.any(|path| !path.is_empty()));
    let is_named = found.value_source("password_file") == Some(clap::parser::ValueSource::CommandLine);
    let has_variable = std::env::var_os("CHSNAP_PASSWORD").is_some();
    let has_credential = || {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty());
        directory.is_some_and(|directory| PathBuf::from(directory).join(CREDENTIAL).exists())
    };
    if has_variable && !(has_file && is_named) {
        Some(PasswordSource::Variable)
    } else if has_file {
        Some(PasswordSource::File)
    } else {
        has_credential().then_some(PasswordSource::Credential)
    }
}

/// The password in a file that no other user may write.
///
/// # Errors
/// If it cannot be read, or contains more than one line.
pub(super) fn read_password(path: &Path) -> Result<Password, CommandFailure> {
    trust::check("the password file", path)?;
    let text = std::fs::read_to_string(path).map_err(|error| {
        CommandFailure::failed(format!("cannot read the password file {}", path.display())).caused_by(error.to_string())
    })?;
    let password = text.trim_end_matches(['\r', '\n']);
    let lines = password.lines().count();
    if lines > 1 {
        let message = format!("the password file {} has {lines} lines, and a password is one", path.display());
        return Err(CommandFailure::usage(message)
            .with_hint("write the password alone into it; a line end behind it is ignored"));
    }
    Ok(Password(password.to_owned()))
}
