//! The cache on real folders, with media that are full, slow or killed.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel as pipe};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::Seq;
use eddy_core::stream::file::FileId;

use super::fixture::{FILE, NEXT, Temporary, channel, frames};
use super::queue::CAPACITY;
use super::worker::advice;
use super::write::{Medium, System};
use super::{Answer, CacheError, Disk, Found, StoreError};

/// The longest that a test waits for an answer.
const LIMIT: Duration = Duration::from_secs(20);

/// A cache and its answers.
struct Opened {
    disk: Disk,
    found: Vec<Found>,
    answers: Receiver<Answer>,
}

impl Opened {
    fn new(dir: &Path) -> Self {
        Self::on(System, dir)
    }

    fn on(medium: impl Medium, dir: &Path) -> Self {
        let (sender, answers) = pipe();
        let answer = move |answer| drop(sender.send(answer));
        let (disk, found) = Disk::on(medium, dir, &channel(), answer).unwrap();
        Self { disk, found, answers }
    }

    fn answer(&self) -> Answer {
        self.answers.recv_timeout(LIMIT).expect("every request is answered")
    }

    fn store(&self, file: FileId, frames: Vec<Bytes>) -> Result<u64, StoreError> {
        self.disk.store(file, frames);
        let Answer::Stored { file: stored, bytes } = self.answer() else { panic!("not stored") };
        assert_eq!(stored, file);
        bytes
    }

    fn load(&self, file: FileId, first: Seq, blocks: u32) -> Option<Bytes> {
        self.disk.load(7, file, first, blocks);
        let Answer::Loaded { ticket: 7, frames } = self.answer() else { panic!("not loaded") };
        frames
    }

    fn whole(&self, file: FileId) -> Option<Bytes> {
        self.load(file, file.first(&channel()), 10)
    }
}

/// The channel's folder in that of the cache.
fn folder(dir: &Path) -> PathBuf {
    let mut entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.is_dir()).unwrap()
}

/// Names of the files in it.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder(dir)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn length(file: FileId) -> u64 {
    frames(file).concat().len() as u64
}

#[test]
fn what_is_stored_is_loaded_now_and_after_a_restart() {
    let dir = Temporary::new();
    let cache = Opened::new(dir.path());
    assert_eq!(cache.found, []);
    assert_eq!(cache.whole(FILE), None);
    assert_eq!(cache.store(FILE, frames(FILE)), Ok(length(FILE)));
    let check = |cache: &Opened| {
        let first = FILE.first(&channel());
        assert_eq!(cache.whole(FILE), Some(frames(FILE).concat().into()));
        let part = frames(FILE)[3..5].concat();
        assert_eq!(cache.load(FILE, first.plus(3), 2), Some(part.into()));
        assert_eq!(cache.load(FILE, first.plus(3), 8), None);
        assert_eq!(cache.load(FILE, first, 0), None);
        assert_eq!(cache.whole(NEXT), None);
    };
    check(&cache);
    drop(cache);
    let cache = Opened::new(dir.path());
    assert_eq!(cache.found, [Found { file: FILE, bytes: length(FILE), blocks: 10 }]);
    check(&cache);
}

#[test]
fn a_deleted_file_is_gone() {
    let dir = Temporary::new();
    let cache = Opened::new(dir.path());
    for _ in 0..2 {
        cache.store(FILE, frames(FILE)).unwrap();
        assert!(cache.whole(FILE).is_some());
        cache.disk.delete(FILE);
        cache.disk.delete(NEXT);
        assert_eq!(cache.whole(FILE), None);
        assert_eq!(names(dir.path()), [""; 0]);
    }
}

#[test]
fn a_file_stored_again_takes_the_place_of_the_old_one() {
    let dir = Temporary::new();
    let cache = Opened::new(dir.path());
    cache.store(FILE, frames(FILE)).unwrap();
    assert!(cache.whole(FILE).is_some());
    let mut other = frames(FILE);
    other[2] = [&other[2][..100], &[9; 177]].concat().into();
    cache.store(FILE, other.clone()).unwrap();
    assert_eq!(cache.whole(FILE), Some(other.concat().into()));
    assert_eq!(names(dir.path()).len(), 1);
}

