//! Servers of object stores, on the loopback, one for each protocol that chsnap speaks.
//!
//! | service | server | falls short of the real one |
//! |---|---|---|
//! | `s3` | `moto` (PyPI) | no TLS, no permissions, no throttling; takes any credentials |
//! | `google` | `gcp-storage-emulator` (PyPI) | no TLS, no credentials, no conditions (`ifGenerationMatch` is ignored) |
//! | `azure` | `azurite` (npm) | no TLS; objects are in memory, so no tiers; signatures are checked |
//! | `sftp` | `openssh-server` (Debian) | nothing: it is the server itself, here with a key and without PAM |
//! | `ftp` | `vsftpd` (Debian) | nothing: it is the server itself, here with an anonymous user and without TLS |
//! | `directory` | none | it is the filesystem itself |
//!
//! `tests/support/engines/install stores`, `azurite` and `fileservers` fetch them.

use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::engine::free_port;

/// Credentials for `moto`, which accepts any.
pub const KEY: &str = "AKIAEXAMPLE";
pub const SECRET: &str = "hunter2-hunter2";
/// The account of `azurite`, and its key in base64.
const ACCOUNT: &str = "account";
const ACCOUNT_KEY: &str = "aHVudGVyMi1odW50ZXIyLWh1bnRlcjItaHVudGVyMg==";

/// A user that every Debian has, whose home exists: vsftpd wants one.
const DAEMON: u32 = 1;

