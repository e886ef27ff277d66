//! `.backup`: the list of files by which ClickHouse's own `RESTORE` reads a tree. `docs/format-native.md` has its
//! fields.
//!
//! Source: `BackupImpl::writeBackupMetadata` and `readBackupMetadata` in ClickHouse's `src/Backups/BackupImpl.cpp`.

use std::fmt;

use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion, escape};

/// The name of the list in the tree.
pub const BACKUP_LIST: &str = ".backup";
/// The version that chsnap writes, and the newest that it reads.
pub const BACKUP_VERSION: u64 = 1;

/// The nesting depth of elements: a list has `config`, `contents`, `file` and its fields.
const MAX_DEPTH: usize = 4;
/// Longer than any path in a tree.
const MAX_TEXT_BYTES: usize = 16 << 10;
/// More files than any server has.
const MAX_FILES: usize = 50_000_000;

/// The hash of a file in a backup: that of `checksums.txt`. Prints as 32 hex digits, the high half first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackupChecksum(pub u128);

impl fmt::Display for BackupChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl BackupChecksum {
    fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

/// A file of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupFile {
    /// Its path in the tree that the backup is of: `data/db/t/all_1_1_0/data.bin`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its hash; zero for an empty file, which is listed without one.
    pub checksum: BackupChecksum,
    /// The path that has its bytes, if that is not its name: another file of the backup is equal.
    pub data_file: Option<String>,
    /// The number of its bytes in another backup, on which this one is based.
    pub base_bytes: u64,
    /// Whether its bytes are ciphertext.
    pub is_encrypted: bool,
}

impl BackupFile {
    /// The path that has its bytes; `None` for an empty file, which need not exist.
    #[must_use]
    pub fn bytes_path(&self) -> Option<&str> {
        (self.bytes > 0).then(|| self.data_file.as_deref().unwrap_or(&self.name))
    }
}

/// The list of the files of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupList {
    /// When it was made, as `2026-11-22 02:00:00` on the clock of its server.
    pub timestamp: String,
    /// Its UUID.
    pub uuid: String,
    /// The backup that it is based on, if any, as a person wrote it.
    pub base: Option<String>,
    /// Its files.
    pub files: Vec<BackupFile>,
}

/// Why a text is not the list of a backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupListError {
    /// It is not well-formed, or not what ClickHouse writes.
    #[error("it is no list that ClickHouse writes: {0}")]
    Malformed(String),
    /// A document type, entities of its own, processing instructions: no server writes one.
    #[error("it has {0}, which no server writes")]
    Unexpected(&'static str),
    /// An element is missing.
    #[error("it has no <{0}>")]
    Missing(&'static str),
    /// A number or a hash cannot be parsed.
    #[error("<{element}> holds {text:?}")]
    Value {
        /// The element.
        element: &'static str,
        /// Its contents, truncated.
        text: String,
    },
    /// It is of a version that this chsnap does not know.
    #[error("it is of version {0}, and this chsnap reads up to {BACKUP_VERSION}")]
    Version(u64),
    /// It is too deep, too long, or has too many files.
    #[error("it has {0} than any backup")]
    TooLarge(&'static str),
}

impl BackupList {
    /// The text before the files, the text of each chunk of them, and the text after them.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let text = |value: &str| escape::escape(value).into_owned();
        let (timestamp, uuid) = (text(&self.timestamp), text(&self.uuid));
        let head = format!(
            "<config><version>{BACKUP_VERSION}</version><deduplicate_files>0</deduplicate_files><timestamp>{timestamp}</timestamp>\
             <uuid>{uuid}</uuid><contents>"
        );
        let files = self.files.chunks(FILES_OF_A_PIECE).map(move |files| files.iter().map(file_text).collect());
        std::iter::once(head).chain(files).chain(std::iter::once("</contents></config>".to_owned()))
    }

    /// Reads a list.
    ///
    /// Memory is bounded by the length of the text: nothing in it is expanded except the five entities of XML itself,
    /// and characters given by number.
    ///
    /// # Errors
    /// See [`BackupListError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BackupListError> {
        let text = std::str::from_utf8(bytes).map_err(|_| BackupListError::Malformed("it is not UTF-8".to_owned()))?;
        let mut parser = Parser::default();
        let mut reader = Reader::from_str(text);
        loop {
            match reader.read_event().map_err(|error| malformed(&error))? {
                Event::Start(element) => parser.begin(element.name().as_ref())?,
                Event::Empty(element) => {
                    parser.begin(element.name().as_ref())?;
                    parser.end()?;
                }
                Event::End(_) => parser.end()?,
                Event::Text(text) => parser.push(&text.xml_content(XmlVersion::Explicit1_0))?,
                Event::CData(text) => parser.push(&text.xml_content(XmlVersion::Explicit1_0))?,
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|error| malformed(&error))?;
                    match character.map(String::from) {
                        Some(character) => parser.push(&character)?,
                        None => parser.push(predefined(&reference.xml_content(XmlVersion::Explicit1_0))?)?,
                    }
                }
                Event::DocType(_) => return Err(BackupListError::Unexpected("a document type")),
                Event::PI(_) => return Err(BackupListError::Unexpected("a processing instruction")),
                Event::Decl(_) | Event::Comment(_) => {}
                Event::Eof => return parser.finish(),
            }
        }
    }
}

