//! The page itself.

use chrono::SecondsFormat;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::documents::report::{Figures, ReportVerdict};
use super::super::render;
use super::calendar::calendar;
use super::checked::checked;
use super::pictures::{composition, growth, timeline};
use super::tables::tables;

/// Markup of this crate, and therefore safe to embed.
const STYLE: PreEscaped<&str> = PreEscaped(include_str!("style.css"));
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The title: names the server and the repository.
fn title(figures: &Figures) -> String {
    let of = figures
        .server
        .as_ref()
        .map_or_else(|| "ClickHouse".to_owned(), |server| format!("{} (ClickHouse {})", server.host, server.version));
    let profile = figures.profile.as_deref().map(|profile| format!(", profile {profile}")).unwrap_or_default();
    format!("Snapshots of {of} in {}{profile}", figures.repository)
}

/// The page as one text.
pub(super) fn page(figures: &Figures) -> String {
    let title = title(figures);
    let time = figures.time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (STYLE) }
            }
            body {
                a class="skip" href="#snapshots" { "To the snapshots" }
                main {
                    h1 { (title) }
                    p class="dim" {
                        @if let Some(server) = &figures.server { "Data in " (server.data_path) " · " }
                        "as of " time datetime=(time) { (time) }
                    }
                    (verdict(&figures.verdict))
                    (cards(figures))
                    (timeline(figures))
                    (composition(figures))
                    (growth(figures))
                    (calendar(figures))
                    (checked(figures))
                    (tables(figures))
                    p class="dim" {
                        "Made by chsnap " (env!("CARGO_PKG_VERSION")) ". Figures are those of "
                        code { "chsnap usage" } "; " code { "chsnap report --json" }
                        " has all of this page. Removed space is free once " code { "chsnap gc" } " has run."
                    }
                }
            }
        }
    };
    page.into_string()
}

fn verdict(verdict: &ReportVerdict) -> Markup {
    html! {
        div class={ "verdict " (verdict.state.class()) } role="status" {
            p { span class="badge" { (verdict.state.word()) } " " (verdict.text) }
        }
        @if !verdict.findings.is_empty() {
            section id="next" aria-labelledby="next-h" {
                h2 id="next-h" { "What to do next" }
                ol class="findings" {
                    @for finding in &verdict.findings {
                        li class=(finding.state.class()) {
                            strong { (finding.state.word()) ": " } (finding.text) "."
                            @if let Some(next) = &finding.next { br; (next) }
                            @if let Some(command) = &finding.command { " " code { (command) } }
                        }
                    }
                }
            }
        }
    }
}

fn cards(figures: &Figures) -> Markup {
    let (totals, disk) = (&figures.totals, &figures.filesystem);
    let growth = disk.used_bytes_per_day.map_or_else(
        || "not known yet".to_owned(),
        |bytes| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
            let size = render::bytes(bytes.abs() as u64);
            if bytes < 0.0 { format!("{size} less a day") } else { format!("{size} more a day") }
        },
    );
    let ago = |time: Option<chrono::DateTime<chrono::Utc>>| {
        time.map_or_else(|| "never".to_owned(), |time| format!("{} ago", render::age(time, figures.time)))
    };
    let undamaged = figures.snapshots.iter().filter(|row| !row.checked.damaged);
    let read = undamaged.filter_map(|row| row.checked.data_time).max();
    let all_read = match read {
        Some(_) => "and found right, of some snapshot",
        None => "chsnap verify --level data does it",
    };
    let drills = || figures.snapshots.iter().filter_map(|row| row.drill.as_ref());
    let tried = drills().map(|drill| drill.time).max();
    let failed = drills().filter(|drill| drill.failed > 0).count();
    let trash = format!("{} pinned, {} in the trash", totals.pinned, totals.in_trash);
    let full = match (disk.days_until_full, disk.used_bytes_per_day) {
        (Some(days), _) => format!("{days:.0} days"),
        (None, Some(_)) => "not in sight".to_owned(),
        (None, None) => "–".to_owned(),
    };
    let trial = match (failed, tried) {
        (0, None) => "chsnap drill does it".to_owned(),
        (0, Some(_)) => "and came back as recorded".to_owned(),
        (failed, _) => format!("failed for {}", render::count(failed as u64, "snapshot")),
    };
    let cards = [
        ("Snapshots", figures.snapshots.len().to_string(), trash),
        ("They cost", render::bytes(totals.cost_bytes), "what would be free without them".to_owned()),
        (
            "Shared with the server",
            render::bytes(totals.live_shared_bytes),
            "costs nothing until it is dropped there".to_owned(),
        ),
        ("Free on the disk", render::bytes(disk.free_bytes), format!("of {}", render::bytes(disk.size_bytes))),
        ("Disk full in", full, growth),
        ("Every byte read", ago(read), all_read.to_owned()),
        ("Restored on trial", ago(tried), trial),
    ];
    html! {
        dl class="cards" {
            @for (name, figure, note) in &cards {
                div { dt { (name) } dd { (figure) small { (note) } } }
            }
        }
    }
}
