//! How series are shown, and how the configured one is found.

use chsnap::plan::SeriesKey;
use chsnap::repo::{SeriesOf, Summary};
use serde_json::{Map, Value};

use super::render;
use super::settings::Layer;

/// The series that the configuration's `[create]` selects, if it does.
pub(super) fn configured(layer: &Layer) -> Option<SeriesKey> {
    let section = layer.sections.get("create")?;
    let values = |key: &str| section.get(key).map(|setting| setting.values.clone()).unwrap_or_default();
    let key = SeriesKey::new(values("table"), values("exclude"), values("partition"));
    (!key.is_everything()).then_some(key)
}

/// `only shop.customers`, for a snapshot that is not of the main series.
pub(super) fn label(summary: &Summary, main: &SeriesKey) -> Option<String> {
    summary.series.as_ref().filter(|series| *series != main).map(ToString::to_string)
}

/// What a person reads of a series that is not the main one, and of what the snapshot lacks.
pub(super) fn notes(summary: &Summary, main: &SeriesKey) -> Vec<String> {
    let label = label(summary, main).map(|label| render::safe(&label, 60));
    label.into_iter().chain(summary.incomplete.then(|| "incomplete".to_owned())).collect()
}

/// Adds `series_label` to the row of a snapshot: null for one of the main series.
pub(super) fn insert_label(row: &mut Map<String, Value>, summary: &Summary, series: &SeriesOf) {
    if summary.series.is_some() {
        row.insert("series_label".to_owned(), label(summary, &series.main).into());
    }
}