/// The number of files in one chunk of text.
const FILES_OF_A_PIECE: usize = 4096;

fn file_text(file: &BackupFile) -> String {
    let BackupFile { name, bytes, checksum, .. } = file;
    let name = escape::escape(name.as_str());
    let checksum = if *bytes > 0 { format!("<checksum>{checksum}</checksum>") } else { String::new() };
    format!("<file><name>{name}</name><size>{bytes}</size>{checksum}</file>")
}

fn malformed(error: &impl ToString) -> BackupListError {
    BackupListError::Malformed(error.to_string().chars().take(200).collect())
}

fn predefined(entity: &str) -> Result<&'static str, BackupListError> {
    match entity {
        "lt" => Ok("<"),
        "gt" => Ok(">"),
        "amp" => Ok("&"),
        "apos" => Ok("'"),
        "quot" => Ok("\""),
        _ => Err(BackupListError::Unexpected("an entity of its own")),
    }
}

/// The state of the parser.
#[derive(Default)]
struct Parser {
    path: Vec<Element>,
    text: String,
    list: BackupList,
    version: Option<u64>,
    has_contents: bool,
    file: Fields,
}

#[derive(Default)]
struct Fields {
    name: Option<String>,
    size: Option<u64>,
    checksum: Option<BackupChecksum>,
    data_file: Option<String>,
    uses_base: bool,
    base_size: Option<u64>,
    is_encrypted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Config,
    Version,
    Timestamp,
    Uuid,
    Base,
    Contents,
    File,
    Name,
    Size,
    Checksum,
    DataFile,
    UseBase,
    BaseSize,
    Encrypted,
    /// An element that does not concern the location of bytes.
    Other,
}

impl Element {
    fn below(parent: Option<Self>, name: &str) -> Option<Self> {
        Some(match (parent, name) {
            (None, "config") => Self::Config,
            (Some(Self::Config), "version") => Self::Version,
            (Some(Self::Config), "timestamp") => Self::Timestamp,
            (Some(Self::Config), "uuid") => Self::Uuid,
            (Some(Self::Config), "base_backup") => Self::Base,
            (Some(Self::Config), "contents") => Self::Contents,
            (Some(Self::Contents), "file") => Self::File,
            (Some(Self::File), "name") => Self::Name,
            (Some(Self::File), "size") => Self::Size,
            (Some(Self::File), "checksum") => Self::Checksum,
            (Some(Self::File), "data_file") => Self::DataFile,
            (Some(Self::File), "use_base") => Self::UseBase,
            (Some(Self::File), "base_size") => Self::BaseSize,
            (Some(Self::File), "encrypted_by_disk") => Self::Encrypted,
            (None | Some(Self::Contents), _) => return None,
            _ => Self::Other,
        })
    }
}

