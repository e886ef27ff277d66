//! The server: whether it answers, what it is, whether this user may freeze.

use crate::ops::error::OpError;
use crate::server::{self, FreezeRight, Server, ServerError};

use super::{Findings, chain, lists_remedy};

/// The remedy if no server answers.
const UNREACHED: &str = "start it, or name it with --url, --user and CHSNAP_PASSWORD; list, show, rm, undo and gc work \
                         without it";

/// Examines the server; `None` if it does not answer.
pub(super) fn examine(connect: impl FnOnce() -> Result<Server, OpError>, findings: &mut Findings) -> Option<Server> {
    let server = match connect() {
        Ok(server) => server,
        Err(error) => {
            let remedy = match &error {
                OpError::Server(error) if error.is_cut_list() => lists_remedy(error),
                OpError::Server(error) => error.access_remedy().unwrap_or(UNREACHED),
                _ => UNREACHED,
            };
            findings.fail("server", chain(&error), remedy);
            return None;
        }
    };
    match server::identity(&server) {
        Ok(identity) => findings.ok("server", format!("ClickHouse {} at {}", identity.version, server.url())),
        Err(error) => findings.fail("server", chain(&error), lists_remedy(&error)),
    }
    right(server::freeze_right(&server), findings);
    Some(server)
}

fn right(right: Result<FreezeRight, ServerError>, findings: &mut Findings) {
    let remedy = "GRANT ALTER FREEZE PARTITION ON *.* TO this user, or name another one with --user";
    match right {
        Ok(FreezeRight::Granted) => findings.ok("rights", "this user may freeze every table"),
        Ok(FreezeRight::NotGranted) => findings.warn("rights", "this user may not freeze every table", remedy),
        Ok(FreezeRight::ReadOnly) => findings.fail("rights", "this user may only read (setting readonly)", remedy),
        Ok(FreezeRight::Unknown) => {
            findings.ok("rights", "this user may change data; this server cannot be asked whether it may freeze");
        }
        Err(error) => findings.fail("rights", chain(&error), lists_remedy(&error)),
    }
}

/// Reports a password sent over a connection that others may read.
pub(super) fn password_in_the_clear(host: &str, findings: &mut Findings) {
    findings.warn(
        "password",
        format!("the password goes to {host} over plain http, where others on the network can read it"),
        "name the server with https:// (--ca-file for a certificate of your own), or run chsnap on its host with --url \
         http://127.0.0.1:8123",
    );
}
