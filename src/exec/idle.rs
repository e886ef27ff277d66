//! Reads live parts on idle cores while the server freezes them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::fs::{self, Dir, FsError};
use crate::model::PartName;

use super::inspect::AlreadyRead;
use super::live::{SavedPart, SavedParts, save, save_and_look, save_left_out};
use super::prefetch::{Prefetch, Prefetched};

/// Threads that read live parts whenever a core is otherwise idle.
///
/// They run in the background: whatever they have not read at the end is read by the code that checks the parts, and
/// the threads end in their own time.
#[derive(Debug)]
pub struct IdleReading {
    task: Arc<Task>,
}

#[derive(Debug)]
struct Task {
    slots: Vec<Slot>,
    /// The next part to read, and the next one to prefetch if it was not prefetched yet.
    unread: AtomicUsize,
    unseen: AtomicUsize,
    is_over: AtomicBool,
}

#[derive(Debug)]
struct Slot {
    name: PartName,
    table: Arc<Dir>,
    /// Locked for moments, and by one idle thread alone until the end; the end does not wait for those threads.
    saved: Mutex<Option<SavedPart>>,
}

/// The number of parts that are prefetched: the results for more should not be in memory in addition to what was read.
const FORESEEN_PARTS: usize = 16_384;

/// The pause before a part is tried again that the freeze has not reached yet.
const PAUSE: Duration = Duration::from_millis(5);

impl IdleReading {
    /// Starts reading parts, each given with the live directory that it is in.
    #[must_use]
    pub fn begin(parts: Vec<(PartName, Arc<Dir>)>, threads: usize) -> Self {
        let slots = parts.into_iter().map(|(name, table)| Slot { name, table, saved: Mutex::default() }).collect();
        let task =
            Task { slots, unread: AtomicUsize::new(0), unseen: AtomicUsize::new(0), is_over: AtomicBool::new(false) };
        let task = Arc::new(task);
        for number in 0..threads {
            let task = Arc::clone(&task);
            let work = move || {
                fs::run_in_idle_time();
                task.work();
            };
            // If the system refuses a thread, there is one thread less: all parts can be read at the end.
            drop(thread::Builder::new().name(format!("chsnap-idle-{number}")).spawn(work));
        }
        Self { task }
    }

    /// Ends the reading and returns what was read. If more than `left_to_others` parts are left, they are read now, in
    /// the current pool.
    ///
    /// # Errors
    /// As [`save_left_out`].
    pub fn finish(self, left_to_others: usize) -> Result<SavedParts, FsError> {
        self.task.is_over.store(true, Ordering::Relaxed);
        let mut saved = SavedParts::with_capacity(self.task.slots.len());
        let mut unread = Vec::new();
        for slot in &self.task.slots {
            // The thread that holds the lock may not get a core for a while, so this does not wait for it.
            match slot.saved.try_lock().ok().and_then(|mut saved| saved.take()) {
                Some(part) => drop(saved.insert(slot.name.clone(), part)),
                None => unread.push((&slot.name, &*slot.table)),
            }
        }
        if unread.len() > left_to_others {
            saved.extend(save_left_out(&unread)?);
        }
        Ok(saved)
    }
}

impl Drop for IdleReading {
    fn drop(&mut self) {
        self.task.is_over.store(true, Ordering::Relaxed);
    }
}

impl Task {
    fn work(&self) {
        self.each(&self.unread, self.slots.len(), |number, slot| {
            let read = if number < FORESEEN_PARTS { save_and_look } else { save };
            // If this fails, the reader at the end reports the error.
            slot.keep(read(&slot.table, &slot.name).ok().flatten());
        });
        self.each(&self.unseen, FORESEEN_PARTS, |_, slot| {
            while slot.look_again() && !self.is_over.load(Ordering::Relaxed) {
                thread::sleep(PAUSE);
            }
        });
    }

    /// Applies `act` to the first `count` parts, each with its number, until the reading is over.
    fn each(&self, next: &AtomicUsize, count: usize, act: impl Fn(usize, &Slot)) {
        while !self.is_over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = self.slots.get(number).filter(|_| number < count) else { break };
            act(number, slot);
        }
    }
}

impl Slot {
    fn keep(&self, part: Option<SavedPart>) {
        if let Ok(mut saved) = self.saved.try_lock() {
            *saved = part;
        }
    }

