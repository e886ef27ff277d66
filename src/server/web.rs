//! Single requests to an address that is no ClickHouse server.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::time::Duration;

use http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::RootCertStore;
use tower_service::Service;

use super::connector::{system_roots, tcp, tls_config, tls_over};

/// The number of redirects that are followed; browsers and curl have similar limits.
const MAX_REDIRECTS: usize = 10;

const USER_AGENT: &str = concat!("chsnap/", env!("CARGO_PKG_VERSION"));
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Why a request has no good answer. No text has the address: it may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// It is no address of `http` or `https`.
    #[error("the address cannot be used")]
    Address,
    /// The proxy that the environment names is of another kind than `http` and `https`.
    #[error("a proxy of this kind is not supported")]
    Proxy,
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The system gives no means for it.
    #[error("cannot begin a request")]
    Setup(#[source] io::Error),
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// A connection, and no answer.
    #[error("the request failed")]
    Exchange(#[source] hyper::Error),
    /// No answer in time.
    #[error("there was no answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// The answer refuses the request, or reports a failure.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// It leads on and on.
    #[error("there were more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    /// It leads nowhere.
    #[error("a redirect leads to no address that can be used")]
    Redirect,
}

/// Gets and posts. Redirects are followed as browsers do, and the proxies of the environment are used: `HTTPS_PROXY`,
/// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
#[derive(Debug)]
pub struct HttpClient {
    deadline: Duration,
    proxies: Matcher,
}

/// A request, before it is known how it gets there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WebCall {
    method: Method,
    uri: Uri,
    /// The posted text.
    text: String,
}

impl HttpClient {
    /// A client of which each request has an answer within `deadline`, redirects included, or fails.
    #[must_use]
    pub fn from_env(deadline: Duration) -> Self {
        Self { deadline, proxies: Matcher::from_env() }
    }

    /// Gets an address; of the answer only the status counts.
    ///
    /// # Errors
    /// If no answer came, or one with a status of failure.
    pub fn get(&self, url: &str) -> Result<(), WebError> {
        self.send(Method::GET, url, "")
    }

    /// Posts a text to an address; of the answer only the status counts.
    ///
    /// # Errors
    /// If no answer came, or one with a status of failure.
    pub fn post(&self, url: &str, text: &str) -> Result<(), WebError> {
        self.send(Method::POST, url, text)
    }

    /// Connects to an address as a request would: straight, or to its proxy, and through that where it is of `https`. No
    /// request is sent to the address.
    ///
    /// # Errors
    /// If there is no connection.
    pub fn reach(&self, url: &str) -> Result<(), WebError> {
        let uri: Uri = url.parse().map_err(|_| WebError::Address)?;
        self.in_time(self.connect_only(&uri))
    }

    async fn connect_only(&self, uri: &Uri) -> Result<(), WebError> {
        let Some(proxy) = self.proxies.intercept(uri) else {
            return connect(tcp(), uri).await.map(drop);
        };
        if !is_scheme(proxy.uri(), "http") && !is_scheme(proxy.uri(), "https") {
            return Err(WebError::Proxy);
        }
        let to_proxy = tls_over(tls(&[proxy.uri()])?, tcp());
        if is_scheme(uri, "http") {
            return connect(to_proxy, proxy.uri()).await.map(drop);
        }
        connect(tunnel(&proxy, to_proxy), uri).await.map(drop)
    }

    fn send(&self, method: Method, url: &str, text: &str) -> Result<(), WebError> {
        let uri: Uri = url.parse().map_err(|_| WebError::Address)?;
        self.in_time(self.follow(WebCall { method, uri, text: text.to_owned() }))
    }

    fn in_time(&self, exchange: impl Future<Output = Result<(), WebError>>) -> Result<(), WebError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(WebError::Setup)?;
        let answer = runtime.block_on(async { tokio::time::timeout(self.deadline, exchange).await });
        // A name that is still being resolved is not waited for.
        runtime.shutdown_background();
        answer.unwrap_or(Err(WebError::Deadline(self.deadline)))
    }

    async fn follow(&self, mut call: WebCall) -> Result<(), WebError> {
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.exchange(&call).await?;
            let status = answer.status();
            if status.is_client_error() || status.is_server_error() {
                return Err(WebError::Status(status));
            }
            match call.redirected(status, answer.headers().get(header::LOCATION))? {
                Some(next) => call = next,
                None => return Ok(()),
            }
        }
        Err(WebError::TooManyRedirects)
    }

    /// Sends the request over a new connection: directly, through a tunnel of the proxy for `https`, else as a request
    /// to the proxy.
    async fn exchange(&self, call: &WebCall) -> Result<Response<Incoming>, WebError> {
        let path = call.uri.path_and_query().map_or("/", |path| path.as_str());
        let Some(proxy) = self.proxies.intercept(&call.uri) else {
            let connector = tls_over(tls(&[&call.uri])?, tcp());
            return exchange_over(connect(connector, &call.uri).await?, call.request(path, None)?).await;
        };
        let config = tls(&[&call.uri, proxy.uri()])?;
        if !is_scheme(proxy.uri(), "http") && !is_scheme(proxy.uri(), "https") {
            return Err(WebError::Proxy);
        }
        let to_proxy = tls_over(config.clone(), tcp());
        if is_scheme(&call.uri, "http") {
            let request = call.request(&call.uri.to_string(), proxy.basic_auth())?;
            return exchange_over(connect(to_proxy, proxy.uri()).await?, request).await;
        }
        let tunnel = tunnel(&proxy, to_proxy);
        exchange_over(connect(tls_over(config, tunnel), &call.uri).await?, call.request(path, None)?).await
    }
}

