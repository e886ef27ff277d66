//! Object stores through OpenDAL. No other file uses that crate.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use http::{Request, Response};
use opendal::layers::{HttpClientLayer, RetryEvent, RetryInterceptor, RetryLayer, TimeoutLayer};
use opendal::raw::{HttpBody, HttpClient, HttpFetch};
use opendal::{Buffer, ErrorKind, Operator, services};
use tokio::runtime::Runtime;

use crate::model::{DefaultLock, ObjectLock};

use super::address::{RemoteAddress, Service};
use super::environment::StoreEnvironment;
use super::error::{RemoteError, StoreCause, StoreError, StoreErrorKind};
use super::names::{MARKER, TEMPORARY};
use super::s3_locks::{LockFailure, Retries, S3Locks, S3Place, kind_of_code};
use super::store::{ListedObject, ObjectState, Put, Requests, Store, StoreLocks};

/// How often a request is retried.
const RETRIES: usize = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The timeout of a request without a body.
const ANSWER: Duration = Duration::from_secs(60);
/// The timeout of sending or reading an object: 64 MiB at 1 Mbit/s.
const TRANSFER: Duration = Duration::from_secs(600);
/// Threads that wait for the network; other threads prepare the bytes.
const NETWORK_THREADS: usize = 2;

/// The content type of every object, on services that store one.
const CONTENT_TYPE: &str = "application/octet-stream";

/// How the store ensures that an object is there completely or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Atomicity {
    /// Through the service: a PUT, or the temporary file of OpenDAL's `fs`.
    Service,
    /// Through a temporary name and a rename.
    Rename,
    /// Not at all: an interrupted transfer leaves a shorter object, which its size reveals.
    None,
}

/// A store that uses OpenDAL.
pub(super) struct OpendalStore {
    /// The operator that reads. In a directory it creates nothing.
    reader: OnceLock<Operator>,
    /// The operator that writes. In a directory it creates the directory, and one for temporary files.
    writer: OnceLock<Operator>,
    runtime: Runtime,
    address: String,
    /// The directory, if the store is one.
    directory: Option<String>,
    atomicity: Atomicity,
    counters: Counters,
    locks: Option<BucketLocks>,
    /// Google and Azure retain objects by policies of their own.
    has_unread_retention: bool,
}

/// The locks of a bucket of S3.
struct BucketLocks {
    client: S3Locks,
    /// The number of components of the prefix.
    components: usize,
    place: OnceLock<S3Place>,
}

#[derive(Default)]
struct Counters {
    puts: AtomicU64,
    gets: AtomicU64,
    stats: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    locks: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

/// Logs retries.
struct Notify;

impl RetryInterceptor for Notify {
    fn intercept(&self, event: RetryEvent<'_>) {
        tracing::info!(error = cause(event.err), pause = ?event.retry_after, "a request to the store is tried again");
    }
}

impl OpendalStore {
    pub(super) fn open(address: &RemoteAddress, environment: &StoreEnvironment) -> Result<Self, RemoteError> {
        // Only a second call in one process fails: then a provider is installed already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let failed = |cause: String| StoreError {
            verb: "open",
            name: "the store".to_owned(),
            address: address.to_string(),
            kind: StoreErrorKind::Unsupported,
            cause: StoreCause(cause),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(NETWORK_THREADS)
            .thread_name("chsnap-net")
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        if address.service == Service::Fs
            && let Some(problem) = directory_problem(std::path::Path::new(&address.root))
        {
            return Err(failed(problem.to_owned()).into());
        }
        let (reader, writer) = (OnceLock::new(), OnceLock::new());
        let atomicity = if address.service == Service::Fs {
            Atomicity::Service
        } else {
            let operator = {
                let _inside = runtime.enter();
                layered(operator(address, environment).map_err(|error| failed(cause(&error)))?)
            };
            let can_rename = operator.info().full_capability().rename;
            drop((reader.set(operator.clone()), writer.set(operator)));
            match address.service {
                Service::Sftp | Service::Ftp if can_rename => Atomicity::Rename,
                Service::Sftp | Service::Ftp => Atomicity::None,
                _ => Atomicity::Service,
            }
        };
        Ok(Self {
            reader,
            writer,
            runtime,
            address: address.to_string(),
            directory: (address.service == Service::Fs).then(|| address.root.clone()),
            atomicity,
            counters: Counters::default(),
            locks: (address.service == Service::S3).then(|| bucket_locks(address, environment)),
            has_unread_retention: matches!(address.service, Service::Gcs | Service::Azblob),
        })
    }

