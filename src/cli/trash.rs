//! Shows the trash, for `list --trash` and `undo --list`.

use chrono::Utc;
use chsnap::model::Warning;
use chsnap::ops::{self, TrashedSnapshot};

use super::documents::{ListDocument, TrashRow};
use super::globals::Globals;
use super::layout::{TextTable, left, right};
use super::output::Output;
use super::{CommandResult, DONE, WARNED, opening, render};

/// Shows the trash; `print` builds the command's document from it.
pub(super) fn show(
    globals: &Globals,
    output: &Output,
    print: impl FnOnce(ListDocument, &Output, &[Warning]),
) -> CommandResult {
    let repository = opening::open(globals)?;
    let trash = ops::trash(&repository, &globals.paths(), globals.jobs_for(&repository))?;
    if output.is_json() {
        let rows = trash.snapshots.iter().map(row).collect();
        let document =
            ListDocument { trash: Some(rows), freed_bytes: Some(trash.freed_bytes), ..ListDocument::default() };
        print(document, output, &trash.warnings);
    } else if trash.snapshots.is_empty() {
        output.prose("nothing is in the trash that could be taken back\n");
    } else {
        let now = Utc::now();
        let mut table = TextTable::new([
            left("SNAPSHOT"),
            right("REMOVED"),
            left("BY").dropped(1),
            right("ALONE"),
            left("NAME").cut_to(12).dropped(2),
        ])
        .with_notes_named("WHY");
        for snapshot in &trash.snapshots {
            let text = |text: &Option<String>, width| {
                text.as_deref().map(|text| render::safe(text, width)).unwrap_or_default()
            };
            let cells = vec![
                snapshot.id.to_string(),
                render::age(snapshot.removed, now),
                text(&snapshot.removal.by, 20),
                render::bytes(snapshot.freed_bytes),
                text(&snapshot.name, 40),
            ];
            table.add_with_notes(cells, vec![text(&snapshot.removal.why, 100)]);
        }
        output.text(&table.render(output.width()));
        if !globals.quiet {
            let freed = render::bytes(trash.freed_bytes);
            output.prose(&format!("chsnap undo SNAPSHOT brings one back; chsnap gc unlinks all and frees {freed}\n"));
        }
    }
    output.warnings(&trash.warnings);
    Ok(if trash.warnings.is_empty() { DONE } else { WARNED })
}

fn row(snapshot: &TrashedSnapshot) -> TrashRow {
    TrashRow {
        id: snapshot.id.to_string(),
        name: snapshot.name.clone(),
        removed: snapshot.removed,
        by: snapshot.removal.by.clone(),
        why: snapshot.removal.why.clone(),
        freed_bytes: snapshot.freed_bytes,
    }
}