#[test]
fn what_is_no_file_is_not_stored() {
    let dir = Temporary::new();
    let cache = Opened::new(dir.path());
    let good = frames(FILE);
    let with = |at: usize, frame: &[u8]| {
        let mut frames = good.clone();
        frames[at] = Bytes::copy_from_slice(frame);
        frames
    };
    let bad = [
        Vec::new(),
        good[1..].to_vec(),
        good[..9].to_vec(),
        [&good[..], &good[9..]].concat(),
        frames(NEXT),
        with(4, &[]),
        with(4, &good[5]),
        with(4, &good[4][1..]),
        with(4, &good[4][..20]),
        with(4, &[&good[4][..], &[0]].concat()),
        vec![good.concat().into()],
    ];
    for frames in bad {
        assert_eq!(cache.store(FILE, frames), Err(StoreError::Failed));
    }
    let between = FileId { start: FILE.start + 1 };
    assert_eq!(cache.store(between, good.clone()), Err(StoreError::Failed));
    let beyond = FileId { start: u64::MAX - 1 };
    assert_eq!(cache.store(beyond, good), Err(StoreError::Failed));
    assert_eq!(cache.load(beyond, Seq(0), 1), None);
    cache.disk.delete(beyond);
    assert_eq!(cache.whole(FILE), None);
    assert_eq!(names(dir.path()), [""; 0]);
}

/// A disk with so much room, that fails like this where there is no more.
struct Small {
    room: usize,
    fails: io::ErrorKind,
    /// It fails only when it is to be synced.
    late: bool,
}

struct SmallFile {
    file: File,
    room: usize,
    fails: io::ErrorKind,
    late: bool,
    spilt: bool,
}

impl Medium for Small {
    type File = SmallFile;

    fn create(&self, path: &Path) -> io::Result<SmallFile> {
        let Self { room, fails, late } = *self;
        Ok(SmallFile { file: System.create(path)?, room, fails, late, spilt: false })
    }

    fn sync(&self, file: &SmallFile) -> io::Result<()> {
        if file.spilt { Err(self.fails.into()) } else { System.sync(&file.file) }
    }
}

impl Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.room);
        if fits == 0 && self.late {
            self.spilt = true;
            return Ok(bytes.len());
        }
        if fits == 0 {
            return Err(self.fails.into());
        }
        self.room -= fits;
        self.file.write(&bytes[..fits])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[test]
fn a_full_disk_is_told_and_keeps_no_part_of_a_file() {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, StorageFull};
    let whole = length(FILE) as usize;
    for (fails, error) in [
        (StorageFull, StoreError::Full),
        (QuotaExceeded, StoreError::Full),
        (PermissionDenied, StoreError::Failed),
    ] {
        for (room, late) in [(0, false), (1, false), (whole - 1, false), (whole - 1, true)] {
            let dir = Temporary::new();
            let cache = Opened::on(Small { room, fails, late }, dir.path());
            assert_eq!(cache.store(FILE, frames(FILE)), Err(error), "room for {room}");
            assert_eq!(names(dir.path()), [""; 0], "room for {room}");
            assert_eq!(cache.whole(FILE), None);
        }
        let dir = Temporary::new();
        let cache = Opened::on(Small { room: whole, fails, late: false }, dir.path());
        assert_eq!(cache.store(FILE, frames(FILE)), Ok(whole as u64));
    }
}

#[test]
fn hints_name_the_options_of_viewers_and_of_providers() {
    let (_, full) = advice(io::ErrorKind::StorageFull);
    assert!(full.contains("--quota") && full.contains("--keep"), "{full}");
    let names = CacheError::Names.hint();
    assert!(names.contains("--cache none") && names.contains("--keep 0"), "{names}");
}

#[test]
fn a_file_stays_if_there_is_no_room_for_a_new_one_in_its_place() {
    let dir = Temporary::new();
    Opened::new(dir.path()).store(FILE, frames(FILE)).unwrap();
    let small = Small { room: 100, fails: io::ErrorKind::StorageFull, late: false };
    let cache = Opened::on(small, dir.path());
    assert_eq!(cache.store(FILE, frames(FILE)), Err(StoreError::Full));
    assert_eq!(cache.whole(FILE), Some(frames(FILE).concat().into()));
    assert_eq!(names(dir.path()).len(), 1);
}

/// A file system in memory with room for one file; unmounted in the end.
struct TinyDisk(Temporary);

