//! How the engine reports its progress; it never prints.

/// A stage of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Leftovers of an earlier, interrupted run are cleaned up.
    Recover,
    /// Replicated tables catch up with their peers.
    Sync,
    /// Tables, parts and definitions are read from the server.
    Discover,
    /// The last snapshot is read, for what can be linked from it.
    Previous,
    /// The server freezes.
    Freeze,
    /// Frozen parts are moved or linked into the snapshot.
    Place,
    /// Tables without parts are read, or their files linked.
    Dump,
    /// Parts are compared with their own checksums, or with what a snapshot recorded of them.
    Check,
    /// Tables are attached to the server.
    Attach,
    /// The manifest is written, and everything is made durable.
    Seal,
    /// The index is updated with the snapshot.
    Index,
    /// Our shadows are removed.
    Release,
    /// Removed snapshots are unlinked.
    Remove,
    /// Snapshots are compared with their own records.
    Verify,
    /// Objects are sent to a remote repository.
    Send,
    /// Objects are fetched from a remote repository.
    Fetch,
    /// After damage was found: entries that share it, and intact copies, are searched for.
    Search,
    /// Damaged entries are replaced by links to intact copies.
    Repair,
}

impl Stage {
    /// The stage's name: one lower-case word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recover => "recover",
            Self::Sync => "sync",
            Self::Discover => "discover",
            Self::Previous => "previous",
            Self::Freeze => "freeze",
            Self::Place => "place",
            Self::Dump => "dump",
            Self::Check => "check",
            Self::Attach => "attach",
            Self::Seal => "seal",
            Self::Index => "index",
            Self::Release => "release",
            Self::Remove => "remove",
            Self::Verify => "verify",
            Self::Send => "send",
            Self::Fetch => "fetch",
            Self::Search => "search",
            Self::Repair => "repair",
        }
    }
}

/// Work done, or to be done, in one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageWork {
    /// Tables.
    pub tables: u64,
    /// Parts, or directories where there are no parts.
    pub parts: u64,
    /// Files.
    pub files: u64,
    /// Apparent bytes.
    pub bytes: u64,
}

/// Receives what the engine reports, from any of its threads.
pub trait Monitor: Sync {
    /// A stage begins; `total` is the work that it expects, if that is known.
    fn stage_started(&self, stage: Stage, total: Option<StageWork>);
    /// More was done in a stage since the last call.
    fn advanced(&self, stage: Stage, done: StageWork);
    /// Work on one item of a stage begins, for example on a table to freeze; several items may be in progress at once.
    /// `total` is the work for it.
    fn item_started(&self, _stage: Stage, _item: &str, _total: StageWork) {}
    /// Work on the item has ended, successfully or not.
    fn item_finished(&self, _stage: Stage, _item: &str) {}
    /// A stage has ended.
    fn stage_finished(&self, stage: Stage);
    /// A message that the user should see now.
    fn note(&self, message: &str);
}

/// A stage that lasts until this value is dropped, for whatever reason, including an error.
#[must_use]
pub struct StageAtWork<'a> {
    monitor: &'a dyn Monitor,
    stage: Stage,
}

impl<'a> StageAtWork<'a> {
    /// Reports that the stage begins.
    pub fn start(monitor: &'a dyn Monitor, stage: Stage, total: Option<StageWork>) -> Self {
        monitor.stage_started(stage, total);
        Self { monitor, stage }
    }
}

impl Drop for StageAtWork<'_> {
    fn drop(&mut self) {
        self.monitor.stage_finished(self.stage);
    }
}

/// An item of a stage that is in progress until this value is dropped.
pub struct ItemAtWork<'a> {
    monitor: &'a dyn Monitor,
    stage: Stage,
    item: String,
}

impl<'a> ItemAtWork<'a> {
    /// Reports that the work begins.
    pub fn start(monitor: &'a dyn Monitor, stage: Stage, item: String, total: StageWork) -> Self {
        monitor.item_started(stage, &item, total);
        Self { monitor, stage, item }
    }
}

impl Drop for ItemAtWork<'_> {
    fn drop(&mut self) {
        self.monitor.item_finished(self.stage, &self.item);
    }
}

/// Reports nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn stage_started(&self, _: Stage, _: Option<StageWork>) {}
    fn advanced(&self, _: Stage, _: StageWork) {}
    fn stage_finished(&self, _: Stage) {}
    fn note(&self, _: &str) {}
}

/// An error and its causes in one line: for answers that hold an error rather than fail with it.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
