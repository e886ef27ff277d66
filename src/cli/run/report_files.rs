//! Files for the last hook: texts that are too long for a variable.

use std::path::{Path, PathBuf};

use chrono::Utc;
use chsnap::fs::{self, Dir, FsError};
use chsnap::ops::nightly::NightReport;
use serde_json::Value;

use super::summary;

/// A directory of this run with the files; dropping this value removes both.
pub(super) struct ReportFiles {
    above: Dir,
    name: String,
    dir: Dir,
}

const WARNINGS: &str = "warnings.txt";
const SUMMARY: &str = "summary.json";

impl ReportFiles {
    /// Writes the warnings, one per line, and the summary as `--json` prints it, readable for this user only.
    ///
    /// # Errors
    /// Why it failed.
    pub(super) fn write(report: &NightReport<Value>, code: u8) -> Result<Self, String> {
        let text = |error: FsError| chsnap::monitor::chain(&error);
        let above = Dir::open(&std::env::temp_dir(), fs::real()).map_err(text)?;
        let name = format!("chsnap-run-{}-{}", std::process::id(), Utc::now().format("%Y%m%d%H%M%S%9f"));
        above.create_dir(&name, 0o700).map_err(text)?;
        let dir = above.open_dir(&name).map_err(text)?;
        let files = Self { above, name, dir };
        let warnings = report.all_warnings();
        let lines: String =
            warnings.iter().flat_map(|warning| [warning.message.replace('\n', " "), "\n".to_owned()]).collect();
        files.dir.write_new(WARNINGS, 0o600, lines.as_bytes()).map_err(text)?;
        let document = format!("{}\n", summary::document(report, code));
        files.dir.write_new(SUMMARY, 0o600, document.as_bytes()).map_err(text)?;
        Ok(files)
    }

    /// The variables that name the files.
    pub(super) fn environment(&self) -> [(&'static str, String); 2] {
        let path = |name: &str| Path::new(self.dir.path()).join(name);
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        [("CHSNAP_RUN_WARNINGS_FILE", text(path(WARNINGS))), ("CHSNAP_RUN_SUMMARY_FILE", text(path(SUMMARY)))]
    }
}

impl Drop for ReportFiles {
    fn drop(&mut self) {
        let removed = [WARNINGS, SUMMARY].into_iter().try_for_each(|name| self.dir.remove_file(name));
        if let Err(error) = removed.and_then(|()| self.above.remove_dir(&self.name)) {
            tracing::debug!(error = chsnap::monitor::chain(&error), "the files of a hook are not removed");
        }
    }
}