impl TinyDisk {
    /// `None` for who may not mount.
    fn mount() -> Option<Self> {
        let dir = Temporary::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24k", "tmpfs"]).arg(dir.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self(dir))
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_really_full_disk_has_room_again_after_a_deletion() {
    let Some(disk) = TinyDisk::mount() else {
        println!("not allowed to mount a small disk; a disk that acts full is tested above");
        return;
    };
    let dir = disk.0.path();
    let cache = Opened::new(dir);
    let mut stored = Vec::new();
    let refused = loop {
        let file = FileId { start: FILE.start + 2 * stored.len() as u64 };
        match cache.store(file, frames(file)) {
            Ok(_) => stored.push(file),
            Err(error) => break (file, error),
        }
        assert!(stored.len() < 10, "six pages have room for less");
    };
    assert!(!stored.is_empty());
    assert_eq!(refused.1, StoreError::Full);
    assert_eq!(names(dir).len(), stored.len());
    assert!(stored.iter().all(|file| cache.whole(*file).is_some()));
    cache.disk.delete(stored[0]);
    assert!(cache.store(refused.0, frames(refused.0)).is_ok());
}

/// A disk that makes a file only for a permit, and says when it waits for one.
struct Slow {
    waits: Sender<()>,
    permits: Receiver<()>,
}

impl Medium for Slow {
    type File = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        self.waits.send(()).map_err(io::Error::other)?;
        self.permits.recv_timeout(LIMIT).map_err(io::Error::other)?;
        System.create(path)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        System.sync(file)
    }
}

/// A cache whose disk is slow, how to see that it waits, and its permits.
fn slow(dir: &Path) -> (Opened, Receiver<()>, Sender<()>) {
    let ((waits, waiting), (permit, permits)) = (pipe(), pipe());
    (Opened::on(Slow { waits, permits }, dir), waiting, permit)
}

#[test]
fn nobody_waits_for_a_slow_disk() {
    let dir = Temporary::new();
    let (cache, waiting, permit) = slow(dir.path());
    cache.disk.store(FILE, frames(FILE));
    waiting.recv_timeout(LIMIT).unwrap();
    let first = FILE.first(&channel());
    for ticket in 0..CAPACITY as u64 {
        cache.disk.load(ticket, FILE, first, 1);
    }
    assert!(cache.answers.try_recv().is_err(), "nothing is done yet");
    // These are refused by the time the call returns.
    cache.disk.load(100, FILE, first, 1);
    cache.disk.store(NEXT, frames(NEXT));
    let refused: Vec<Answer> = cache.answers.try_iter().collect();
    let no = Err(StoreError::Failed);
    assert_eq!(
        refused,
        [Answer::Loaded { ticket: 100, frames: None }, Answer::Stored { file: NEXT, bytes: no }]
    );
    cache.disk.delete(FILE);

    permit.send(()).unwrap();
    assert_eq!(cache.answer(), Answer::Stored { file: FILE, bytes: Ok(length(FILE)) });
    for ticket in 0..CAPACITY as u64 {
        let frames = Some(frames(FILE)[0].clone());
        assert_eq!(cache.answer(), Answer::Loaded { ticket, frames });
    }
    assert_eq!(cache.whole(FILE), None, "a deletion always finds room");
    assert!(cache.answers.try_recv().is_err(), "one answer each");
}

#[test]
fn a_file_deleted_while_it_is_loaded_is_loaded_before_it_goes() {
    let dir = Temporary::new();
    let (cache, waiting, permit) = slow(dir.path());
    permit.send(()).unwrap();
    cache.store(FILE, frames(FILE)).unwrap();
    waiting.recv_timeout(LIMIT).unwrap();

    cache.disk.store(NEXT, frames(NEXT));
    waiting.recv_timeout(LIMIT).unwrap();
    let first = FILE.first(&channel());
    cache.disk.load(1, FILE, first, 1);
    cache.disk.delete(FILE);
    cache.disk.load(2, FILE, first, 1);
    permit.send(()).unwrap();
    assert_eq!(cache.answer(), Answer::Stored { file: NEXT, bytes: Ok(length(NEXT)) });
    let frames = Some(frames(FILE)[0].clone());
    assert_eq!(cache.answer(), Answer::Loaded { ticket: 1, frames });
    assert_eq!(cache.answer(), Answer::Loaded { ticket: 2, frames: None });
}

#[test]
fn what_was_taken_is_done_before_the_end() {
    let dir = Temporary::new();
    let (cache, waiting, permit) = slow(dir.path());
    for file in [FILE, NEXT] {
        cache.disk.store(file, frames(file));
        permit.send(()).unwrap();
    }
    cache.disk.delete(FILE);
    drop(cache.disk);
    assert_eq!(waiting.try_iter().count(), 2);
    assert_eq!(cache.answers.try_iter().count(), 2);
    let found: Vec<_> = Opened::new(dir.path()).found.iter().map(|found| found.file).collect();
    assert_eq!(found, [NEXT]);
}

#[test]
fn a_damaged_or_removed_file_is_not_loaded() {
    let dir = Temporary::new();
    let cache = Opened::new(dir.path());
    let damages: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, &frames(FILE).concat()[1..]).unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(900).unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
    ];
    for damage in damages {
        cache.store(FILE, frames(FILE)).unwrap();
        damage(&folder(dir.path()).join(&names(dir.path())[0]));
        assert_eq!(cache.whole(FILE), None);
    }
    assert_eq!(
        cache.store(FILE, frames(FILE)),
        Err(StoreError::Failed),
        "a folder is in its place"
    );
    assert_eq!(cache.store(NEXT, frames(NEXT)), Ok(length(NEXT)));
}

