//! The page about a repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use chsnap::repo::Event;
use serde_json::Value;

use crate::support::Lab;

fn page_of(lab: &Lab, arguments: &[&str]) -> String {
    let path = lab.path().join("page.html");
    let file = path.to_str().expect("a path");
    let answer = lab.run(0, &[&["--json", "report", "--html", file], arguments].concat());
    let answer: Value = serde_json::from_str(&answer.stdout).expect("a document");
    let page = fs::read_to_string(&path).expect("the page");
    assert_eq!((&answer["schema"], &answer["bytes"]), (&"chsnap.report.v1".into(), &page.len().into()));
    page
}

/// Nights up to now, so that the newest one is young.
fn recent(count: i64) -> (Lab, Vec<String>) {
    let lab = Lab::new();
    let now = chrono::Utc::now();
    let at = |back: i64| (now - chrono::TimeDelta::days(back) - chrono::TimeDelta::hours(1)).to_rfc3339();
    let ids = (0..count).rev().map(|back| lab.snapshot(&at(back))).collect();
    (lab, ids)
}

#[test]
fn the_page_says_first_whether_all_is_well() {
    let (lab, _) = recent(3);
    assert!(page_of(&lab, &[]).contains("All is well. The newest snapshot is 1 h old."));
    let late = page_of(&lab, &["--warn", "30m"]);
    assert!(late.contains("class=\"verdict warning\"") && late.contains("the last night was missed"));
    assert!(page_of(&lab, &["--warn", "10m", "--crit", "30m"]).contains("class=\"verdict bad\""));
    let lab = Lab::new();
    let empty = page_of(&lab, &[]);
    assert!(empty.contains("There is no good snapshot.") && empty.contains("chsnap create"), "{empty}");
}

#[test]
fn the_page_needs_no_other_file_and_no_network_and_can_be_listened_to() {
    let (lab, nights) = recent(20);
    let page = page_of(&lab, &["--keep-daily", "7", "--keep-weekly", "2"]);
    for outside in ["http://", "https://", "src=", "url(", "<script", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.starts_with("<!doctype html><html lang=\"en\">") && page.contains("name=\"viewport\""));
    assert!(page.contains("prefers-color-scheme:dark"));
    // Each picture says what it shows, and a table of its figures stands below it.
    let (pictures, figures) = (page.matches("role=\"img\"").count(), page.matches("<details>").count());
    assert!(pictures >= 3 && figures >= 3, "{pictures} {figures}");
    assert_eq!(page.matches("<title id=").count(), pictures);
    assert_eq!(page.matches("<desc id=").count(), pictures);
    for open in ["section", "table", "svg", "details", "div", "dl", "ul"] {
        assert_eq!(page.matches(&format!("<{open}")).count(), page.matches(&format!("</{open}>")).count(), "{open}");
    }
    for night in nights {
        assert!(page.contains(&night), "{night}");
    }
    assert!(
        page.contains("daily 7/7") && page.contains("no rule keeps it") && page.contains("class=\"go\""),
        "what stays, and why"
    );
    assert!(!page.contains("NaN") && !page.contains(">inf"));
}

#[test]
fn the_figures_are_those_of_usage() {
    let (lab, nights) = recent(4);
    let usage = lab.chsnap().json(0, &["usage"]);
    let page = page_of(&lab, &[]);
    let row =
        usage["snapshots"].as_array().expect("rows").iter().find(|row| row["id"] == nights[1].as_str()).expect("a row");
    let freed = row["freed_bytes"].as_u64().expect("bytes");
    let text = format!("{}: alone frees {}", nights[1], humansize::format_size(freed, humansize::BINARY));
    assert!(page.contains(&text), "{text}");
}

#[test]
fn trials_are_told_and_one_that_failed_comes_first() {
    let (lab, nights) = recent(3);
    assert!(page_of(&lab, &[]).contains("Nothing was restored on trial yet"));
    let tried = |night: &str, failed: u64| {
        let id = night.parse().expect("an id");
        let event = Event::Drilled { id, tables: 2, of_tables: 3, failed, parts: 4, rows: 5, digests: 0 };
        lab.locked(|locked| locked.record(chrono::Utc::now(), &event).expect("recorded"));
    };
    tried(&nights[1], 0);
    let page = page_of(&lab, &[]);
    assert!(page.contains("All is well") && page.contains("2 of 3 tables came back"), "{page}");
    tried(&nights[2], 1);
    let page = page_of(&lab, &[]);
    assert!(page.contains("did not come back as it was") && page.contains("class=\"verdict bad\""), "{page}");
    assert!(page.contains("FAILED: 1 of 2 tables") && page.contains(&format!("1 table of {}", nights[2])), "{page}");
    // The last trial of a snapshot counts.
    tried(&nights[2], 0);
    assert!(page_of(&lab, &[]).contains("All is well"));
}

#[test]
fn names_from_a_server_stay_text() {
    let lab = Lab::new();
    let now = chrono::Utc::now().to_rfc3339();
    lab.snapshot_with(&now, |manifest| {
        manifest.label = chsnap::model::Label::new(std::ffi::OsStr::new("<img src=x onerror=alert(1)>"));
        manifest.warnings = Vec::new();
    });
    let page = page_of(&lab, &[]);
    assert!(!page.contains("<img") && page.contains("&lt;img"), "{page}");
}

/// Opens the page in a browser without a window, by day or by night, and takes its picture.
fn browsed(page: &Path, width: u32, by_night: bool, picture: &Path) -> Option<Vec<u8>> {
    let profile = page.with_extension("profile");
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={width},3000"))
        // The colours that its user asks for: 0 are dark ones.
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!by_night)))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .output();
    match output {
        Ok(output) if output.status.success() => Some(fs::read(picture).expect("a picture")),
        Ok(output) => panic!("chromium: {}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => {
            eprintln!("SKIPPED: chromium is not here to look at the page");
            None
        }
    }
}

#[test]
fn a_browser_draws_the_page_at_the_width_of_a_desk_and_of_a_telephone() {
    let (lab, _) = recent(30);
    page_of(&lab, &["--keep-daily", "7", "--keep-weekly", "2"]);
    let page = lab.path().join("page.html");
    let mut pictures = Vec::new();
    for (width, by_night) in [(1280_u32, false), (500, false), (1280, true)] {
        let name = format!("{width}{}.png", if by_night { "-dark" } else { "" });
        let picture = lab.path().join(&name);
        let Some(bytes) = browsed(&page, width, by_night, &picture) else { return };
        // Of a PNG the width stands at byte 16. A page that has drawn nothing is a few thousand bytes.
        let found = u32::from_be_bytes(bytes[16..20].try_into().expect("four bytes"));
        assert_eq!(found, width);
        assert!(bytes.len() > 30_000, "{name}: {} bytes", bytes.len());
        if let Some(keep) = std::env::var_os("CHSNAP_TEST_PICTURES") {
            fs::copy(&picture, Path::new(&keep).join(&name)).expect("kept");
        }
        pictures.push(bytes);
    }
    assert!(pictures[0] != pictures[2], "by night it has other colours");
}
