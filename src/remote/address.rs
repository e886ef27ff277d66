//! The address of a remote repository: a URL without secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A kind of object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// A directory.
    Fs,
    /// Amazon S3, and services that use its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azblob,
    /// A directory by SSH.
    Sftp,
    /// A directory by FTP.
    Ftp,
}

/// The meaning of the first component of a URL, after `://`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authority {
    /// Nothing: the path is all.
    None,
    /// A bucket or a container.
    Bucket,
    /// A host, with a port and a user if they are given.
    Host,
}

struct ServiceEntry {
    service: Service,
    /// The first one is printed.
    schemes: &'static [&'static str],
    authority: Authority,
    /// The options that may follow `?`.
    options: &'static [&'static str],
}

const SERVICES: [ServiceEntry; 6] = [
    ServiceEntry { service: Service::Fs, schemes: &["file", "fs"], authority: Authority::None, options: &[] },
    ServiceEntry {
        service: Service::S3,
        schemes: &["s3"],
        authority: Authority::Bucket,
        options: &[
            "endpoint",
            "region",
            "storage_class",
            "server_side_encryption",
            "kms_key_id",
            "role_arn",
            "virtual_host_style",
            "checksum",
            "anonymous",
        ],
    },
    ServiceEntry {
        service: Service::Gcs,
        schemes: &["gs", "gcs"],
        authority: Authority::Bucket,
        options: &["endpoint", "storage_class", "anonymous"],
    },
    ServiceEntry {
        service: Service::Azblob,
        schemes: &["azblob", "az"],
        authority: Authority::Bucket,
        options: &["endpoint", "account"],
    },
    ServiceEntry {
        service: Service::Sftp,
        schemes: &["sftp"],
        authority: Authority::Host,
        options: &["identity", "known_hosts"],
    },
    ServiceEntry { service: Service::Ftp, schemes: &["ftp", "ftps"], authority: Authority::Host, options: &[] },
];

/// Words that occur in the name of an option that holds a secret.
const SECRETS: [&str; 9] =
    ["secret", "password", "passwd", "token", "sas", "access_key", "account_key", "credential", "sig"];

/// The address of a remote repository. Prints as its URL without options; it contains no secrets, because none are
/// accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteAddress {
    /// The kind of store.
    pub service: Service,
    /// The scheme as the user wrote it.
    pub scheme: String,
    /// The bucket, the container, or the host with its port; empty for a directory.
    pub authority: String,
    /// The user, for a host.
    pub user: Option<String>,
    /// The directory or prefix: begins with `/`, and does not end with one.
    pub root: String,
    /// Options by their names.
    pub options: BTreeMap<String, String>,
}

/// A text is not the address of a remote repository. A message does not quote the text if it may contain a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It is not a URL of a known scheme.
    #[error(
        "{scheme:?} is no kind of store: a remote is file:///DIR, s3://BUCKET/PREFIX, gs://, azblob://, sftp:// or ftp://"
    )]
    Scheme {
        /// The text before `://`, or the beginning of the whole text.
        scheme: String,
    },
    /// It contains a secret.
    #[error("the address of a remote has a secret in it ({what}); credentials come from the environment")]
    Secret {
        /// The secret: the name of an option, or "a password".
        what: String,
    },
    /// It names no bucket, container, host or directory.
    #[error("the address of a remote names no {what}")]
    Missing {
        /// The missing component.
        what: &'static str,
    },
    /// It has an option that the service does not have.
    #[error("{service}:// has no option {option:?}; it has {}", known(.options))]
    Option {
        /// The scheme.
        service: String,
        /// The option.
        option: String,
        /// The options of the service.
        options: Vec<&'static str>,
    },
    /// It has a fragment, which no store has.
    #[error("the address of a remote has a # in it, and no store has fragments")]
    Fragment,
    /// Its path contains a component that leads upward.
    #[error("the path of a remote has a component {component:?}")]
    Path {
        /// The component.
        component: String,
    },
}

fn known(options: &[&str]) -> String {
    if options.is_empty() { "none".to_owned() } else { options.join(", ") }
}

/// The secret in the URL that is an option's value.
fn secret_in_url(value: &str) -> Option<&'static str> {
    let (_, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("a user");
    }
    rest.contains('?').then_some("a query")
}

