//! Displays series, and finds the configured one.

use chsnap::plan::SeriesKey;
use chsnap::repo::Summary;

use super::render;
use super::settings::Layer;

/// The series that the configuration's `[create]` selects, if it selects one.
pub(super) fn configured(layer: &Layer) -> Option<SeriesKey> {
    let section = layer.sections.get("create")?;
    let values = |key: &str| section.get(key).map(|setting| setting.values.clone()).unwrap_or_default();
    let key = SeriesKey::new(values("table"), values("exclude"), values("partition"));
    (!key.is_everything()).then_some(key)
}

/// `only shop.customers`, for a snapshot that does not belong to the main series.
pub(super) fn label(summary: &Summary, main: &SeriesKey) -> Option<String> {
    summary.series.as_ref().filter(|series| *series != main).map(ToString::to_string)
}

/// Notes on a series that is not the main one, and on what the snapshot lacks.
pub(super) fn notes(summary: &Summary, main: &SeriesKey) -> Vec<String> {
    let label = label(summary, main).map(|label| render::safe(&label, 60));
    label.into_iter().chain(summary.incomplete.then(|| "incomplete".to_owned())).collect()
}
