//! Keeps the rows of one table as a file: written while the server sends them, read while the server receives them.

use std::io::{self, Read, Write};

use crate::fs::{Dir, FileReader, FsError, NewFile};

/// The result of writing a dump's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenDump {
    /// Bytes that were written to it, before compression.
    pub bytes: u64,
    /// BLAKE3 of those bytes.
    pub content: blake3::Hash,
    /// Bytes of the file as stored.
    pub stored_bytes: u64,
    /// BLAKE3 of the file as stored.
    pub stored: blake3::Hash,
}

/// Compresses with zstd into a new file. It never holds more than some hundred KiB in memory.
pub struct DumpWriter<'a> {
    encoder: zstd::Encoder<'static, Sink<'a>>,
    bytes: u64,
    content: blake3::Hasher,
}

impl std::fmt::Debug for DumpWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DumpWriter").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The file behind the compressor, which reports errors only as [`io::Error`].
struct Sink<'a> {
    file: NewFile<'a>,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Write for Sink<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer).map_err(io::Error::other)?;
        self.bytes += buffer.len() as u64;
        self.hasher.update(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> DumpWriter<'a> {
    /// Creates the file `name` in `dir`, where no such entry exists. Only its owner may read it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(dir: &'a Dir, name: &str) -> Result<Self, FsError> {
        let file = dir.begin_file(name, 0o600)?;
        let sink = Sink { file, bytes: 0, hasher: blake3::Hasher::new() };
        let mut encoder =
            zstd::Encoder::new(sink, zstd::DEFAULT_COMPRESSION_LEVEL).map_err(|error| failed(dir, name, error))?;
        // The end of the frame reveals a truncated file.
        encoder.include_checksum(true).map_err(|error| failed(dir, name, error))?;
        Ok(Self { encoder, bytes: 0, content: blake3::Hasher::new() })
    }

    /// Bytes that were written so far, before compression.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the next piece.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), FsError> {
        self.bytes += piece.len() as u64;
        self.content.update(piece);
        let written = self.encoder.write_all(piece);
        written.map_err(|error| self.encoder.get_ref().file.failed(error))
    }

    /// Finishes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> Result<WrittenDump, FsError> {
        let Self { encoder, bytes, content } = self;
        let Sink { file, bytes: stored_bytes, hasher } = match encoder.try_finish() {
            Ok(sink) => sink,
            Err((encoder, error)) => return Err(encoder.get_ref().file.failed(error)),
        };
        file.close()?;
        Ok(WrittenDump { bytes, content: content.finalize(), stored_bytes, stored: hasher.finalize() })
    }
}

/// Returns the filesystem's error that the compressor passed on, or else the compressor's own.
fn failed(dir: &Dir, name: &str, error: io::Error) -> FsError {
    match error.downcast::<FsError>() {
        Ok(error) => error,
        Err(error) => FsError::new("compress", &dir.path().join(name), error),
    }
}

/// Reads a dump's file, decompressed.
pub struct DumpReader(zstd::Decoder<'static, io::BufReader<FileReader>>);

impl std::fmt::Debug for DumpReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DumpReader").finish_non_exhaustive()
    }
}

impl DumpReader {
    /// Opens the file `name` in `dir`.
    ///
    /// # Errors
    /// If it does not exist, is not a regular file, or cannot be read.
    pub fn open(dir: &Dir, name: &str) -> Result<Self, FsError> {
        let decoder = zstd::Decoder::new(dir.file_reader(name)?);
        decoder.map(Self).map_err(|error| FsError::new("decompress", &dir.path().join(name), error))
    }
}

impl Read for DumpReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::{DumpReader, DumpWriter};
    use crate::fs::{Dir, real};

    #[test]
    fn dumps_are_read_back_and_equal_rows_make_equal_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = Dir::open(folder.path(), real()).expect("open");
        let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let write = |name: &str, pieces: usize| {
            let mut writer = DumpWriter::create(&dir, name).expect("begun");
            for piece in bytes.chunks(pieces) {
                writer.write(piece).expect("written");
            }
            assert_eq!(writer.bytes(), bytes.len() as u64);
            writer.finish().expect("ended")
        };
        let (one, two) = (write("one", 1000), write("two", 777_777));
        assert_eq!(one.content, two.content);
        assert_eq!(one.content, blake3::hash(&bytes));
        let stored = std::fs::read(folder.path().join("one")).expect("read");
        assert_eq!((one.stored_bytes, one.stored), (stored.len() as u64, blake3::hash(&stored)));
        assert!(one.stored_bytes < one.bytes / 2, "{one:?}");
        let mut read = Vec::new();
        DumpReader::open(&dir, "two").expect("open").read_to_end(&mut read).expect("read");
        assert!(read == bytes, "other bytes came back");
        // A truncated file is an error; it must not read as fewer rows.
        std::fs::write(folder.path().join("short"), stored.get(..stored.len() / 2).expect("half")).expect("written");
        let mut reader = DumpReader::open(&dir, "short").expect("open");
        reader.read_to_end(&mut Vec::new()).expect_err("it is cut short");
    }
}