impl FromStr for RemoteAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = |scheme: &str| InvalidAddress::Scheme { scheme: scheme.chars().take(20).collect() };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None if text.starts_with('/') => ("file".to_owned(), text),
            None => return Err(unknown(text.split([':', '@', '?']).next().unwrap_or_default())),
        };
        let entry = SERVICES.iter().find(|entry| entry.schemes.contains(&scheme.as_str()));
        let entry = entry.ok_or_else(|| unknown(&scheme))?;
        if rest.contains('#') {
            return Err(InvalidAddress::Fragment);
        }
        // The path of a directory may contain a question mark, but nothing that looks like an option.
        let (rest, query) = match rest.split_once('?') {
            Some(split) if entry.authority != Authority::None || split.1.contains('=') => split,
            _ => (rest, ""),
        };
        let (authority, path) = match entry.authority {
            Authority::None => ("", rest),
            _ => rest.split_once('/').unwrap_or((rest, "")),
        };
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, host)) => {
                if user.contains(':') {
                    return Err(InvalidAddress::Secret { what: "a password".to_owned() });
                }
                if entry.authority != Authority::Host {
                    return Err(InvalidAddress::Secret { what: "a user before @".to_owned() });
                }
                (Some(user.to_owned()), host)
            }
            None => (None, authority),
        };
        match entry.authority {
            Authority::None if !path.starts_with('/') => {
                return Err(InvalidAddress::Missing { what: "absolute path: write file:///DIR" });
            }
            Authority::Bucket if authority.is_empty() => return Err(InvalidAddress::Missing { what: "bucket" }),
            Authority::Host if authority.is_empty() => return Err(InvalidAddress::Missing { what: "host" }),
            _ => {}
        }
        let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
        if let Some(component) = components.iter().find(|component| matches!(**component, "." | "..")) {
            return Err(InvalidAddress::Path { component: (*component).to_owned() });
        }
        if entry.authority == Authority::None && components.is_empty() {
            return Err(InvalidAddress::Missing { what: "directory" });
        }
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let lower = name.to_ascii_lowercase();
            if entry.options.contains(&name) {
                if let Some(what) = secret_in_url(value) {
                    return Err(InvalidAddress::Secret { what: format!("{what} in {name}") });
                }
                options.insert(name.to_owned(), value.to_owned());
            } else if SECRETS.iter().any(|secret| lower.contains(secret)) {
                return Err(InvalidAddress::Secret { what: name.chars().take(40).collect() });
            } else {
                let option = name.chars().take(40).collect();
                return Err(InvalidAddress::Option { service: scheme, option, options: entry.options.to_vec() });
            }
        }
        let root = format!("/{}", components.join("/"));
        Ok(Self { service: entry.service, scheme, authority: authority.to_owned(), user, root, options })
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let root = if self.root == "/" { "" } else { &self.root };
        write!(f, "{}://{user}{}{root}", self.scheme, self.authority)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "an index that does not exist fails the test")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RemoteAddress, InvalidAddress> {
        text.parse()
    }

    #[test]
    fn each_service_is_read_with_its_place_and_options() {
        let s3 = read("s3://bucket/a/b/?endpoint=http://127.0.0.1:5000&region=x").expect("an address");
        assert_eq!((s3.service, s3.authority.as_str(), s3.root.as_str()), (Service::S3, "bucket", "/a/b"));
        assert_eq!(s3.options["endpoint"], "http://127.0.0.1:5000");
        assert_eq!(s3.to_string(), "s3://bucket/a/b");
        assert_eq!(read("/srv/x").expect("an address").to_string(), "file:///srv/x");
        assert_eq!(read("s3://bucket").expect("an address").root, "/");
        let sftp = read("sftp://me@host:2222/srv").expect("an address");
        assert_eq!((sftp.user.as_deref(), sftp.authority.as_str()), (Some("me"), "host:2222"));
        for text in ["gs://b/p", "azblob://c/p?account=a", "ftp://h/p", "file:///x?y"] {
            let address = read(text).expect("an address");
            assert!(text.starts_with(&address.scheme), "{text}");
        }
    }

    #[test]
    fn a_secret_is_refused_and_never_repeated() {
        for text in [
            "s3://b/p?secret_access_key=hunter2",
            "s3://b/p?session_token=hunter2",
            "s3://me:hunter2@b/p",
            "sftp://me:hunter2@host/p",
            "ftp://me:hunter2@host/p",
            "azblob://c/p?account_key=hunter2",
            "azblob://c/p?SAS_token=hunter2",
            "s3://b/p?endpoint=http://me:hunter2@host:9000",
            "s3://b/p?region=x&endpoint=https://hunter2@host",
            "gs://b/p?endpoint=https://host/?key=hunter2",
            "file:///x?token=hunter2",
        ] {
            let error = read(text).expect_err("a secret");
            assert!(matches!(error, InvalidAddress::Secret { .. }), "{text}: {error:?}");
            assert!(!error.to_string().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_fragment_and_an_option_of_a_directory_are_refused_without_their_values() {
        for text in ["file:///x#hunter2", "s3://b/p#hunter2", "/x#hunter2", "file:///x?mode=hunter2"] {
            let error = read(text).expect_err("no address").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "bucket", "s4://b", "s3://", "file://x", "file:///", "sftp:///p", "s3://b/../x", "s3://b?x=1"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