impl Parser {
    fn begin(&mut self, name: impl AsRef<[u8]>) -> Result<(), BackupListError> {
        let name = String::from_utf8_lossy(name.as_ref());
        let element = Element::below(self.path.last().copied(), &name)
            .ok_or_else(|| BackupListError::Malformed(format!("<{}> is out of place", name.escape_debug())))?;
        if self.path.len() >= MAX_DEPTH {
            return Err(BackupListError::TooLarge("more levels"));
        }
        if element == Element::Config && self.version.is_some() {
            return Err(BackupListError::Malformed("there are two of it".to_owned()));
        }
        self.has_contents |= element == Element::Contents;
        self.path.push(element);
        self.text.clear();
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), BackupListError> {
        if self.path.is_empty() && !text.trim().is_empty() {
            return Err(BackupListError::Malformed("there is text around it".to_owned()));
        }
        if self.text.len() + text.len() > MAX_TEXT_BYTES {
            return Err(BackupListError::TooLarge("a longer text"));
        }
        self.text.push_str(text);
        Ok(())
    }

    fn end(&mut self) -> Result<(), BackupListError> {
        let text = std::mem::take(&mut self.text);
        let number = |element| text.trim().parse::<u64>().map_err(|_| value(element, &text));
        let flag = |element| match text.trim() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(value(element, &text)),
        };
        match self.path.pop() {
            Some(Element::Version) => {
                let version = number("version")?;
                if version > BACKUP_VERSION {
                    return Err(BackupListError::Version(version));
                }
                self.version = Some(version);
            }
            Some(Element::Timestamp) => self.list.timestamp = text,
            Some(Element::Uuid) => self.list.uuid = text,
            Some(Element::Base) => self.list.base = Some(text),
            Some(Element::Name) => self.file.name = Some(text),
            Some(Element::Size) => self.file.size = Some(number("size")?),
            Some(Element::Checksum) => {
                let checksum = BackupChecksum::parse(text.trim()).ok_or_else(|| value("checksum", &text))?;
                self.file.checksum = Some(checksum);
            }
            Some(Element::DataFile) => self.file.data_file = Some(text),
            Some(Element::UseBase) => self.file.uses_base = flag("use_base")?,
            Some(Element::BaseSize) => self.file.base_size = Some(number("base_size")?),
            Some(Element::Encrypted) => self.file.is_encrypted = flag("encrypted_by_disk")?,
            Some(Element::File) => {
                if self.list.files.len() >= MAX_FILES {
                    return Err(BackupListError::TooLarge("more files"));
                }
                let file = std::mem::take(&mut self.file).finish()?;
                self.list.files.push(file);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<BackupList, BackupListError> {
        if !self.path.is_empty() {
            return Err(BackupListError::Malformed("it ends early".to_owned()));
        }
        self.version.ok_or(BackupListError::Missing("version"))?;
        if !self.has_contents {
            return Err(BackupListError::Missing("contents"));
        }
        Ok(self.list)
    }
}

impl Fields {
    fn finish(self) -> Result<BackupFile, BackupListError> {
        let bytes = self.size.ok_or(BackupListError::Missing("size"))?;
        let checksum = match self.checksum {
            None if bytes > 0 => return Err(BackupListError::Missing("checksum")),
            checksum => checksum.filter(|_| bytes > 0).unwrap_or_default(),
        };
        let base_bytes = self.base_size.unwrap_or(if self.uses_base { bytes } else { 0 });
        let name = self.name.ok_or(BackupListError::Missing("name"))?;
        let data_file = self.data_file.filter(|data_file| bytes > 0 && *data_file != name);
        Ok(BackupFile { name, bytes, checksum, data_file, base_bytes, is_encrypted: self.is_encrypted })
    }
}

fn value(element: &'static str, text: &str) -> BackupListError {
    BackupListError::Value { element, text: text.chars().take(100).collect() }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::{BackupChecksum, BackupFile, BackupList, BackupListError};

    fn file() -> impl Strategy<Value = BackupFile> {
        ("[ -~é]{1,30}", prop_oneof![Just(0_u64), any::<u64>()], any::<u128>()).prop_map(|(name, bytes, checksum)| {
            let checksum = BackupChecksum(if bytes > 0 { checksum } else { 0 });
            BackupFile { name, bytes, checksum, ..BackupFile::default() }
        })
    }

    proptest! {
        #[test]
        fn a_list_reads_as_it_was_written(files in proptest::collection::vec(file(), 0..10), uuid in "[0-9a-f-]{0,36}") {
            let list = BackupList { timestamp: "2026-11-22 02:00:00".to_owned(), uuid, base: None, files };
            let text: String = list.texts().collect();
            prop_assert_eq!(BackupList::parse(text.as_bytes()), Ok(list));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[<>/a-z&;!?\\[\\]\" ]{0,200}") {
            drop(BackupList::parse(&bytes));
            drop(BackupList::parse(text.as_bytes()));
        }
    }

    #[test]
    fn a_list_written_by_a_server_is_parsed() {
        let text = "<config><version>1</version><deduplicate_files>1</deduplicate_files><timestamp>2026-11-29 20:02:06</timestamp>\
            <uuid>3728ed3e-936a-4f44-a866-ee44a27d3dca</uuid><backup_id>x</backup_id><contents>\
            <file><name>data/lab/c/all_1_1_0/columns.txt</name><size>59</size><checksum>9561bf60f5464c6d87b53c56213e965a</checksum></file>\
            <file><name>data/lab/c/all_2_2_0/columns.txt</name><size>59</size><checksum>9561bf60f5464c6d87b53c56213e965a</checksum>\
            <data_file>data/lab/c/all_1_1_0/columns.txt</data_file></file>\
            <file><name>data/lab/t/0_1_1_0/p.bin</name><size>0</size></file>\
            <file><name>e</name><size>7</size><checksum>00000000000000000000000000000001</checksum><use_base>true</use_base>\
            <encrypted_by_disk>true</encrypted_by_disk></file></contents></config>";
        let list = BackupList::parse(text.as_bytes()).expect("a list");
        let paths: Vec<_> = list.files.iter().map(BackupFile::bytes_path).collect();
        let first = Some("data/lab/c/all_1_1_0/columns.txt");
        assert_eq!(paths, [first, first, None, Some("e")]);
        assert_eq!(list.files[0].checksum.to_string(), "9561bf60f5464c6d87b53c56213e965a");
        assert_eq!((list.files[3].base_bytes, list.files[3].is_encrypted), (7, true));
        assert_eq!(list.timestamp, "2026-11-29 20:02:06");
    }

    #[test]
    fn hostile_lists_are_refused_for_their_reason() {
        let config = |inside: &str| format!("<config><version>1</version><contents>{inside}</contents></config>");
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><config/>".to_owned();
        let deep = "<config>".to_owned() + &"<x>".repeat(10);
        let refused = |text: &str| BackupList::parse(text.as_bytes()).expect_err("no list");
        assert_eq!(refused(&bomb), BackupListError::Unexpected("a document type"));
        assert_eq!(
            refused(&config("<file><name>&b;</name></file>")),
            BackupListError::Unexpected("an entity of its own")
        );
        assert_eq!(refused(&deep), BackupListError::TooLarge("more levels"));
        assert_eq!(refused(&config("<file><size>1</size></file>")), BackupListError::Missing("checksum"));
        assert_eq!(refused(&config("<file><name>a</name></file>")), BackupListError::Missing("size"));
        assert!(matches!(refused(&config("<file><size>-1</size></file>")), BackupListError::Value { .. }));
        assert!(matches!(
            refused(&config("<file><size>99999999999999999999</size></file>")),
            BackupListError::Value { .. }
        ));
        assert_eq!(refused("<config><version>7</version></config>"), BackupListError::Version(7));
        assert_eq!(refused("<config><version>1</version></config>"), BackupListError::Missing("contents"));
        for text in ["", "x", "<a/>", "<config>", "<config></x>", "<config><version>1</version><contents>"] {
            assert!(BackupList::parse(text.as_bytes()).is_err(), "{text}");
        }
        let long = config(&format!("<file><name>{}</name></file>", "a".repeat(20_000)));
        assert_eq!(refused(&long), BackupListError::TooLarge("a longer text"));
    }
}
