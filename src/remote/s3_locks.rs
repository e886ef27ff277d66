//! Object lock of S3, which OpenDAL can neither read nor set: requests that are signed by OpenDAL's signer, with the
//! credentials that it finds, and sent by its HTTP client. No other file uses `reqsign`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Months, SecondsFormat, TimeDelta, Utc};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use md5::{Digest as _, Md5};
use quick_xml::Reader;
use quick_xml::events::Event;
use reqsign_aws_v4::{AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, RequestSigner};
use reqsign_core::{Context, ErrorKind, HttpSend, HttpSendDyn, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;

use crate::model::{DefaultLock, LockMode, ObjectLock};

use super::error::StoreErrorKind;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
/// The longest answer that is parsed.
const ANSWER_BYTES: usize = 64 << 10;

/// How often, and after which pauses, a failed request is repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    pub(super) times: usize,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
    /// The timeout of one attempt.
    pub(super) answer: Duration,
}

/// A request about a lock that failed. Its text has no URL, and no credentials.
#[derive(Debug)]
pub(super) struct LockFailure {
    pub(super) kind: StoreErrorKind,
    pub(super) cause: String,
    is_transient: bool,
}

/// A client for the locks of one bucket.
pub(super) struct S3Locks {
    /// `None` for requests without a signature.
    signer: Option<Signer<Credential>>,
    http: Arc<dyn HttpSendDyn>,
    retries: Retries,
}

/// The URLs of a bucket and of the prefix in it, without a slash at their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct S3Place {
    bucket: String,
    prefix: String,
}

