//! Text that is valid in a systemd unit and in a cron line.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::failure::CommandFailure;

/// The name of the option: configuration keys are written with `_`, and variables in capitals.
fn named(name: &str) -> String {
    if name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
        return name.to_owned();
    }
    format!("--{}", name.replace('_', "-"))
}

/// A value that stays on its line, because another line would be another directive.
///
/// # Errors
/// If it contains a control character; the value itself is not repeated.
pub(super) fn checked(name: &str, value: &str) -> Result<String, CommandFailure> {
    let Some(letter) = value.chars().find(|letter| letter.is_control()) else { return Ok(value.to_owned()) };
    let message = format!("the value of {} has a control character, {letter:?}", named(name));
    Err(CommandFailure::usage(message)
        .with_hint("no unit of systemd and no line of cron can hold it: give a value without"))
}

/// A path in the form for a unit: absolute, without `..`.
///
/// # Errors
/// If it contains a control character, is not UTF-8, or goes up from a symbolic link.
pub(super) fn absolute(name: &str, path: &Path) -> Result<String, CommandFailure> {
    let text =
        path.to_str().ok_or_else(|| CommandFailure::usage(format!("the value of {} is not UTF-8", named(name))))?;
    checked(name, text)?;
    let normal = normal(path).map_err(|link| {
        let message = format!(
            "the path of {} goes up by .. from the symbolic link {}: {}",
            named(name),
            link.display(),
            path.display()
        );
        let real = std::fs::canonicalize(path).map(|real| real.display().to_string());
        CommandFailure::usage(message)
            .with_hint(format!("write it without ..: {}", real.as_deref().unwrap_or("from the root on")))
    })?;
    let text = normal.into_os_string().into_string();
    // The directory from which a relative path starts may contain what the path does not.
    text.map_err(|_| CommandFailure::usage(format!("the value of {} is not UTF-8", named(name))))
        .and_then(|text| checked(name, &text))
}

/// The absolute path, without `.` and `..`.
///
/// # Errors
/// The symbolic link from which it goes up: the path does not show where that leads.
pub(super) fn normal(path: &Path) -> Result<PathBuf, PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut normal = PathBuf::from("/");
    for part in absolute.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir if std::fs::symlink_metadata(&normal).is_ok_and(|stat| stat.is_symlink()) => {
                return Err(normal);
            }
            Component::ParentDir => {
                normal.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(normal)
}

/// The path of the program that a unit runs: this program, one named by a path, or one found through `PATH`. Whether it
/// can be executed is checked only if it is to be installed here.
///
/// # Errors
/// If systemd cannot start a program with that path, or it is not a program.
pub(super) fn program(given: Option<&Path>, is_installed: bool) -> Result<String, CommandFailure> {
    let path = match given {
        Some(name) if !name.as_os_str().is_empty() && !name.to_string_lossy().contains('/') => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found =
                std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| is_program(path));
            found.ok_or_else(|| {
                CommandFailure::usage(format!("no directory of PATH has the program {:?}", name.display()))
                    .with_hint("write its absolute path: --program /usr/bin/chsnap")
            })?
        }
        Some(path) => path.to_owned(),
        None => std::env::current_exe().map_err(|error| {
            CommandFailure::failed("this program's own path is not known").caused_by(error.to_string())
        })?,
    };
    let text = absolute("program", &path)?;
    if let Some(letter) = text.chars().find(|letter| matches!(letter, '\'' | '"' | '\\' | '$')) {
        let message = format!("systemd starts no program whose path has {letter} in it: {text}");
        return Err(
            CommandFailure::usage(message).with_hint("put chsnap into another directory, or name one with --program")
        );
    }
    if is_installed && !is_program(Path::new(&text)) {
        let message = format!("the program of the unit does not exist, or cannot be run: {text}");
        return Err(CommandFailure::usage(message).with_hint("name an executable program with --program"));
    }
    Ok(text)
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|stat| stat.is_file() && stat.permissions().mode() & 0o111 != 0)
}

/// Days, hours, minutes and seconds, in one word: `31days`, `1day12h`, `90m` as `1h30m`. Months and years are not used,
/// because their lengths differ.
pub(super) fn plain_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let days = match seconds / 86_400 {
        0 => String::new(),
        1 => "1day".to_owned(),
        days => format!("{days}days"),
    };
    let rest = Duration::new(seconds % 86_400, time.subsec_nanos());
    if rest.is_zero() && !days.is_empty() {
        return days;
    }
    format!("{days}{}", humantime::format_duration(rest).to_string().replace(' ', ""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::plain_duration;

    #[test]
    fn a_duration_is_one_word_that_means_the_same() {
        for (seconds, text) in [
            (31 * 86_400, "31days"),
            (86_400, "1day"),
            (129_600, "1day12h"),
            (5400, "1h30m"),
            (366 * 86_400, "366days"),
        ] {
            let time = Duration::from_secs(seconds);
            assert_eq!(plain_duration(time), text);
            assert_eq!(humantime::parse_duration(text).expect("a duration"), time);
        }
    }
}