    /// Prefetches a part that was read but not yet prefetched; returns true if its freeze is still to come.
    fn look_again(&self) -> bool {
        let Some(read) = self.with_part(|part| part.prefetched.is_none().then(|| Arc::clone(&part.read))).flatten()
        else {
            return false;
        };
        let Ok(Some((part, entries))) = self.table.find_and_list(self.name.as_str()) else { return false };
        match Prefetched::prefetch(&part, entries, AlreadyRead { read: &read, stats: &[] }) {
            Ok(Prefetch::Ready(prefetched)) => {
                self.with_part(|part| part.prefetched = Some(prefetched));
                false
            }
            Ok(Prefetch::Pending) => true,
            Ok(Prefetch::Unsupported) | Err(_) => false,
        }
    }

    /// `None` if the part was not read or is no longer here.
    fn with_part<T>(&self, act: impl FnOnce(&mut SavedPart) -> T) -> Option<T> {
        self.saved.try_lock().ok()?.as_mut().map(act)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::IdleReading;
    use crate::exec::live::save_left_out;
    use crate::fs::{Dir, real};
    use crate::model::PartName;

    const PARTS: usize = 40;

    fn name(number: usize) -> PartName {
        PartName::try_from(format!("all_{number}_{number}_0")).expect("a part's name")
    }

    /// Does what FREEZE does to each file that it links.
    fn freeze(part: &Path) {
        for entry in std::fs::read_dir(part).expect("a part").flatten() {
            std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o440)).expect("a file of ours");
        }
    }

    /// A table of whole parts, each with a metadata version; the last one is gone.
    fn table(folder: &Path) -> Vec<(PartName, Arc<Dir>)> {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/checksums/fixtures/18.16-tiny");
        for number in 1..PARTS {
            let part = folder.join(name(number).as_str());
            std::fs::create_dir(&part).expect("made");
            for entry in std::fs::read_dir(&fixture).expect("a fixture").flatten() {
                std::fs::copy(entry.path(), part.join(entry.file_name())).expect("copied");
            }
            std::fs::write(part.join("metadata_version.txt"), number.to_string()).expect("written");
            freeze(&part);
        }
        let dir = Arc::new(Dir::open(folder, real()).expect("it is there"));
        (1..=PARTS).map(|number| (name(number), Arc::clone(&dir))).collect()
    }

    #[test]
    fn everything_is_read_in_the_end_however_far_idle_threads_came() {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = table(folder.path());
        let names: Vec<(&PartName, &Dir)> = parts.iter().map(|(name, dir)| (name, &**dir)).collect();
        let expected = save_left_out(&names).expect("it is read");
        for (threads, pause) in [(0, 0), (1, 0), (3, 1), (3, 20)] {
            let idle = IdleReading::begin(parts.clone(), threads);
            std::thread::sleep(Duration::from_millis(pause));
            let mut saved = idle.finish(0).expect("it is read");
            for part in saved.values_mut() {
                part.prefetched = None;
            }
            assert_eq!(saved.len(), PARTS - 1, "{threads} threads");
            for (name, part) in &expected {
                assert_eq!(format!("{:?}", saved.get(name).expect("it is there")), format!("{part:?}"));
            }
        }
    }

    #[test]
    fn a_few_unread_parts_are_left_to_the_check() {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = table(folder.path());
        let read =
            |left_to_others| IdleReading::begin(parts.clone(), 0).finish(left_to_others).expect("it is read").len();
        assert_eq!((read(PARTS), read(PARTS - 1)), (0, PARTS - 1));
    }

    #[test]
    fn with_time_left_all_parts_are_prefetched() {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = table(folder.path());
        let begun = Instant::now();
        let is_prefetched = |part: &super::SavedPart| part.prefetched.is_some();
        // On a busy machine idle threads have to wait, so each turn gives them more time.
        for pause in (0..).map(|turn| Duration::from_millis(1 << turn)) {
            let idle = IdleReading::begin(parts.clone(), 2);
            std::thread::sleep(pause);
            let saved = idle.finish(PARTS).expect("it is read");
            if saved.len() == PARTS - 1 && saved.values().all(is_prefetched) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(300), "idle threads never had a core");
        }
    }
}