impl S3Place {
    /// The place whose object `name` has this URL, possibly with a query; `None` unless the prefix has `components`
    /// components.
    pub(super) fn of_object(url: &str, name: &str, components: usize) -> Option<Self> {
        let url = url.split_once('?').map_or(url, |(head, _)| head);
        let prefix = url.strip_suffix(name)?.strip_suffix('/')?;
        let bucket = (0..components).try_fold(prefix, |url, _| Some(url.rsplit_once('/')?.0))?;
        Some(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl S3Locks {
    /// A client with the credentials that OpenDAL looks up: variables, files, web identities, roles.
    pub(super) fn new(
        http: impl HttpSend + Clone,
        (region, role): (&str, Option<&str>),
        is_anonymous: bool,
        retries: Retries,
    ) -> Self {
        // As the builder of OpenDAL's service does it.
        let context = Context::new().with_file_read(TokioFileRead).with_http_send(http.clone()).with_env(OsEnv);
        let found = ProvideCredentialChain::new().push(DefaultCredentialProvider::builder().build());
        let credentials = match role {
            None => found,
            Some(role) => {
                let signer = Signer::new(context.clone(), found, RequestSigner::new("sts", region));
                let assumed = AssumeRoleCredentialProvider::new(role.to_owned(), signer);
                let assumed = assumed.with_region(region.to_owned()).with_regional_sts_endpoint();
                ProvideCredentialChain::new().push(assumed)
            }
        };
        let signer = Signer::new(context, credentials, RequestSigner::new("s3", region));
        Self { signer: (!is_anonymous).then_some(signer), http: Arc::new(http), retries }
    }

    /// The lock of an object that would be written now, by the store's clock, or by `now` if the store has sent no time.
    pub(super) async fn default_lock(&self, place: &S3Place, now: DateTime<Utc>) -> Result<DefaultLock, LockFailure> {
        let answer = self.send(Method::GET, format!("{}?object-lock", place.bucket), None).await?;
        if answer.status().is_success() {
            return default_lock(answer.body(), clock(answer.headers()).unwrap_or(now));
        }
        match failure(&answer) {
            // The bucket has none, or the service does not know the request.
            LockFailure { kind: StoreErrorKind::Unsupported, .. } => Ok(DefaultLock::None),
            _ if answer.status() == StatusCode::NOT_FOUND && !is_bucket_missing(&answer) => Ok(DefaultLock::None),
            LockFailure { kind: StoreErrorKind::Denied, .. } if !is_of_no_use(&answer) => Ok(DefaultLock::Unknown),
            failure => Err(failure),
        }
    }

    /// The lock of an object; `None` if it has none, or the credentials may not see it.
    pub(super) async fn lock_of(&self, place: &S3Place, name: &str) -> Result<Option<ObjectLock>, LockFailure> {
        let answer = self.send(Method::HEAD, format!("{}/{name}", place.prefix), None).await?;
        if !answer.status().is_success() {
            return Err(failure(&answer));
        }
        Ok(lock_in(answer.headers()))
    }

    /// Gives an object a lock that ends later than its present one.
    pub(super) async fn set_lock(&self, place: &S3Place, name: &str, lock: ObjectLock) -> Result<(), LockFailure> {
        let until = lock.until.to_rfc3339_opts(SecondsFormat::Secs, true);
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode><RetainUntilDate>{until}\
             </RetainUntilDate></Retention>",
            lock.mode,
        );
        let answer = self.send(Method::PUT, format!("{}/{name}?retention", place.prefix), Some(body)).await?;
        if answer.status().is_success() { Ok(()) } else { Err(failure(&answer)) }
    }

    /// Sends a request, and repeats it while it fails for a while.
    async fn send(&self, method: Method, url: String, body: Option<String>) -> Result<S3Answer, LockFailure> {
        let mut pause = self.retries.first_pause;
        for _ in 0..self.retries.times {
            let failed = match self.send_once(&method, &url, body.as_deref()).await {
                Ok(answer) if !is_transient(answer.status()) => return Ok(answer),
                Ok(answer) => failure(&answer),
                Err(failed) if !failed.is_transient => return Err(failed),
                Err(failed) => failed,
            };
            tracing::info!(error = failed.cause, ?pause, "a request to the store is tried again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.retries.longest_pause);
        }
        let answer = self.send_once(&method, &url, body.as_deref()).await?;
        if is_transient(answer.status()) { Err(failure(&answer)) } else { Ok(answer) }
    }

    async fn send_once(&self, method: &Method, url: &str, body: Option<&str>) -> Result<S3Answer, LockFailure> {
        let other = |cause: String| LockFailure { kind: StoreErrorKind::Other, cause, is_transient: false };
        let mut request = Request::builder().method(method.clone()).uri(url);
        if let Some(body) = body {
            // Required of every request that sets a lock.
            request = request.header("content-md5", BASE64_STANDARD.encode(Md5::digest(body.as_bytes())));
            request = request.header("content-type", "application/xml");
        }
        let body = body.unwrap_or_default().as_bytes().to_vec();
        let request =
            request.header("content-length", body.len()).body(()).map_err(|error| other(error.to_string()))?;
        let (mut head, ()) = request.into_parts();
        if let Some(signer) = &self.signer {
            signer.sign(&mut head, None).await.map_err(|error| signing_failure(&error))?;
        }
        // The client sets it.
        head.headers.remove("host");
        let sent =
            tokio::time::timeout(self.retries.answer, self.http.http_send(Request::from_parts(head, body.into())));
        let answer = sent.await.map_err(|_| LockFailure { is_transient: true, ..other("no answer".to_owned()) })?;
        let answer =
            answer.map_err(|error| LockFailure { is_transient: error.is_retryable(), ..other(chain(&error)) })?;
        Ok(answer.map(|body| body.get(..ANSWER_BYTES).unwrap_or(&body).to_vec()))
    }
}

/// An answer with its body, which may be cut.
type S3Answer = Response<Vec<u8>>;

/// The messages of an error, without URLs that could have a signature.
fn chain(error: &reqsign_core::Error) -> String {
    super::error::without_queries(&crate::monitor::chain(error)).chars().take(600).collect()
}

fn signing_failure(error: &reqsign_core::Error) -> LockFailure {
    let kind = match error.kind() {
        ErrorKind::CredentialInvalid | ErrorKind::PermissionDenied => StoreErrorKind::Denied,
        ErrorKind::ConfigInvalid => StoreErrorKind::Unsupported,
        ErrorKind::RateLimited => StoreErrorKind::Throttled,
        ErrorKind::RequestInvalid | ErrorKind::Unexpected => StoreErrorKind::Other,
    };
    LockFailure { kind, cause: chain(error), is_transient: error.is_retryable() }
}

fn is_transient(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// The failure that an answer reports.
fn failure(answer: &S3Answer) -> LockFailure {
    let status = answer.status();
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StoreErrorKind::Denied,
        StatusCode::NOT_FOUND => StoreErrorKind::NotFound,
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => StoreErrorKind::Unsupported,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => StoreErrorKind::Throttled,
        _ if status.is_client_error() => StoreErrorKind::Invalid,
        _ => StoreErrorKind::Other,
    };
    let elements = elements(answer.body());
    let kind = elements.get("Code").and_then(|code| kind_of_code(code)).unwrap_or(kind);
    let element = |name: &str| elements.get(name).map(|text| format!(": {text}")).unwrap_or_default();
    let cause = format!("{status}{}{}", element("Code"), element("Message"));
    LockFailure { kind, cause: cause.chars().take(600).collect(), is_transient: is_transient(status) }
}

fn has_code(answer: &S3Answer, codes: &[&str]) -> bool {
    elements(answer.body()).get("Code").is_some_and(|code| codes.contains(&code.as_str()))
}

fn is_bucket_missing(answer: &S3Answer) -> bool {
    has_code(answer, &["NoSuchBucket"])
}

/// Whether no request with these credentials, or with this clock, can succeed.
fn is_of_no_use(answer: &S3Answer) -> bool {
    elements(answer.body()).get("Code").is_some_and(|code| kind_of_code(code).is_some())
}

/// The kind of an error of S3 that its status does not tell, by its code.
pub(super) fn kind_of_code(code: &str) -> Option<StoreErrorKind> {
    match code {
        "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
            Some(StoreErrorKind::Denied)
        }
        "RequestTimeTooSkewed" => Some(StoreErrorKind::ClockSkewed),
        _ => None,
    }
}

/// The texts of the elements of a document, each by its name without a namespace; the first one of each name.
fn elements(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut elements = BTreeMap::new();
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader::from_str(&text);
    let mut open: Option<String> = None;
    loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => {
                open = Some(element.local_name().as_ref().to_owned());
            }
            Ok(Event::Text(text)) => {
                let text = text.xml10_content().trim().to_owned();
                if let Some(name) = open.take().filter(|_| !text.is_empty()) {
                    elements.entry(name).or_insert(text);
                }
            }
            Ok(Event::Eof) | Err(_) => return elements,
            Ok(_) => open = None,
        }
    }
}