    /// Sends a request about locks.
    fn ask_locks<'s, T, F>(
        &'s self,
        (verb, name): (&'static str, &str),
        ask: impl FnOnce(&'s S3Locks, &'s S3Place) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, LockFailure>>,
    {
        add(&self.counters.locks, 1);
        let failed = |kind, cause| StoreError {
            verb,
            name: name.to_owned(),
            address: self.address.clone(),
            kind,
            cause: StoreCause(cause),
        };
        let unsupported = || failed(StoreErrorKind::Unsupported, "the service has no locks".to_owned());
        let locks = self.locks.as_ref().ok_or_else(unsupported)?;
        let place = if let Some(place) = locks.place.get() {
            place
        } else {
            let operator = self.writer().map_err(self.error(verb, name))?;
            // The only way to learn the URL that OpenDAL uses. Nothing is sent.
            let signed = self.runtime.block_on(operator.presign_stat(MARKER, ANSWER));
            let url = signed.map_err(self.error(verb, name))?.uri().to_string();
            let place = S3Place::of_object(&url, MARKER, locks.components).ok_or_else(unsupported)?;
            locks.place.get_or_init(|| place)
        };
        let answer = self.runtime.block_on(ask(&locks.client, place));
        answer.map_err(|failure| failed(failure.kind, failure.cause))
    }

    /// The operator that reads; `None` if the directory is missing, which has no objects.
    fn reader(&self) -> Result<Option<&Operator>, opendal::Error> {
        if let Some(operator) = self.writer.get().or_else(|| self.reader.get()) {
            return Ok(Some(operator));
        }
        let root = self.directory.as_deref().unwrap_or_default();
        // OpenDAL would create it.
        if let Err(error) = std::fs::metadata(root)
            && error.kind() == std::io::ErrorKind::NotFound
        {
            return Ok(None);
        }
        let _inside = self.runtime.enter();
        let operator = layered(Operator::new(services::Fs::default().root(root))?.finish());
        Ok(Some(self.reader.get_or_init(|| operator)))
    }

    /// The operator that writes.
    fn writer(&self) -> Result<&Operator, opendal::Error> {
        if let Some(operator) = self.writer.get() {
            return Ok(operator);
        }
        let root = self.directory.as_deref().unwrap_or_default();
        let temporary = format!("{}/{}", root, TEMPORARY.trim_end_matches('/'));
        let builder = services::Fs::default().root(root).atomic_write_dir(&temporary);
        let _inside = self.runtime.enter();
        let operator = layered(Operator::new(builder)?.finish());
        Ok(self.writer.get_or_init(|| operator))
    }

    /// Whether a directory has something at this place that is no file: to open a pipe waits for its other end.
    fn is_special_file(&self, name: &str) -> bool {
        let path = self.directory.as_ref().map(|root| std::path::Path::new(root).join(name));
        path.and_then(|path| std::fs::metadata(path).ok()).is_some_and(|found| !found.is_file())
    }

    fn can_put_if_absent(&self, operator: &Operator) -> bool {
        operator.info().full_capability().write_with_if_not_exists && self.atomicity == Atomicity::Service
    }

    fn error(&self, verb: &'static str, name: &str) -> impl Fn(opendal::Error) -> StoreError {
        move |error| StoreError {
            verb,
            name: name.to_owned(),
            address: self.address.clone(),
            kind: s3_code(&error).and_then(kind_of_code).unwrap_or_else(|| match error.kind() {
                ErrorKind::NotFound => StoreErrorKind::NotFound,
                ErrorKind::PermissionDenied => StoreErrorKind::Denied,
                ErrorKind::RateLimited => StoreErrorKind::Throttled,
                ErrorKind::Unsupported | ErrorKind::ConfigInvalid => StoreErrorKind::Unsupported,
                _ if is_untrusted(&error) => StoreErrorKind::Untrusted,
                _ => StoreErrorKind::Other,
            }),
            cause: StoreCause(cause(&error)),
        }
    }

    fn write(&self, name: &str, bytes: Buffer, if_absent: bool) -> Result<Put, opendal::Error> {
        add(&self.counters.puts, 1);
        let size = bytes.len() as u64;
        let operator = self.writer()?;
        let has_content_type = operator.info().full_capability().write_with_content_type;
        let written = self.runtime.block_on(async {
            match self.atomicity {
                Atomicity::Rename => {
                    let temporary = format!("{TEMPORARY}{:032x}", random());
                    operator.write(&temporary, bytes).await?;
                    match operator.rename(&temporary, name).await {
                        Ok(()) => Ok(()),
                        Err(error) => {
                            // The name belongs to another writer, or the service does not replace an object by a
                            // rename.
                            drop(operator.delete(&temporary).await);
                            Err(error)
                        }
                    }
                }
                _ if if_absent && self.can_put_if_absent(operator) => {
                    let write = operator.write_with(name, bytes).if_not_exists(true);
                    if has_content_type { write.content_type(CONTENT_TYPE).await } else { write.await }.map(drop)
                }
                _ => {
                    let write = operator.write_with(name, bytes);
                    if has_content_type { write.content_type(CONTENT_TYPE).await } else { write.await }.map(drop)
                }
            }
        });
        match written {
            Ok(()) => {
                add(&self.counters.sent_bytes, size);
                Ok(Put::Written)
            }
            Err(error)
                if if_absent && matches!(error.kind(), ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists) =>
            {
                add(&self.counters.sent_bytes, size);
                Ok(Put::Present)
            }
            Err(error) => Err(error),
        }
    }

    fn find(&self, name: &str) -> Result<Option<opendal::Metadata>, opendal::Error> {
        add(&self.counters.stats, 1);
        let Some(operator) = self.reader()? else { return Ok(None) };
        match self.runtime.block_on(operator.stat(name)) {
            Ok(found) => Ok(Some(found).filter(opendal::Metadata::is_file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Why the path of a store can be no directory. One that is missing can be made.
fn directory_problem(root: &std::path::Path) -> Option<&'static str> {
    match std::fs::metadata(root) {
        Ok(found) => (!found.is_dir()).then_some("it is no directory"),
        Err(error) => {
            (error.kind() == std::io::ErrorKind::NotADirectory).then_some("it is below something that is no directory")
        }
    }
}

/// Random bits for temporary names, which need only be unique.
fn random() -> u128 {
    let mut bits = [0; 16];
    // Without random bits, the time distinguishes two writers.
    if getrandom::fill(&mut bits).is_err() {
        return std::process::id().into();
    }
    u128::from_ne_bytes(bits)
}

/// The message of an error, without its context: the context contains URLs, and a URL may contain a signature.
fn cause(error: &opendal::Error) -> String {
    let mut text = format!("{}: {}", error.kind(), error.message());
    if let Some(source) = std::error::Error::source(error) {
        text.push_str(": ");
        text.push_str(&crate::monitor::chain(source));
    }
    super::error::without_queries(&text).chars().take(600).collect()
}

/// The code in an error of S3: OpenDAL has it only in its message, which is `S3Error { code: "…", … }`.
fn s3_code(error: &opendal::Error) -> Option<&str> {
    error.message().strip_prefix("S3Error { code: \"")?.split('"').next()
}

/// Whether the server's certificate was refused. Another attempt would be refused as well.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_it = |error: &(dyn std::error::Error + 'static)| {
        matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
    };
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error is not the source of what it holds.
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if is_it(error) || held.is_some_and(|held| is_untrusted(held)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// An HTTP client whose requests are not retried if the server's certificate is refused.
struct CheckedHttp(HttpClient);

impl HttpFetch for CheckedHttp {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let answer = self.0.fetch(request).await;
        answer.map_err(|error| if is_untrusted(&error) { error.set_permanent() } else { error })
    }
}

fn http() -> HttpClient {
    HttpClient::with(CheckedHttp(HttpClient::default()))
}

/// The operator with its timeouts and retries.
fn layered(operator: Operator) -> Operator {
    let operator = operator.layer(HttpClientLayer::new(http()));
    let retries = RetryLayer::new()
        .with_max_times(RETRIES)
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .with_notify(Notify);
    // The inner layer limits one attempt, the outer one retries.
    operator.layer(TimeoutLayer::new().with_timeout(ANSWER).with_io_timeout(TRANSFER)).layer(retries)
}

/// The region of an address.
fn region<'a>(address: &'a RemoteAddress, environment: &'a StoreEnvironment) -> &'a str {
    let option = address.options.get("region").map(String::as_str);
    let region = option.or_else(|| environment.get("AWS_REGION")).or_else(|| environment.get("AWS_DEFAULT_REGION"));
    region.unwrap_or("us-east-1")
}

/// Whether an option without a value is given.
fn is_on(address: &RemoteAddress, name: &str) -> bool {
    address.options.get(name).is_some_and(|value| matches!(value.as_str(), "" | "1" | "true" | "yes"))
}

fn bucket_locks(address: &RemoteAddress, environment: &StoreEnvironment) -> BucketLocks {
    let retries = Retries { times: RETRIES, first_pause: FIRST_PAUSE, longest_pause: LONGEST_PAUSE, answer: ANSWER };
    let role = address.options.get("role_arn").map(String::as_str);
    let region = region(address, environment);
    BucketLocks {
        client: S3Locks::new(http(), (region, role), is_on(address, "anonymous"), retries),
        components: address.root.split('/').filter(|component| !component.is_empty()).count(),
        place: OnceLock::new(),
    }
}

/// The operator of a service; that of a directory is made by its store.
fn operator(address: &RemoteAddress, environment: &StoreEnvironment) -> Result<Operator, opendal::Error> {
    let RemoteAddress { authority, root, options, .. } = address;
    let option = |name: &str| options.get(name).map(String::as_str);
    let region = region(address, environment);
    let is_on = |name: &str| is_on(address, name);
    let environment = |name: &str| environment.get(name).map(str::to_owned);
    Ok(match address.service {
        Service::Fs => Operator::new(services::Fs::default().root(root))?.finish(),
        Service::S3 => {
            // Keys, sessions, profiles, web identities and instance roles are looked up as Amazon's own tools do.
            let mut builder = services::S3::default().bucket(authority).root(root);
            let endpoint = option("endpoint").map(str::to_owned).or_else(|| environment("AWS_ENDPOINT_URL"));
            if let Some(endpoint) = endpoint {
                builder = builder.endpoint(&endpoint);
            }
            builder = builder.region(region);
            if let Some(class) = option("storage_class") {
                builder = builder.default_storage_class(class);
            }
            if let Some(encryption) = option("server_side_encryption") {
                builder = builder.server_side_encryption(encryption);
            }
            if let Some(key) = option("kms_key_id") {
                builder = builder.server_side_encryption_aws_kms_key_id(key);
            }
            if let Some(role) = option("role_arn") {
                builder = builder.role_arn(role);
            }
            if let Some(algorithm) = option("checksum") {
                builder = builder.checksum_algorithm(algorithm);
            }
            if is_on("virtual_host_style") {
                builder = builder.enable_virtual_host_style();
            }
            if is_on("anonymous") {
                builder = builder.skip_signature();
            }
            Operator::new(builder)?.finish()
        }
        Service::Gcs => {
            let mut builder = services::Gcs::default().bucket(authority).root(root);
            if let Some(endpoint) = option("endpoint") {
                builder = builder.endpoint(endpoint);
            }
            if let Some(class) = option("storage_class") {
                builder = builder.default_storage_class(class);
            }
            if is_on("anonymous") {
                builder = builder.skip_signature();
            }
            Operator::new(builder)?.finish()
        }
        Service::Azblob => {
            let mut builder = services::Azblob::default().container(authority).root(root);
            let account = option("account").map(str::to_owned).or_else(|| environment("AZURE_STORAGE_ACCOUNT"));
            let endpoint = option("endpoint")
                .map(str::to_owned)
                .or_else(|| account.as_ref().map(|account| format!("https://{account}.blob.core.windows.net")));
            if let Some(account) = &account {
                builder = builder.account_name(account);
            }
            if let Some(endpoint) = &endpoint {
                builder = builder.endpoint(endpoint);
            }
            if let Some(key) = environment("AZURE_STORAGE_KEY") {
                builder = builder.account_key(&key);
            }
            if let Some(token) = environment("AZURE_STORAGE_SAS_TOKEN") {
                builder = builder.sas_token(&token);
            }
            Operator::new(builder)?.finish()
        }
        Service::Sftp => {
            let mut builder = services::Sftp::default().root(root);
            let endpoint = format!("ssh://{authority}");
            builder = builder.endpoint(&endpoint);
            if let Some(user) = &address.user {
                builder = builder.user(user);
            }
            if let Some(identity) = option("identity") {
                builder = builder.key(identity);
            }
            builder = builder.known_hosts_strategy(option("known_hosts").unwrap_or("strict"));
            Operator::new(builder)?.finish()
        }
        Service::Ftp => {
            let mut builder = services::Ftp::default().root(root);
            builder = builder.endpoint(&format!("{}://{authority}", address.scheme));
            if let Some(user) = &address.user {
                builder = builder.user(user);
            }
            if let Some(password) = environment("CHSNAP_FTP_PASSWORD") {
                builder = builder.password(&password);
            }
            Operator::new(builder)?.finish()
        }
    })
}

fn time(metadata: &opendal::Metadata) -> Option<DateTime<Utc>> {
    metadata.last_modified().map(|time| DateTime::from(SystemTime::from(time)))
}

impl Store for OpendalStore {
    fn address(&self) -> &str {
        &self.address
    }

    fn is_atomic(&self) -> bool {
        self.atomicity != Atomicity::None
    }

    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.write(name, bytes.into(), false).map(drop).map_err(self.error("write", name))
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Put, StoreError> {
        let can_put_if_absent = {
            let operator = self.writer().map_err(self.error("write", name))?;
            self.can_put_if_absent(operator)
        };
        if !can_put_if_absent && self.stat(name)?.is_some_and(|found| found.bytes == bytes.len() as u64) {
            return Ok(Put::Present);
        }
        let buffer = Buffer::from(bytes);
        match self.write(name, buffer.clone(), true) {
            // Not every service that implements another's protocol supports the condition.
            Err(error) if can_put_if_absent && is_not_implemented(&error) => match self.stat(name)? {
                Some(_) => Ok(Put::Present),
                None => self.write(name, buffer, false).map_err(self.error("write", name)),
            },
            result => result.map_err(self.error("write", name)),
        }
    }

    fn get(&self, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        add(&self.counters.gets, 1);
        let Some(operator) = self.reader().map_err(self.error("read", name))? else { return Ok(None) };
        if self.is_special_file(name) {
            return Ok(None);
        }
        let read = self.runtime.block_on(operator.read(name)).and_then(|buffer| {
            let bytes = buffer.len() as u64;
            if bytes <= limit_bytes {
                return Ok(buffer);
            }
            let message = format!("it has {bytes} bytes, more than the {limit_bytes} that it may have");
            Err(opendal::Error::new(ErrorKind::Unexpected, message))
        });
        match read {
            Ok(buffer) => {
                add(&self.counters.received_bytes, buffer.len() as u64);
                Ok(Some(buffer.to_vec()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error("read", name)(error)),
        }
    }

    fn stat(&self, name: &str) -> Result<Option<ObjectState>, StoreError> {
        let found = self.find(name).map_err(self.error("ask for", name))?;
        Ok(found.map(|found| ObjectState {
            bytes: found.content_length(),
            modified: time(&found).unwrap_or(DateTime::UNIX_EPOCH),
        }))
    }

    fn list(&self, folder: &str) -> Result<Vec<ListedObject>, StoreError> {
        add(&self.counters.lists, 1);
        let Some(operator) = self.reader().map_err(self.error("list", folder))? else { return Ok(Vec::new()) };
        let listed = self.runtime.block_on(async { operator.list_with(folder).recursive(true).await });
        let entries = match listed {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.error("list", folder)(error)),
        };
        let files = entries.into_iter().filter(|entry| entry.metadata().is_file());
        Ok(files
            .map(|entry| ListedObject {
                name: entry.path().to_owned(),
                bytes: entry.metadata().content_length(),
                modified: time(entry.metadata()),
            })
            .collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        add(&self.counters.deletes, 1);
        let Some(operator) = self.reader().map_err(self.error("delete", name))? else { return Ok(()) };
        self.runtime.block_on(operator.delete(name)).map_err(self.error("delete", name))
    }

    fn requests(&self) -> Requests {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            puts: of(&self.counters.puts),
            gets: of(&self.counters.gets),
            stats: of(&self.counters.stats),
            lists: of(&self.counters.lists),
            deletes: of(&self.counters.deletes),
            locks: of(&self.counters.locks),
            sent_bytes: of(&self.counters.sent_bytes),
            received_bytes: of(&self.counters.received_bytes),
        }
    }

    fn has_unread_retention(&self) -> bool {
        self.has_unread_retention
    }

    fn locks(&self) -> Option<&dyn StoreLocks> {
        self.locks.is_some().then_some(self)
    }
}

impl StoreLocks for OpendalStore {
    fn default_lock(&self, now: DateTime<Utc>) -> Result<DefaultLock, StoreError> {
        self.ask_locks(("ask for", "the object lock of the bucket"), |client, place| client.default_lock(place, now))
    }

    fn lock_of(&self, name: &str) -> Result<Option<ObjectLock>, StoreError> {
        self.ask_locks(("ask for the lock of", name), |client, place| client.lock_of(place, name))
    }

    fn set_lock(&self, name: &str, lock: ObjectLock) -> Result<(), StoreError> {
        self.ask_locks(("lock", name), |client, place| client.set_lock(place, name, lock))
    }
}

fn is_not_implemented(error: &opendal::Error) -> bool {
    error.kind() == ErrorKind::Unsupported || error.message().contains("NotImplemented")
}

#[cfg(test)]
mod tests {
    use super::super::error::without_queries;

    #[test]
    fn the_text_of_an_error_has_no_signature() {
        let text = "cannot send https://a.blob.core.windows.net/c/x?sv=1&sig=hunter2 now";
        assert_eq!(without_queries(text), "cannot send https://a.blob.core.windows.net/c/x now");
    }
}
