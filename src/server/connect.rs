//! Builds a connected client from options.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::connector::{system_roots, tcp, tls_config, tls_over};
use super::error::{ServerError, UrlProblem};
use super::limited::Connector;

/// A password that does not show in logs or debug output.
#[derive(Clone, Default)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// How to reach a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// `http://` or `https://` address.
    pub url: String,
    /// User, if not the server's default user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Password>,
    /// PEM file of the certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Deadline of every statement except `FREEZE`.
    pub query_deadline: Duration,
    /// Deadline of one `FREEZE`.
    pub freeze_deadline: Duration,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

impl ConnectOptions {
    /// The default user of the server at this address, with the deadlines of the command line.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: None,
            ca_file: None,
            query_deadline: QUERY_DEADLINE,
            freeze_deadline: FREEZE_DEADLINE,
            interrupted: Arc::default(),
        }
    }
}

crate::model::setters! { ConnectOptions {
    with_user => user: Option<String>,
    with_password => password: Option<Password>,
    with_ca_file => ca_file: Option<PathBuf>,
    with_query_deadline => query_deadline: Duration,
    with_freeze_deadline => freeze_deadline: Duration,
    with_interrupted => interrupted: Arc<AtomicBool>,
} }

/// The default deadline of a statement.
const QUERY_DEADLINE: Duration = Duration::from_secs(60);
/// The default deadline of a `FREEZE`.
const FREEZE_DEADLINE: Duration = Duration::from_secs(3600);
/// Idle connections are dropped before ClickHouse's own `keep_alive_timeout` (3 s in old configurations) does it.
const IDLE: Duration = Duration::from_secs(2);

impl ConnectOptions {
    /// The host to which the password would be sent without encryption, if there is a password and the host is not this
    /// one.
    #[must_use]
    pub fn clear_text_host(&self) -> Option<String> {
        self.password.as_ref().filter(|password| !password.0.is_empty())?;
        let uri: http::Uri = self.url.parse().ok()?;
        let host = uri.host()?.trim_matches(['[', ']']);
        let is_loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        (uri.scheme_str() == Some("http") && !is_loopback).then(|| host.to_owned())
    }
}

pub(super) fn client(options: &ConnectOptions) -> Result<clickhouse::Client, ServerError> {
    check_url(&options.url).map_err(ServerError::Url)?;
    let connector = tls_over(tls(options)?, tcp());
    let transport = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .build(Connector(connector));
    let mut client = clickhouse::Client::with_http_client(transport)
        .with_url(&options.url)
        .with_compression(clickhouse::Compression::None)
        .with_product_info("chsnap", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &options.user {
        client = client.with_user(user);
    }
    if let Some(password) = &options.password {
        client = client.with_password(&password.0);
    }
    Ok(client)
}

/// Checks that a server can be reached by this URL, and that the URL contains nothing else. Its content is displayed,
/// logged and stored with snapshots, and settings in it would apply to some statements only.
///
/// # Errors
/// The problem with the URL.
pub fn check_url(url: &str) -> Result<(), UrlProblem> {
    let known = ["http://", "https://"].into_iter().find_map(|scheme| {
        url.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).and(url.get(scheme.len()..))
    });
    // Anywhere in the text: a password may contain any character, and the scheme may be missing.
    if url.contains('@') {
        return Err(UrlProblem::UserInfo);
    }
    let Some(rest) = known.filter(|_| !url.contains(char::is_whitespace)) else { return Err(UrlProblem::NotHttp) };
    if rest.contains(['?', '#']) { Err(UrlProblem::Query) } else { Ok(()) }
}

fn tls(options: &ConnectOptions) -> Result<rustls::ClientConfig, ServerError> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = &options.ca_file {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| ServerError::Certificates { path: path.clone(), reason: error.to_string() })?;
        }
    } else if options.url.to_ascii_lowercase().starts_with("https://") {
        roots = system_roots();
    }
    tls_config(roots).map_err(|error| ServerError::Setup { reason: error.to_string() })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let error = |reason: String| ServerError::Certificates { path: path.to_owned(), reason };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|source| error(source.to_string()))?.collect();
    let certificates = certificates.map_err(|source| error(source.to_string()))?;
    if certificates.is_empty() {
        return Err(error("it holds no PEM certificate".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::{UrlProblem, check_url};

    #[test]
    fn a_url_is_an_address_and_nothing_else() {
        for url in ["http://127.0.0.1:8123", "https://ch.example:8443/", "http://[::1]:8123/proxy/a", "HTTP://ch:8123"]
        {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for (url, problem) in [
            ("ftp://x", UrlProblem::NotHttp),
            ("localhost:8123", UrlProblem::NotHttp),
            ("http://a b", UrlProblem::NotHttp),
            ("u:pw@localhost:8123", UrlProblem::UserInfo),
            ("http://u:pw@localhost:8123", UrlProblem::UserInfo),
            ("https://u@localhost/?x", UrlProblem::UserInfo),
            ("http://u:p/w@localhost:8123", UrlProblem::UserInfo),
            ("http://localhost:8123?password=x", UrlProblem::Query),
            ("http://localhost:8123/?limit=2", UrlProblem::Query),
            ("http://localhost:8123/#x", UrlProblem::Query),
            ("http://localhost:8123/?", UrlProblem::Query),
        ] {
            assert_eq!(check_url(url), Err(problem), "{url}");
        }
    }
}