#[test]
fn links_are_replaced_not_followed() {
    let (dir, outside) = (Temporary::new(), Temporary::new());
    let cache = Opened::new(dir.path());
    cache.store(FILE, frames(FILE)).unwrap();
    let place = folder(dir.path()).join(&names(dir.path())[0]);
    let part = place.with_file_name(format!("{}.part", names(dir.path())[0]));
    let target = outside.path().join("target");
    fs::rename(&place, &target).unwrap();
    cache.disk.delete(FILE);
    assert_eq!(cache.whole(FILE), None);

    symlink(&target, &place).unwrap();
    symlink(&target, &part).unwrap();
    assert_eq!(cache.whole(FILE), None);
    fs::write(&target, "precious").unwrap();
    cache.store(FILE, frames(FILE)).unwrap();
    assert!(cache.whole(FILE).is_some());
    assert!(fs::symlink_metadata(&place).unwrap().is_file() && !part.exists());
    fs::remove_file(&place).unwrap();
    symlink(&target, &place).unwrap();
    cache.disk.delete(FILE);
    drop(cache);
    assert!(fs::symlink_metadata(&place).is_err());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn after_a_fault_of_its_own_it_refuses() {
    let dir = Temporary::new();
    let (sender, answers) = pipe();
    let answer = move |answer| {
        assert!(!matches!(answer, Answer::Stored { bytes: Ok(_), .. }), "the fault, on purpose");
        drop(sender.send(answer));
    };
    let (disk, _) = Disk::open(dir.path(), &channel(), answer).unwrap();
    disk.store(FILE, frames(FILE));
    while disk.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
        std::thread::yield_now();
    }
    disk.load(1, FILE, FILE.first(&channel()), 1);
    assert_eq!(answers.try_recv(), Ok(Answer::Loaded { ticket: 1, frames: None }));
}

/// Where the process finds its folder that is to be killed.
const KILLED_IN: &str = "EDDY_TEST_KILLED_IN";

#[test]
#[ignore = "the test below starts it, and kills it"]
fn stores_until_it_is_killed() {
    let dir = std::env::var_os(KILLED_IN).expect("the test below gives the folder");
    let cache = Opened::new(Path::new(&dir));
    for start in (cache.found.len() as u64 * 2..).step_by(2) {
        let file = FileId { start };
        cache.store(file, frames(file)).unwrap();
        println!("stored {start}");
    }
}

#[test]
fn what_was_stored_is_there_after_a_kill_and_nothing_else() {
    let dir = Temporary::new();
    let mut said = Vec::new();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "cache::tests::stores_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(KILLED_IN, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let starts = lines.map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("stored ").map(|start| start.parse::<u64>().unwrap())
        });
        let mut starts = starts.inspect(|start| said.push(*start));
        assert!(starts.nth(5 + round).is_some(), "it stores");
        child.kill().unwrap();
        starts.for_each(drop);
        child.wait().unwrap();

        let cache = Opened::new(dir.path());
        let found: Vec<u64> = cache.found.iter().map(|found| found.file.start).collect();
        assert!(said.iter().all(|start| found.contains(start)), "{said:?} but {found:?}");
        assert!(found.len() <= said.len() + 1 + round, "one more may be there than was said");
        assert_eq!(names(dir.path()).len(), found.len());
        for Found { file, .. } in &cache.found {
            assert_eq!(cache.whole(*file), Some(frames(*file).concat().into()));
        }
    }
}