/// Makes a test of each service of one, `name::case_1_s3` and so on. The server is `None` if its program is not here.
#[rstest_reuse::template]
#[export]
#[rstest]
#[case::s3(testkit::object_store::here(testkit::object_store::ObjectServer::s3()))]
#[case::google(testkit::object_store::here(testkit::object_store::ObjectServer::google()))]
#[case::azure(testkit::object_store::here(testkit::object_store::ObjectServer::azure()))]
#[case::sftp(testkit::object_store::here(testkit::object_store::ObjectServer::sftp()))]
#[case::ftp(testkit::object_store::here(testkit::object_store::ObjectServer::ftp()))]
#[case::directory(testkit::object_store::here(testkit::object_store::ObjectServer::directory()))]
fn each_service(#[case] server: Option<ObjectServer>) {}

/// The server; `None`, and a line that says so, if its program is not here.
pub fn here(server: Result<ObjectServer, String>) -> Option<ObjectServer> {
    server.inspect_err(|missing| eprintln!("NOT RUN: {missing}")).ok()
}

/// A server with one bucket, `bucket`, which ends with this value.
#[derive(Debug)]
pub struct ObjectServer {
    child: Option<Child>,
    pub port: u16,
    /// The address of an empty place in it.
    pub address: String,
    /// What a command needs in its environment.
    pub environment: Vec<(String, String)>,
    /// Texts that no command may write.
    pub secrets: Vec<String>,
    folder: TempDir,
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The folder in which `tests/support/engines/install` puts what it fetches.
fn cache() -> PathBuf {
    std::env::var_os("CHSNAP_ENGINES").map_or_else(|| crate::root().join(".engines"), PathBuf::from)
}

/// A program of `install stores`.
fn of_python(name: &str) -> Result<PathBuf, String> {
    let stores = std::env::var_os("CHSNAP_STORES").map_or_else(|| cache().join("stores"), PathBuf::from);
    existing(stores.join("bin").join(name), "stores")
}

fn existing(program: PathBuf, wanted: &str) -> Result<PathBuf, String> {
    if program.exists() {
        return Ok(program);
    }
    Err(format!("{} is missing: tests/support/engines/install {wanted}", program.display()))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl ObjectServer {
    /// S3's protocol.
    ///
    /// # Errors
    /// If its server is not here.
    pub fn s3() -> Result<Self, String> {
        let program = of_python("moto_server")?;
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut server = Self::start(command, port);
        server.put("", &[]);
        server.address = format!("s3://bucket/chsnap?endpoint=http://127.0.0.1:{port}&region=us-east-1");
        server.give("AWS_ACCESS_KEY_ID", KEY);
        server.give("AWS_SECRET_ACCESS_KEY", SECRET);
        server.secrets.push(SECRET.to_owned());
        Ok(server)
    }

    /// Google's protocol.
    ///
    /// # Errors
    /// If its server is not here.
    pub fn google() -> Result<Self, String> {
        let program = of_python("gcp-storage-emulator")?;
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["start", "--host", "127.0.0.1", "--in-memory", "--default-bucket", "bucket"]);
        command.args(["--port", &port.to_string()]);
        let mut server = Self::start(command, port);
        server.address = format!("gs://bucket/p?endpoint=http://127.0.0.1:{port}&anonymous");
        Ok(server)
    }

    /// Azure's protocol.
    ///
    /// # Errors
    /// If its server, or Node.js, is not here.
    pub fn azure() -> Result<Self, String> {
        let program = existing(cache().join("azurite/node_modules/.bin/azurite-blob"), "azurite")?;
        if Command::new("node").arg("--version").output().is_err() {
            return Err("Node.js is missing".to_owned());
        }
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
        command.args(["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
        command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{ACCOUNT_KEY}"));
        let mut server = Self::start(command, port);
        let made = Command::new("node")
            .args(["-e", MAKE_CONTAINER, &port.to_string(), ACCOUNT, ACCOUNT_KEY])
            .output()
            .expect("node starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.address = format!("azblob://bucket/p?account={ACCOUNT}&endpoint=http://127.0.0.1:{port}/{ACCOUNT}");
        server.give("AZURE_STORAGE_KEY", ACCOUNT_KEY);
        server.secrets.push(ACCOUNT_KEY.to_owned());
        Ok(server)
    }

    /// A directory by SSH, with keys of its own and a host key that only this command knows.
    ///
    /// # Errors
    /// If the server is not here, or not the client.
    pub fn sftp() -> Result<Self, String> {
        let program = existing(cache().join("fileservers/run"), "fileservers")?;
        let ssh = (std::env::var_os("PATH").iter().flat_map(std::env::split_paths))
            .map(|folder| folder.join("ssh"))
            .find(|ssh| ssh.exists())
            .ok_or("ssh is missing")?;
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let place = |name: &str| folder.path().join(name);
        for name in ["host_key", "key"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place(name)).status();
            assert!(made.expect("ssh-keygen starts").success());
        }
        let text = |path: PathBuf| path.to_str().expect("text").to_owned();
        let configuration = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             MaxStartups 100\nSubsystem sftp internal-sftp\n",
            text(place("host_key")),
            text(place("key.pub")),
        );
        std::fs::write(place("sshd_config"), configuration).expect("written");
        let serve = format!("exec {} sshd -D -e -f {}", text(program), text(place("sshd_config")));
        let mut command = if is_root() {
            // As root sshd wants a user and a directory of its own: in a mount namespace, nothing of this machine changes.
            let script = format!(
                "set -e; cp /etc/passwd {passwd}; echo 'sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin' >>{passwd}; \
                 mount --bind {passwd} /etc/passwd; mount -t tmpfs none /run; mkdir -p /run/sshd; {serve}",
                passwd = text(place("passwd")),
            );
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", &script]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", &serve]);
            command
        };
        command.current_dir(folder.path());
        let mut server = Self::start_in(command, port, folder);
        let own = Command::new("id").arg("-un").output().expect("id starts");
        let user = String::from_utf8_lossy(&own.stdout).trim().to_owned();
        let host_key = std::fs::read_to_string(server.place("host_key.pub")).expect("a key");
        std::fs::write(server.place("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).expect("written");
        // The client reads the hosts that it knows from a file of the test, not from that of the user.
        let bin = server.place("bin");
        std::fs::create_dir(&bin).expect("made");
        let wrapper = format!(
            "#!/bin/sh\nexec {} -o UserKnownHostsFile={} \"$@\"\n",
            text(ssh),
            text(server.place("known_hosts"))
        );
        std::fs::write(bin.join("ssh"), wrapper).expect("written");
        std::fs::set_permissions(bin.join("ssh"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let path = std::env::var("PATH").unwrap_or_default();
        server.give("PATH", &format!("{}:{path}", text(bin)));
        server.address = format!(
            "sftp://{user}@127.0.0.1:{port}{}?identity={}",
            text(server.place("store")),
            text(server.place("key"))
        );
        Ok(server)
    }

    /// A directory by FTP.
    ///
    /// # Errors
    /// If its server is not here, or this is not root, as which it starts.
    pub fn ftp() -> Result<Self, String> {
        let program = existing(cache().join("fileservers/run"), "fileservers")?;
        if !is_root() {
            return Err("vsftpd starts as root".to_owned());
        }
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        for name in ["empty", "root", "root/files"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        chown(folder.path().join("root/files"), Some(DAEMON), Some(DAEMON)).expect("given");
        let text = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
        let configuration = format!(
            "listen=YES\nbackground=NO\nlisten_address=127.0.0.1\nlisten_port={port}\nanonymous_enable=YES\n\
             local_enable=NO\nwrite_enable=YES\nanon_upload_enable=YES\nanon_mkdir_write_enable=YES\n\
             anon_other_write_enable=YES\nanon_world_readable_only=NO\nanon_umask=022\nanon_root={}\n\
             allow_writeable_chroot=YES\nno_anon_password=YES\nftp_username=daemon\nnopriv_user=nobody\n\
             secure_chroot_dir={}\npasv_enable=YES\npasv_address=127.0.0.1\nseccomp_sandbox=NO\n\
             connect_from_port_20=NO\nxferlog_enable=NO\n",
            text("root"),
            text("empty"),
        );
        std::fs::write(folder.path().join("vsftpd.conf"), configuration).expect("written");
        let mut command = Command::new(program);
        command.arg("vsftpd").arg(folder.path().join("vsftpd.conf"));
        let mut server = Self::start_in(command, port, folder);
        server.address = format!("ftp://anonymous@127.0.0.1:{port}/files/store");
        server.give("CHSNAP_FTP_PASSWORD", SECRET);
        server.secrets.push(SECRET.to_owned());
        Ok(server)
    }

    /// A directory.
    ///
    /// # Errors
    /// None.
    pub fn directory() -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let address = format!("file://{}", folder.path().join("store").display());
        Ok(Self { child: None, port: 0, address, environment: Vec::new(), secrets: Vec::new(), folder })
    }

    fn start(command: Command, port: u16) -> Self {
        Self::start_in(command, port, tempfile::tempdir().expect("a folder"))
    }

    #[track_caller]
    fn start_in(mut command: Command, port: u16, folder: TempDir) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts");
        let mut server = Self {
            child: Some(child),
            port,
            address: String::new(),
            environment: Vec::new(),
            secrets: Vec::new(),
            folder,
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.child.as_mut().and_then(|child| child.try_wait().expect("its state"));
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn give(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stores these bytes under a key of the bucket of S3; the empty key makes the bucket.
    #[track_caller]
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let encoded: String = key.bytes().map(encoded).collect();
        let made = ureq::put(format!("http://127.0.0.1:{}/bucket/{encoded}", self.port).trim_end_matches('/'))
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request"))
            .header("content-type", "application/octet-stream")
            .send(bytes);
        assert!(made.is_ok(), "{key}: {made:?}");
    }

    /// Makes a bucket of S3 whose new objects are locked for this number of days.
    #[track_caller]
    pub fn lock_bucket(&self, bucket: &str, mode: &str, days: u32) {
        let url = format!("http://127.0.0.1:{}/{bucket}", self.port);
        let created = signed(ureq::put(&url)).header("x-amz-bucket-object-lock-enabled", "true").send(&[] as &[u8]);
        assert!(created.is_ok(), "{created:?}");
        let rule = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>{mode}\
             </Mode><Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
        );
        let set = signed(ureq::put(format!("{url}?object-lock"))).send(rule.as_bytes());
        assert!(set.is_ok(), "{set:?}");
    }

    /// Sets the lock of an object of S3. `moto` lets it be shortened, as if time had passed.
    #[track_caller]
    pub fn set_lock(&self, bucket: &str, key: &str, mode: &str, until: &str) {
        let url = format!("http://127.0.0.1:{}/{bucket}/{key}?retention", self.port);
        let body = format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>");
        // Which sum it is, is not looked at.
        let set = signed(ureq::put(&url)).header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==").send(body.as_bytes());
        assert!(set.is_ok(), "{set:?}");
    }

    /// The mode and the end of the lock of an object of S3.
    #[track_caller]
    pub fn lock_of(&self, bucket: &str, key: &str) -> Option<(String, String)> {
        let url = format!("http://127.0.0.1:{}/{bucket}/{key}", self.port);
        let found = ureq::head(&url).header("authorization", AUTHORIZATION).call().expect("it is there");
        let header = |name: &str| Some(found.headers().get(name)?.to_str().ok()?.to_owned());
        Some((header("x-amz-object-lock-mode")?, header("x-amz-object-lock-retain-until-date")?))
    }

    /// The keys in a bucket of S3 that begin with `prefix`, at most a thousand.
    #[track_caller]
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let url = format!("http://127.0.0.1:{}/{bucket}?list-type=2&prefix={prefix}", self.port);
        let mut found = ureq::get(&url).header("authorization", AUTHORIZATION).call().expect("a list");
        let text = found.body_mut().read_to_string().expect("text");
        text.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned())).collect()
    }

    /// Whether the present version of an object of S3 can be removed for good.
    #[track_caller]
    pub fn removes_version(&self, bucket: &str, key: &str) -> bool {
        let url = format!("http://127.0.0.1:{}/{bucket}/{key}", self.port);
        let found = ureq::head(&url).header("authorization", AUTHORIZATION).call().expect("it is there");
        let version = found.headers().get("x-amz-version-id").expect("a version").to_str().expect("text").to_owned();
        ureq::delete(format!("{url}?versionId={version}")).header("authorization", AUTHORIZATION).call().is_ok()
    }

    /// Stores every file below a directory, under its path with this prefix.
    #[track_caller]
    pub fn put_tree(&self, directory: &Path, prefix: &str) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("an entry");
            let key = format!("{prefix}/{}", entry.file_name().to_str().expect("a name"));
            if entry.path().is_dir() {
                self.put_tree(&entry.path(), &key);
            } else {
                self.put(&key, &std::fs::read(entry.path()).expect("readable"));
            }
        }
    }
}

/// What `moto` takes for a signature.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/s3/aws4_request";

fn signed(request: ureq::RequestBuilder<ureq::typestate::WithBody>) -> ureq::RequestBuilder<ureq::typestate::WithBody> {
    request.header("authorization", AUTHORIZATION).header("content-type", "application/xml")
}

/// Makes the container, by a request that is signed as Azure's are.
const MAKE_CONTAINER: &str = "\
const [port, account, key] = process.argv.slice(1);
const date = new Date().toUTCString(), version = '2021-08-06';
const text = `PUT\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\nx-ms-date:${date}\\nx-ms-version:${version}\\n/${account}/${account}/bucket\\nrestype:container`;
const sign = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64');
const headers = { 'x-ms-date': date, 'x-ms-version': version, Authorization: `SharedKey ${account}:${sign}`, 'Content-Length': 0 };
const request = require('http').request({ host: '127.0.0.1', port, method: 'PUT', path: `/${account}/bucket?restype=container`, headers }, answer => {
  if (answer.statusCode !== 201) { console.error(answer.statusCode); answer.pipe(process.stderr); process.exitCode = 1; }
});
request.end();
";

/// A byte of a key in an address.
fn encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}