/// The lock of new objects in a bucket's configuration.
fn default_lock(body: &[u8], now: DateTime<Utc>) -> Result<DefaultLock, LockFailure> {
    let elements = elements(body);
    let Some(mode) = elements.get("Mode") else { return Ok(DefaultLock::None) };
    let number = |name: &str| elements.get(name).and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 0);
    let until = match (number("Days"), number("Years")) {
        (Some(days), _) => now.checked_add_signed(TimeDelta::days(days.into())),
        (None, Some(years)) => years.checked_mul(12).and_then(|months| now.checked_add_months(Months::new(months))),
        (None, None) => None,
    };
    let lock = LockMode::parse(mode).zip(until).map(|(mode, until)| DefaultLock::Of(ObjectLock { mode, until }));
    lock.ok_or_else(|| LockFailure {
        kind: StoreErrorKind::Other,
        cause: "its default retention cannot be read".to_owned(),
        is_transient: false,
    })
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The lock in the headers of an object. An end that cannot be read counts as none.
fn lock_in(headers: &HeaderMap) -> Option<ObjectLock> {
    let mode = LockMode::parse(header(headers, MODE)?)?;
    let until = DateTime::parse_from_rfc3339(header(headers, UNTIL)?).ok()?.to_utc();
    Some(ObjectLock { mode, until })
}

/// The time of an answer.
fn clock(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(header(headers, "date")?).ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn the_place_of_an_object_is_found_in_both_styles() {
        let place = |bucket: &str, prefix: &str| Some(S3Place { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        let path = "http://127.0.0.1:5000/bucket/a/b/x?X-Amz-Signature=1";
        assert_eq!(
            S3Place::of_object(path, "x", 2),
            place("http://127.0.0.1:5000/bucket", "http://127.0.0.1:5000/bucket/a/b")
        );
        let host = "https://bucket.s3.eu-central-1.amazonaws.com/x";
        let root = "https://bucket.s3.eu-central-1.amazonaws.com";
        assert_eq!(S3Place::of_object(host, "x", 0), place(root, root));
        assert_eq!(S3Place::of_object(host, "y", 0), None);
    }

    #[test]
    fn a_default_retention_is_read_in_days_and_years_and_nothing_is_guessed() {
        let now = time("2026-11-30T12:00:00Z");
        let read = |rule: &str| {
            let text = format!(
                "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ObjectLockEnabled>Enabled\
                 </ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
            );
            default_lock(text.as_bytes(), now).ok()
        };
        let rule = |of: &str| format!("<Rule>\n <DefaultRetention>{of}</DefaultRetention></Rule>");
        let lock = |mode, until: &str| Some(DefaultLock::Of(ObjectLock { mode, until: time(until) }));
        assert_eq!(read(""), Some(DefaultLock::None));
        let days = rule("<Mode>GOVERNANCE</Mode><Days>30</Days>");
        assert_eq!(read(&days), lock(LockMode::Governance, "2026-12-30T12:00:00Z"));
        let years = rule("<Mode>COMPLIANCE</Mode><Years>2</Years>");
        assert_eq!(read(&years), lock(LockMode::Compliance, "2028-11-30T12:00:00Z"));
        let zero = rule("<Mode>GOVERNANCE</Mode><Days>0</Days><Years>1</Years>");
        assert_eq!(read(&zero), lock(LockMode::Governance, "2027-11-30T12:00:00Z"));
        for other in
            ["<Mode>GOVERNANCE</Mode>", "<Mode>OTHER</Mode><Days>3</Days>", "<Mode>GOVERNANCE</Mode><Days>x</Days>"]
        {
            assert_eq!(read(&rule(other)), None, "{other}");
        }
    }

    #[test]
    fn an_error_is_named_by_its_code_and_a_cut_one_by_its_status() {
        let answer = |status: u16, body: &str| {
            Response::builder().status(status).body(body.as_bytes().to_vec()).expect("an answer")
        };
        let denied = answer(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
        let failed = failure(&denied);
        assert_eq!((failed.kind, failed.cause.as_str()), (StoreErrorKind::Denied, "403 Forbidden: AccessDenied: no"));
        assert!(!is_of_no_use(&denied));
        let expired = answer(400, "<Error><Code>ExpiredToken</Code></Error>");
        assert!(is_of_no_use(&expired) && failure(&expired).kind == StoreErrorKind::Denied);
        assert_eq!(failure(&answer(500, "<Error><Co")).cause, "500 Internal Server Error");
        assert!(failure(&answer(503, "")).is_transient && !failure(&answer(501, "")).is_transient);
    }
}