/// A tunnel through a proxy that `to_proxy` connects to.
fn tunnel<C>(proxy: &Intercept, to_proxy: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
    match proxy.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }
}

impl WebCall {
    /// The request, for this target, which is the path or for a proxy the whole address.
    fn request(&self, target: &str, proxy_auth: Option<&HeaderValue>) -> Result<http::Request<String>, WebError> {
        let authority = self.uri.authority().ok_or(WebError::Address)?.as_str();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let mut request = http::Request::builder()
            .method(self.method.clone())
            .uri(target)
            .header(header::HOST, host)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "*/*")
            .header(header::CONNECTION, "close");
        if self.method == Method::POST {
            request = request.header(header::CONTENT_TYPE, PLAIN_TEXT);
        }
        if let Some(auth) = proxy_auth {
            request = request.header(header::PROXY_AUTHORIZATION, auth);
        }
        request.body(self.text.clone()).map_err(|_| WebError::Address)
    }

    /// The request to which an answer leads, if it leads on. After 301, 302 and 303 nothing is posted again.
    fn redirected(&self, status: StatusCode, location: Option<&HeaderValue>) -> Result<Option<Self>, WebError> {
        let keeps_method = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => false,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return Ok(None),
        };
        let location = location.and_then(|location| location.to_str().ok()).ok_or(WebError::Redirect)?;
        let uri = resolve(&self.uri, location).ok_or(WebError::Redirect)?;
        Ok(Some(if keeps_method {
            Self { uri, ..self.clone() }
        } else {
            Self { method: Method::GET, uri, text: String::new() }
        }))
    }
}

/// The address that `location` means at `base`: a whole one, or without its scheme, its host or its directory.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let is_whole = location.split(['/', '?']).next().is_some_and(|start| start.contains(':'));
    let text = if is_whole {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') || location.is_empty() {
        let query = if location.is_empty() { base.query().map(|query| format!("?{query}")) } else { None };
        format!("{scheme}://{authority}{}{}{location}", base.path(), query.unwrap_or_default())
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    let uri: Uri = text.parse().ok()?;
    ((is_scheme(&uri, "http") || is_scheme(&uri, "https")) && uri.host().is_some()).then_some(uri)
}

fn is_scheme(uri: &Uri, scheme: &str) -> bool {
    uri.scheme_str() == Some(scheme)
}

/// TLS for these addresses; the host's certificates are read only if one needs them.
fn tls(uris: &[&Uri]) -> Result<rustls::ClientConfig, WebError> {
    let is_needed = uris.iter().any(|uri| is_scheme(uri, "https"));
    tls_config(if is_needed { system_roots() } else { RootCertStore::empty() }).map_err(WebError::Tls)
}

async fn connect<C>(mut connector: C, uri: &Uri) -> Result<C::Response, WebError>
where
    C: Service<Uri>,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
{
    poll_fn(|context| connector.poll_ready(context)).await.map_err(|error| WebError::Connect(error.into()))?;
    connector.call(uri.clone()).await.map_err(|error| WebError::Connect(error.into()))
}

async fn exchange_over<T>(stream: T, request: http::Request<String>) -> Result<Response<Incoming>, WebError>
where
    T: Read + Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(WebError::Exchange)?;
    // It ends with the answer, or with the runtime.
    drop(tokio::spawn(connection));
    sender.send_request(request).await.map_err(WebError::Exchange)
}

#[cfg(test)]
mod tests {
    use super::{HeaderValue, Method, StatusCode, Uri, WebCall, WebError, resolve};

    fn uri(text: &str) -> Uri {
        text.parse().expect("an address")
    }

    #[test]
    fn a_location_is_read_from_the_address_that_has_it() {
        let base = uri("https://a.example:8443/in/here?key=1");
        for (location, expected) in [
            ("http://b.example/x", Some("http://b.example/x")),
            ("HTTPS://b.example/x?y=z#w", Some("https://b.example/x?y=z")),
            ("//b.example/x", Some("https://b.example/x")),
            ("/x?to=http://b", Some("https://a.example:8443/x?to=http://b")),
            ("there", Some("https://a.example:8443/in/there")),
            ("?key=2", Some("https://a.example:8443/in/here?key=2")),
            ("", Some("https://a.example:8443/in/here?key=1")),
            ("ftp://b.example/x", None),
            ("file:///etc/passwd", None),
            ("mailto:x@b.example", None),
            ("http://", None),
            ("/a b", None),
        ] {
            assert_eq!(resolve(&base, location), expected.map(uri), "{location}");
        }
    }

    #[test]
    fn only_307_and_308_post_again() {
        let call = WebCall { method: Method::POST, uri: uri("http://a/x"), text: "what failed".to_owned() };
        let location = HeaderValue::from_static("/y");
        for (status, method, text) in [
            (301, Method::GET, ""),
            (302, Method::GET, ""),
            (303, Method::GET, ""),
            (307, Method::POST, "what failed"),
            (308, Method::POST, "what failed"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let next = call.redirected(status, Some(&location)).expect("an address").expect("another request");
            assert_eq!(next, WebCall { method, uri: uri("http://a/y"), text: text.to_owned() }, "{status}");
            assert!(matches!(call.redirected(status, None), Err(WebError::Redirect)), "{status}");
        }
        for status in [200, 204, 300, 304] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(call.redirected(status, Some(&location)).expect("no redirect"), None, "{status}");
        }
    }

    #[test]
    fn a_request_names_its_host_without_user_and_password() {
        let call = WebCall { method: Method::GET, uri: uri("http://user:secret@[::1]:81/x"), text: String::new() };
        let request = call.request("/x", None).expect("a request");
        assert_eq!(request.headers().get("host").expect("a host"), "[::1]:81");
        assert_eq!(request.uri().path_and_query().expect("a path"), "/x");
    }
}
