//! A regular file that is read as a stream.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};

use super::dir::Dir;
use super::error::FsError;

/// An open regular file, read from its beginning.
#[derive(Debug)]
pub struct FileReader(File);

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Dir {
    /// Opens a regular file to be read as a stream.
    ///
    /// # Errors
    /// If it does not exist, is not a regular file, or cannot be opened.
    pub fn file_reader(&self, name: impl AsRef<OsStr>) -> Result<FileReader, FsError> {
        self.open_regular(name.as_ref()).map(|(_, file)| FileReader(file))
    }
}
