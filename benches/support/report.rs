//! Samples, and their Markdown tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use testkit::bench::section::{Spread, thousands};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Procedure {
    FreezeAndSync,
    Look,
    Create,
    Earlier,
    OneMoment,
    First,
    Changed,
    EarlierChanged,
    ByHand,
    Freeze,
}

impl Procedure {
    pub(crate) const ALL: [Self; 10] = [
        Self::FreezeAndSync,
        Self::Look,
        Self::Create,
        Self::Earlier,
        Self::OneMoment,
        Self::First,
        Self::Changed,
        Self::EarlierChanged,
        Self::ByHand,
        Self::Freeze,
    ];

    pub(crate) fn short_name(self) -> &'static str {
        match self {
            Self::FreezeAndSync => "freeze+syncfs",
            Self::Look => "freeze+syncfs+look",
            Self::Create => "create",
            Self::Earlier => "create, earlier program",
            Self::OneMoment => "create, one moment",
            Self::First => "first create",
            Self::Changed => "create, 2 % changed",
            Self::EarlierChanged => "create, 2 % changed, earlier program",
            Self::ByHand => "by hand",
            Self::Freeze => "freeze",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::FreezeAndSync => "`FREEZE`, then `syncfs`",
            Self::Look => "the same, and during the `syncfs` bare calls that list, `stat` and read what is checked",
            Self::Create => "`chsnap create --freeze all`, the whole process",
            Self::Earlier => "`create --freeze all` of the earlier program",
            Self::OneMoment => "`chsnap create --freeze all --one-moment`",
            Self::First => "`chsnap create` into a new repository",
            Self::Changed => "`chsnap create`, a part new in 2 % of the partitions",
            Self::EarlierChanged => "the same of the earlier program",
            Self::ByHand => "by hand: `FREEZE`, `cp -rl`, `rm -rf`, `sync`",
            Self::Freeze => "`FREEZE` alone, nothing durable",
        }
    }
}

/// Seconds of every procedure, run one after the other.
pub(crate) type Round = BTreeMap<Procedure, f64>;

/// All that was measured of one engine.
#[derive(Debug, Default)]
pub(crate) struct Series {
    pub(crate) version: String,
    pub(crate) parts: u64,
    pub(crate) files: u64,
    pub(crate) rounds: Vec<Round>,
    /// Of each `create` into the repository that has snapshots.
    pub(crate) peak_rss_bytes: Vec<u64>,
    /// Seconds in each stage, of the same.
    pub(crate) stages: Vec<BTreeMap<String, f64>>,
}

/// The stages in the order in which they begin.
const STAGES: [&str; 9] = ["recover", "discover", "freeze", "place", "check", "seal", "index", "release", "total"];

const RATIO_LIMIT: f64 = 1.15;
const EARLIER_LIMIT: f64 = 1.03;
const MEMORY_LIMIT_MB: f64 = 200.0;

impl Series {
    fn seconds(&self, procedure: Procedure) -> impl Iterator<Item = f64> {
        self.rounds.iter().filter_map(move |round| round.get(&procedure).copied())
    }

    /// Pair by pair: both of a pair were timed in one round, under much the same load.
    fn ratio(&self, procedure: Procedure, to: Procedure) -> Spread {
        Spread::of(self.seconds(procedure).zip(self.seconds(to)).map(|(one, other)| one / other))
    }

    #[expect(clippy::cast_precision_loss, reason = "a few significant digits are shown")]
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let per_part = self.files as f64 / self.parts as f64;
        let (parts, files) = (thousands(self.parts), thousands(self.files));
        writeln!(text, "### ClickHouse {}", self.version)?;
        writeln!(text, "\n{parts} parts, {files} files ({per_part:.1} in a part). Rounds: {}.\n", self.rounds.len())?;
        writeln!(text, "| What | Median s | Least to most | To the first line, pair by pair |")?;
        writeln!(text, "|---|---:|---:|---:|")?;
        let is_measured = |procedure: &Procedure| self.seconds(*procedure).next().is_some();
        for procedure in Procedure::ALL.into_iter().filter(is_measured) {
            let Spread { least, median, most } = Spread::of(self.seconds(procedure));
            let ratio = self.ratio(procedure, Procedure::FreezeAndSync);
            writeln!(
                text,
                "| {} | {median:.2} | {least:.2} to {most:.2} | {:.2} ({:.2} to {:.2}) |",
                procedure.name(),
                ratio.median,
                ratio.least,
                ratio.most
            )?;
        }
        let nightly = self.seconds(Procedure::ByHand).zip(self.seconds(Procedure::Changed));
        let nightly = Spread::of(nightly.map(|(by_hand, changed)| by_hand / changed));
        let ratio = self.ratio(Procedure::Create, Procedure::FreezeAndSync).median;
        let one_moment = self.ratio(Procedure::OneMoment, Procedure::Create);
        let memory = Spread::of(self.peak_rss_bytes.iter().map(|bytes| *bytes as f64 / 1e6)).most;
        let answer = |is_met: bool| if is_met { "met" } else { "**not met**" };
        writeln!(
            text,
            "\n- `create --freeze all` takes {ratio:.2} times `FREEZE` and `syncfs`; {RATIO_LIMIT} is {}.",
            answer(ratio <= RATIO_LIMIT)
        )?;
        writeln!(
            text,
            "- `--one-moment` takes {:.2} times what a plain `create` takes ({:.2} to {:.2}).",
            one_moment.median, one_moment.least, one_moment.most
        )?;
        writeln!(
            text,
            "- By hand takes {:.1} times `create` where 2 % have changed ({:.1} to {:.1}).",
            nightly.median, nightly.least, nightly.most
        )?;
        writeln!(
            text,
            "- `create` had {memory:.0} MB of memory at most; {MEMORY_LIMIT_MB:.0} MB is {}.",
            answer(memory <= MEMORY_LIMIT_MB)
        )?;
        if is_measured(&Procedure::Earlier) {
            let median = |procedure| Spread::of(self.seconds(procedure)).median;
            let all = median(Procedure::Create) / median(Procedure::Earlier);
            let changed = median(Procedure::Changed) / median(Procedure::EarlierChanged);
            writeln!(
                text,
                "- To the earlier program, median to median: {all:.2} times with `--freeze all`, {changed:.2} \
                 where 2 % have changed; {EARLIER_LIMIT} is {}. Pair by pair: {:.2} and {:.2}.",
                answer(all.max(changed) <= EARLIER_LIMIT),
                self.ratio(Procedure::Create, Procedure::Earlier).median,
                self.ratio(Procedure::Changed, Procedure::EarlierChanged).median
            )?;
        }
        let stages = STAGES.iter().map(|stage| {
            let seconds = Spread::of(self.stages.iter().filter_map(|stages| stages.get(*stage).copied())).median;
            format!("{stage} {seconds:.2}")
        });
        writeln!(
            text,
            "- Median seconds in each stage of `create --freeze all`: {}.",
            stages.collect::<Vec<_>>().join(", ")
        )
    }
}

/// The results as Markdown.
pub(crate) fn markdown(machine: &str, all: &[Series]) -> String {
    let mut text = format!("{machine}.\n");
    for series in all {
        text.push('\n');
        series.write(&mut text).expect("a String takes everything");
    }
    text
}
