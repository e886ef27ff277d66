//! The HTML page of `report`.

use std::fs;
use std::path::Path;
use std::process::Command;

use chsnap::repo::Event;
use serde_json::Value;

use crate::cli::support::Lab;

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
    assert!(late.contains("What to do next") && late.contains(" doctor"), "what to do");
    let bad = page_of(&lab, &["--warn", "10m", "--crit", "30m"]);
    assert!(bad.contains("class=\"verdict bad\"") && bad.contains("Act now"));
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
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">") && page.contains("name=\"viewport\""));
    assert!(page.contains("prefers-color-scheme:dark"));
    // Each chart has a description, and a table of its figures below it.
    let (pictures, figures) = (page.matches("role=\"img\"").count(), page.matches("<details>").count());
    assert!(pictures >= 3 && figures >= 3, "{pictures} {figures}");
    assert_eq!(page.matches("<title id=").count(), pictures);
    assert_eq!(page.matches("<desc id=").count(), pictures);
    for open in ["section", "table", "svg", "details", "div", "dl", "ul", "ol", "g", "rect", "line", "polyline"] {
        let opened = [" ", ">"].map(|end| page.matches(&format!("<{open}{end}")).count()).iter().sum::<usize>();
        assert_eq!(opened, page.matches(&format!("</{open}>")).count(), "{open}");
    }
    // Ids are unique: a chart for phones has its own.
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    // Each color of a chart is in a legend, and a table that scrolls says so.
    for class in ["new", "own", "shared", "live", "keep", "go", "pin", "none"] {
        assert!(page.contains(&format!("class=\"k {class}\"")), "{class} is in no legend");
    }
    let scroll = page.matches("class=\"scroll\"").count();
    assert_eq!(page.matches(", scrolls sideways\"").count(), scroll);
    assert_eq!(page.matches("⇄ scrolls sideways").count(), scroll);
    assert_eq!(page.matches("tabindex=\"0\" role=\"region\"").count(), scroll);
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
fn the_title_names_host_server_and_repository_and_the_newest_month_is_first() {
    let (lab, _) = recent(70);
    let page = page_of(&lab, &["--keep-daily", "70"]);
    let title = page.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).expect("a title");
    let shown = lab.chsnap().json(0, &["show"]);
    for part in [&shown["server"]["host_name"], &shown["server"]["version"]] {
        assert!(title.contains(part.as_str().expect("a text")), "{title} has no {part}");
    }
    assert!(title.contains(lab.chsnap().repo().to_str().expect("a path")), "{title}");
    let months: Vec<&str> = page
        .split("<div class=\"month\"><table><caption>")
        .skip(1)
        .filter_map(|rest| rest.split("</caption>").next())
        .collect();
    let now = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    assert_eq!(months[0], now.format("%B %Y").to_string());
    assert!(months.len() >= 3, "{months:?}");
}

#[test]
fn the_document_has_the_figures_of_the_page() {
    let (lab, nights) = recent(5);
    let document = lab.chsnap().json(0, &["report", "--keep-daily", "3"]);
    assert_eq!((&document["file"], &document["bytes"]), (&Value::Null, &Value::Null));
    let figures = &document["figures"];
    let rows = figures["snapshots"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|row| row["id"].as_str().expect("an id")).collect::<Vec<_>>(), nights);
    assert_eq!((&rows[0]["keeps"], &rows[0]["why"]), (&false.into(), &"no rule keeps it".into()));
    assert_eq!(figures["coverage"]["never"], 5);
    let page = page_of(&lab, &["--keep-daily", "3"]);
    assert!(page.contains(figures["verdict"]["text"].as_str().expect("a verdict")));
    for row in rows {
        let wrote = humansize::format_size(row["written_bytes"].as_u64().expect("bytes"), humansize::BINARY);
        let id = row["id"].as_str().expect("an id");
        assert!(page.contains(&format!("{id}: wrote {wrote}")), "{id} {wrote}");
    }
    let usage = lab.chsnap().json(0, &["usage"]);
    for (row, of_usage) in rows.iter().zip(usage["snapshots"].as_array().expect("rows")) {
        assert_eq!(row["freed_bytes"], of_usage["freed_bytes"]);
    }
    // Neither a page nor a document was asked for.
    lab.run(2, &["report"]);
}

