//! From options to a connected client.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

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
pub struct ConnectOptions {
    /// `http://` or `https://` address.
    pub url: String,
    /// User, where the server's default user will not do.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Password>,
    /// PEM file of the certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Deadline of every statement but `FREEZE`.
    pub query_deadline: Duration,
    /// Deadline of one `FREEZE`.
    pub freeze_deadline: Duration,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

/// Idle connections are dropped before ClickHouse's own `keep_alive_timeout` (3 s in old configurations) does it.
const IDLE: Duration = Duration::from_secs(2);

pub(super) fn client(options: &ConnectOptions) -> Result<clickhouse::Client, ServerError> {
    check_url(&options.url).map_err(ServerError::Url)?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(Duration::from_secs(10)));
    http.set_keepalive(Some(Duration::from_secs(60)));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls(options)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
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

/// Whether a server can be reached by this URL, and it says nothing else: what is in it is shown, logged and kept with
/// snapshots, and settings in it would hold for some statements only.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str) -> Result<(), UrlProblem> {
    let known = ["http://", "https://"].into_iter().find_map(|scheme| {
        url.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).and(url.get(scheme.len()..))
    });
    // Wherever it stands: a password may have any letter in it, and there may be no scheme in front.
    if url.contains('@') {
        return Err(UrlProblem::UserInfo);
    }
    let Some(rest) = known.filter(|_| !url.contains(char::is_whitespace)) else { return Err(UrlProblem::NotHttp) };
    if rest.contains(['?', '#']) { Err(UrlProblem::Query) } else { Ok(()) }
}

fn tls(options: &ConnectOptions) -> Result<rustls::ClientConfig, ServerError> {
    let setup = |reason: String| ServerError::Setup { reason };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = &options.ca_file {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| ServerError::Certificates { path: path.clone(), reason: error.to_string() })?;
        }
    } else if options.url.to_ascii_lowercase().starts_with("https://") {
        // A certificate of the system's store that cannot be read is not trusted; the rest still are.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
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
