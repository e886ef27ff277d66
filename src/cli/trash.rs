//! The trash as `list --trash` and `undo --list` show it.

use chrono::Utc;
use chsnap::ops::{self, TrashedSnapshot};
use serde_json::{Value, json};

use super::globals::Globals;
use super::output::{Output, with_warnings};
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED, opening, render};

pub(super) fn show(globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let trash = ops::trash(&repository, &globals.paths(), globals.jobs_for(&repository))?;
    if output.is_json() {
        let rows: Vec<Value> = trash.snapshots.iter().map(row).collect();
        let document = json!({"schema": output.schema(), "trash": rows, "freed_bytes": trash.freed_bytes});
        output.json(&with_warnings(document, &trash.warnings));
    } else if trash.snapshots.is_empty() {
        output.text("nothing is in the trash that could be taken back\n");
    } else {
        let now = Utc::now();
        let columns =
            [("SNAPSHOT", Left), ("REMOVED", Right), ("BY", Left), ("ALONE", Right), ("WHY", Left), ("NAME", Left)];
        let rows = trash.snapshots.iter().map(|snapshot| {
            let text = |text: &Option<String>, width| {
                text.as_deref().map(|text| render::safe(text, width)).unwrap_or_default()
            };
            vec![
                snapshot.id.to_string(),
                render::age(snapshot.removed, now),
                text(&snapshot.removal.by, 20),
                render::bytes(snapshot.freed_bytes),
                text(&snapshot.removal.why, 100),
                text(&snapshot.name, 40),
            ]
        });
        output.text(&render::table(&columns, rows));
        if !globals.quiet {
            let freed = render::bytes(trash.freed_bytes);
            output.text(&format!("chsnap undo SNAPSHOT brings one back; chsnap gc unlinks all and frees {freed}\n"));
        }
    }
    output.warnings(&trash.warnings);
    Ok(if trash.warnings.is_empty() { DONE } else { WARNED })
}

fn row(snapshot: &TrashedSnapshot) -> Value {
    json!({
        "id": snapshot.id, "name": snapshot.name, "removed": snapshot.removed, "by": snapshot.removal.by,
        "why": snapshot.removal.why, "freed_bytes": snapshot.freed_bytes,
    })
}