#[test]
fn a_refused_prune_and_a_freeze_of_another_tool_say_what_to_do() {
    let (lab, _) = recent(3);
    let refused = Event::PruneRefused { guards: vec!["it would remove 10 of 12 snapshots".to_owned()] };
    lab.locked(|locked| locked.record(chrono::Utc::now(), &refused).expect("recorded"));
    let page = page_of(&lab, &[]);
    assert!(page.contains("prune was refused at") && page.contains(" prune --yes-really"), "{page}");
    let document = lab.chsnap().json(0, &["report"]);
    let findings = document["figures"]["verdict"]["findings"].as_array().expect("findings");
    assert_eq!(findings[0]["kind"], "prune_refused");
    let repository = lab.repo().display().to_string();
    let commands = format!("chsnap --repo {repository} prune --dry-run; chsnap --repo {repository} prune --yes-really");
    assert_eq!(findings[0]["command"], commands.as_str());
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
fn drills_are_shown_with_a_failed_one_first() {
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
    assert!(page.contains("Trial restore failed for 1 snapshot.") && page.contains("class=\"verdict bad\""), "{page}");
    assert!(page.contains("FAILED: 1 of 2 tables") && page.contains(&format!(" drill {}", nights[2])), "{page}");
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
        // The colors that its user asks for: 0 are dark ones.
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

/// The width that the page takes in a window of this width: no more, unless something does not fit.
fn taken_width(page: &Path, width: u32) -> u32 {
    let text = fs::read_to_string(page).expect("the page");
    // A page in a frame of this width: a window of a browser has a least width of its own.
    let inner = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'").replace(
        "</body>",
        "<script>parent.postMessage(Math.max(document.documentElement.scrollWidth, document.body.scrollWidth), '*')\
         </script></body>",
    );
    let (framed, outer) = (page.with_extension("inner.html"), page.with_extension("outer.html"));
    fs::write(&framed, inner).expect("a file");
    let frame = format!(
        "<body><script>onmessage = event => {{ document.body.innerHTML = '<p id=w>' + event.data + '</p>' }}</script>\
         <iframe width={width} height=3000 style=border:0 src='{}'></iframe>",
        framed.file_name().expect("a name").to_string_lossy()
    );
    fs::write(&outer, frame).expect("a file");
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"])
        .args(["--virtual-time-budget=5000", "--allow-file-access-from-files"])
        .arg(format!("--user-data-dir={}", page.with_extension("profile").display()))
        .arg(format!("file://{}", outer.display()))
        .output()
        .expect("chromium");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = dom.split("<p id=\"w\">").nth(1).and_then(|rest| rest.split('<').next());
    found.unwrap_or_else(|| panic!("no width: {dom}")).parse().expect("a number")
}

#[test]
fn a_browser_draws_the_page_at_the_width_of_a_desk_a_tablet_and_a_telephone() {
    let (lab, _) = recent(70);
    page_of(&lab, &["--keep-daily", "7", "--keep-weekly", "2"]);
    let page = lab.path().join("page.html");
    let mut pictures = Vec::new();
    // A window of Chromium has at least 500 pixels; narrower ones are measured in a frame.
    for (width, by_night) in [(1280_u32, false), (768, false), (500, false), (1280, true)] {
        let name = format!("{width}{}.png", if by_night { "-dark" } else { "" });
        let picture = lab.path().join(&name);
        let Some(bytes) = browsed(&page, width, by_night, &picture) else { return };
        // Of a PNG the width stands at byte 16. A page that has drawn nothing is a few thousand bytes.
        let found = u32::from_be_bytes(bytes[16..20].try_into().expect("four bytes"));
        assert_eq!(found, width);
        assert!(bytes.len() > 30_000, "{name}: {} bytes", bytes.len());
        if let Some(keep) = std::env::var_os("CHSNAP_TEST_PICTURES") {
            fs::copy(&picture, Path::new(&keep).join(&name)).expect("kept");
            fs::copy(&page, Path::new(&keep).join("page.html")).expect("kept");
        }
        pictures.push(bytes);
    }
    assert!(pictures[0] != pictures[3], "by night it has other colors");
    for width in [1280, 768, 390] {
        let taken = taken_width(&page, width);
        assert!(taken <= width, "at {width} pixels it takes {taken}");
    }
}
