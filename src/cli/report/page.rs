//! The page itself.

use chrono::SecondsFormat;
use chsnap::model::SnapshotId;
use chsnap::ops::Drill;
use chsnap::ops::usage::SnapshotUsage;
use chsnap::repo::Summary;

use super::super::render;
use super::Facts;
use super::calendar::calendar;
use super::html::{Html, text};
use super::pictures::{composition, growth, timeline};
use super::tables::{tables, verification};

const STYLE: &str = include_str!("style.css");

pub(super) fn page(facts: &Facts) -> String {
    let mut html = Html::default();
    let title = format!("Snapshots of {}", facts.profile.as_deref().unwrap_or("ClickHouse"));
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">")
        .raw("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")
        .raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">")
        .raw(format!("<title>{}</title><style>{STYLE}</style></head><body>", text(&title)))
        .raw("<a class=\"skip\" href=\"#snapshots\">To the snapshots</a><main>")
        .raw(format!("<h1>{}</h1>", text(&title)))
        .raw(format!(
            "<p class=\"dim\">{} · as of <time datetime=\"{1}\">{1}</time></p>",
            text(&facts.repository.to_string_lossy()),
            facts.now.to_rfc3339_opts(SecondsFormat::Secs, true)
        ));
    let (class, verdict) = verdict(facts);
    html.raw(format!("<p class=\"verdict {class}\" role=\"status\">{}</p>", text(&verdict)));
    cards(&mut html, facts);
    warnings(&mut html, facts);
    timeline(&mut html, facts);
    composition(&mut html, facts);
    growth(&mut html, facts);
    calendar(&mut html, facts);
    tables(&mut html, facts);
    verification(&mut html, facts);
    html.raw(format!(
        "<p class=\"dim\">Made by chsnap {}. Figures are those of <code>chsnap usage</code>. Removed space is free once \
         <code>chsnap gc</code> has run.</p></main></body></html>",
        env!("CARGO_PKG_VERSION")
    ));
    html.into_text()
}

fn newest(facts: &Facts) -> Option<&SnapshotUsage> {
    let series = &facts.usage.series.chosen;
    let is_good = |summary: &Summary| summary.is_good() && summary.is_of(series) && summary.time <= facts.now;
    let good = facts.usage.snapshots.iter().filter(|row| is_good(&row.summary));
    good.max_by_key(|row| row.summary.time)
}

fn failed_drills(facts: &Facts) -> impl Iterator<Item = (&SnapshotId, &Drill)> {
    facts.drills.iter().filter(|(_, drill)| drill.failed > 0)
}

fn damaged(facts: &Facts) -> usize {
    let unreadable = facts.usage.snapshots.iter().filter(|row| !row.summary.is_complete()).count();
    unreadable + facts.checks.values().filter(|check| check.damaged).count()
}

/// The one sentence for whoever reads no further.
fn verdict(facts: &Facts) -> (&'static str, String) {
    let Some(newest) = newest(facts) else { return ("bad", "There is no good snapshot.".to_owned()) };
    let age = (facts.now - newest.summary.time).to_std().unwrap_or_default();
    let told = format!("The newest snapshot is {} old", render::age(newest.summary.time, facts.now));
    let days = facts.usage.growth.days_until_full;
    match damaged(facts) {
        0 => {}
        1 => return ("bad", format!("One snapshot is damaged. {told}.")),
        count => return ("bad", format!("{count} snapshots are damaged. {told}.")),
    }
    if failed_drills(facts).next().is_some() {
        ("bad", format!("A snapshot did not come back as it was when it was tried. {told}."))
    } else if age > facts.crit {
        ("bad", format!("{told}: nights were missed."))
    } else if age > facts.warn {
        ("warning", format!("{told}: the last night was missed."))
    } else if let Some(days) = days.filter(|days| *days < 14.0) {
        ("warning", format!("{told}, and the disk is full in {days:.0} days if it goes on like this."))
    } else if !facts.usage.warnings.is_empty() || facts.checks.values().any(|check| check.drifted) {
        ("warning", format!("{told}. Something should be looked at, see below."))
    } else {
        ("", format!("All is well. {told}."))
    }
}

fn cards(html: &mut Html, facts: &Facts) {
    let usage = &facts.usage;
    let totals = &usage.totals;
    let pinned = usage.snapshots.iter().filter(|row| row.pin.is_some()).count();
    let growth = usage.growth.used_bytes_per_day.map_or_else(
        || "not known yet".to_owned(),
        |bytes| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
            let size = render::bytes(bytes.abs() as u64);
            if bytes < 0.0 { format!("{size} less a day") } else { format!("{size} more a day") }
        },
    );
    let read = facts.checks.values().filter_map(|check| check.data_time).max();
    let tried = facts.drills.values().map(|drill| drill.time).max();
    let cards = [
        (
            "Snapshots",
            usage.snapshots.len().to_string(),
            format!("{pinned} pinned, {} in the trash", usage.removed.len()),
        ),
        ("They cost", render::bytes(totals.cost_bytes), "what would be free without them".to_owned()),
        (
            "Shared with the server",
            render::bytes(totals.live_shared_bytes),
            "costs nothing until it is dropped there".to_owned(),
        ),
        (
            "Free on the disk",
            render::bytes(usage.filesystem.free_bytes),
            format!("of {}", render::bytes(usage.filesystem.size_bytes)),
        ),
        (
            "Full in",
            usage.growth.days_until_full.map_or_else(|| "–".to_owned(), |days| format!("{days:.0} days")),
            growth,
        ),
        ("Every byte read", facts.ago(read), "and found right, of some snapshot".to_owned()),
        (
            "Restored on trial",
            facts.ago(tried),
            match (failed_drills(facts).count(), tried) {
                (0, None) => "chsnap drill does it".to_owned(),
                (0, Some(_)) => "and came back as recorded".to_owned(),
                (failed, _) => format!("{} failed", render::count(failed as u64, "snapshot")),
            },
        ),
    ];
    html.raw("<dl class=\"cards\">");
    for (name, figure, note) in cards {
        html.raw(format!("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>", text(name), text(&figure), text(&note)));
    }
    html.raw("</dl>");
}

fn warnings(html: &mut Html, facts: &Facts) {
    let mut all: Vec<String> = facts.usage.warnings.iter().map(ToString::to_string).collect();
    let damaged = facts.checks.iter().filter(|(_, check)| check.damaged);
    all.extend(damaged.map(|(id, _)| format!("verification found damage in {id}: chsnap verify {id} says where")));
    let drifted = facts.checks.iter().filter(|(_, check)| check.drifted);
    all.extend(drifted.map(|(id, _)| {
        format!(
            "owners or modes in {id} are not as recorded: chsnap verify {id} shows which; create records those of now"
        )
    }));
    all.extend(failed_drills(facts).map(|(id, drill)| {
        let tables = render::count(drill.failed, "table");
        format!("{tables} of {id} did not come back as recorded when tried: chsnap drill {id} says which")
    }));
    for shadow in &facts.usage.totals.foreign_shadows {
        all.push(format!("{} holds {} and is not chsnap's", shadow.path.display(), render::bytes(shadow.freed_bytes)));
    }
    if all.is_empty() {
        return;
    }
    html.section("warnings", "To be looked at", "").raw("<ul class=\"warnings\">");
    for warning in all.iter().take(50) {
        html.raw(format!("<li>{}</li>", text(warning)));
    }
    html.raw("</ul>").end();
}
