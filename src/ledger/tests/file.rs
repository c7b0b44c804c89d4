//! The ledger file: what it keeps through a crash, and what of a file that was found is not believed.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, MemfdFlags, Mode, SealFlags};
use uuid::Uuid;

use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::Windows,
        time::{UnixMillis, Version},
    },
    ledger::{
        file::{
            Booking, FileError, Found, Identity, LedgerFile, Leftover, LockedFile, Record, SetAsideReason,
            boot_id,
        },
        word::{Totals, Word},
    },
    ports::{BucketKey, Incarnation, SlotKey, Span},
};

const PAGE: usize = 4096;
/// In a segment of one page.
const EACH: usize = 16;
const END: UnixMillis = UnixMillis(2_000_000);
const COUNTED: Windows = Windows::from_bits(0b1010);

fn identity() -> Identity {
    Identity { node: "a".to_owned(), database: "7301".to_owned(), boot: Some([7; 16]) }
}

fn slot(seq: u64) -> SlotKey {
    let bucket = BucketKey {
        tenant: TenantId::parse(&format!("tenant-{}", seq % 7)).unwrap(),
        meter: MeterId::parse("requests").unwrap(),
        span: Span::ALL[usize::try_from(seq % 7).unwrap()],
        start: UnixMillis(-1_000_000),
        epoch: Version(seq / 3),
    };
    SlotKey { bucket, incarnation: Incarnation(Uuid::from_u128(0x0123_4567 << 90)), seq }
}

fn booked(slot: &SlotKey) -> Booking {
    let counting = if slot.bucket.span == Span::Grant { Version(u64::MAX) } else { slot.bucket.epoch };
    Booking { counted: COUNTED, counting }
}

fn lock(folder: &Path) -> LockedFile {
    LedgerFile::lock(folder).unwrap().with_segment_bytes(1)
}

fn open(folder: &Path) -> (LedgerFile, Found) {
    lock(folder).open(&identity(), 0).unwrap()
}

/// A file in memory.
fn loose() -> File {
    File::from(rustix::fs::memfd_create("ledger", MemfdFlags::ALLOW_SEALING).unwrap())
}

fn open_loose(file: &File) -> (LedgerFile, Found) {
    LockedFile::over(file.try_clone().unwrap()).unwrap().with_segment_bytes(1).open(&identity(), 0).unwrap()
}

fn image(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Makes the file hold just these bytes. Nobody has it mapped.
fn restore(file: &File, bytes: &[u8]) {
    file.set_len(0).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

/// Counts on some slots: what is returned is the truth that a file must not fall behind.
fn count(file: &LedgerFile, seqs: std::ops::Range<u64>) -> Vec<(SlotKey, Totals)> {
    let held: Vec<Record> =
        seqs.clone().map(|seq| file.record(&slot(seq), END, booked(&slot(seq))).unwrap()).collect();
    for (seq, word) in seqs.clone().zip(&held) {
        word.open(1000 + seq);
        word.spend(500 + seq, true);
        word.refund(seq);
        if seq % 3 == 0 {
            word.seal();
        }
    }
    seqs.zip(&held).map(|(seq, word)| (slot(seq), word.totals())).collect()
}

fn told(leftovers: &[Leftover]) -> Vec<(SlotKey, Totals)> {
    assert!(leftovers.iter().all(|leftover| leftover.booking == booked(&leftover.slot)));
    let mut told: Vec<_> = leftovers.iter().map(|left| (left.slot.clone(), left.totals)).collect();
    assert!(leftovers.iter().all(|left| left.end == END));
    told.sort_by_key(|(slot, _)| slot.seq);
    told
}

fn leftovers(found: Found) -> Vec<Leftover> {
    match found {
        Found::Leftovers(leftovers) => leftovers,
        other => panic!("{other:?}"),
    }
}

fn reason(found: &Found) -> &SetAsideReason {
    match found {
        Found::SetAside { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn aside(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut aside: Vec<_> =
        entries.filter(|path| path.to_str().unwrap().contains("ledger.set-aside-")).collect();
    aside.sort();
    aside
}

#[test]
fn what_was_counted_outlives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made/by/us");
    let locked = lock(&folder);
    let id = locked.id();
    assert_eq!(locked.open_count(), 0);
    let (file, found) = locked.open(&identity(), 0).unwrap();
    assert_eq!((found, file.id(), file.open_count()), (Found::New, id, 1));
    let truth = count(&file, 0..40);
    assert_eq!((file.figures().in_use, file.figures().capacity), (40, 3 * EACH));
    assert_eq!(file.figures().bytes, fs::metadata(folder.join("ledger")).unwrap().len());
    drop(file);

    let locked = lock(&folder);
    assert_eq!((locked.id(), locked.open_count()), (id, 1));
    let (file, found) = locked.open(&identity(), 1).unwrap();
    let left = leftovers(found);
    assert_eq!(told(&left), truth);
    assert_eq!((file.open_count(), file.figures().in_use), (2, 40));
    // The next run crashes before it has told the database of all of them.
    file.forget(&left[..10]);
    file.forget(&left[..10]);
    assert_eq!(file.figures().in_use, 30);
    let more = count(&file, 40..60);
    drop(file);

    let (file, found) = open(&folder);
    let left = leftovers(found);
    assert_eq!(told(&left), [&truth[10..], &more[..]].concat());
    file.forget(&left);
    assert_eq!(file.figures().in_use, 0);
    drop(file);
    assert_eq!(open(&folder).1, Found::Leftovers(Vec::new()));
    assert_eq!(aside(&folder), Vec::<PathBuf>::new());
}

#[test]
fn a_clean_stop_leaves_nothing_to_believe() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = open(folder.path());
    count(&file, 0..20);
    let held = file.record(&slot(20), END, booked(&slot(20))).unwrap();
    file.close_clean().unwrap();
    assert!(matches!(file.record(&slot(21), END, booked(&slot(21))), Err(FileError::Closed)));
    assert!(matches!(file.distrust(SetAsideReason::BehindDatabase), Err(FileError::Closed)));
    held.release();
    drop((file, held));
    // In another boot, too: nothing had to be kept.
    let other = Identity { boot: Some([8; 16]), ..identity() };
    let (file, found) = lock(folder.path()).open(&other, 1).unwrap();
    assert_eq!((found, file.figures().in_use, file.figures().capacity), (Found::Clean, 0, 2 * EACH));
    let truth = count(&file, 50..55);
    drop(file);
    let (_, found) = lock(folder.path()).open(&other, 2).unwrap();
    assert_eq!(told(&leftovers(found)), truth, "none of the words from before the clean stop");
}

#[test]
fn the_words_of_others_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let others = [
        (Identity { boot: Some([8; 16]), ..identity() }, SetAsideReason::AnotherBoot),
        (Identity { boot: None, ..identity() }, SetAsideReason::AnotherBoot),
        (Identity { node: "b".to_owned(), ..identity() }, SetAsideReason::AnotherNode("a".to_owned())),
        (
            Identity { database: "7302".to_owned(), ..identity() },
            SetAsideReason::AnotherDatabase("7301".to_owned()),
        ),
    ];
    for (number, (other, expected)) in others.into_iter().enumerate() {
        let folder = folder.path().join(number.to_string());
        let (file, _) = open(&folder);
        count(&file, 0..20);
        drop(file);
        let before = fs::read(folder.join("ledger")).unwrap();
        let locked = lock(&folder);
        let id = locked.id();
        let (file, found) = locked.open(&other, 0).unwrap();
        assert_eq!(found, Found::SetAside { reason: expected, slots: 20 });
        assert_eq!((file.id(), file.open_count(), file.figures().in_use), (id, 2, 0));
        assert_eq!(fs::read(&aside(&folder)[0]).unwrap(), before, "the evidence is kept as it was");
        count(&file, 0..3);
        assert!(matches!(LedgerFile::lock(&folder), Err(FileError::InUse(_))), "the new file is locked");
        drop(file);
        let left = lock(&folder).open(&other, 0).unwrap().1;
        if other.boot.is_some() {
            assert_eq!(leftovers(left).len(), 3, "the new file is as good as any");
        } else {
            assert_eq!(*reason(&left), SetAsideReason::AnotherBoot, "an unknown boot is never the same");
        }
    }
}

#[test]
fn another_boot_without_words_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = open(folder.path());
    let record = file.record(&slot(1), END, booked(&slot(1))).unwrap();
    record.release();
    drop((record, file));
    let other = Identity { boot: Some([8; 16]), ..identity() };
    assert_eq!(lock(folder.path()).open(&other, 0).unwrap().1, Found::Leftovers(Vec::new()));
}

#[test]
fn a_clean_file_of_others_is_set_aside_too() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).0.close_clean().unwrap();
    let other = Identity { node: "b".to_owned(), ..identity() };
    let found = lock(folder.path()).open(&other, 0).unwrap().1;
    assert_eq!(*reason(&found), SetAsideReason::AnotherNode("a".to_owned()));
}

#[test]
fn three_files_are_kept_and_names_of_others_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let name = |rest: &str| folder.path().join(format!("ledger.set-aside-{rest}"));
    let strange = [name("18446744073709551615"), name("old"), name("-1"), name("")];
    for path in &strange {
        fs::write(path, "mine").unwrap();
    }
    for round in 0..13_u8 {
        let boot = Identity { boot: Some([round; 16]), ..identity() };
        let (file, _) = lock(folder.path()).open(&boot, 0).unwrap();
        count(&file, 0..1);
    }
    let kept = aside(folder.path());
    assert!([name("10"), name("11"), name("12")].iter().chain(&strange).all(|path| kept.contains(path)));
    assert_eq!(kept.len(), 3 + strange.len());
}

#[test]
fn a_copy_is_not_believed_and_gets_a_name_of_its_own() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, _) = open(one.path());
    let truth = count(&file, 0..20);
    // While the original runs, and into another folder.
    fs::copy(one.path().join("ledger"), two.path().join("ledger")).unwrap();
    let locked = lock(two.path());
    assert_ne!(locked.id(), file.id());
    assert_eq!(locked.open_count(), 0);
    let id = locked.id();
    let (copy, found) = locked.open(&identity(), 0).unwrap();
    assert_eq!(found, Found::SetAside { reason: SetAsideReason::Copied, slots: 20 });
    assert_eq!(copy.id(), id);
    drop(file);
    assert_eq!(told(&leftovers(open(one.path()).1)), truth);
    // In the place of the original.
    fs::rename(one.path().join("ledger"), one.path().join("original")).unwrap();
    fs::copy(one.path().join("original"), one.path().join("ledger")).unwrap();
    assert_eq!(*reason(&open(one.path()).1), SetAsideReason::Copied);
    // The original itself, back from where it was.
    fs::rename(one.path().join("original"), one.path().join("ledger")).unwrap();
    assert_eq!(told(&leftovers(open(one.path()).1)), truth);
}

/// Changes the header as only who knows the format could, checksum and all.
fn forge(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes[..12]);
    sum.update(&bytes[16..PAGE]);
    bytes[12..16].copy_from_slice(&sum.finalize().to_le_bytes());
}

#[test]
fn each_part_of_the_stamp_counts() {
    let memory = loose();
    let truth = count(&open_loose(&memory).0, 0..5);
    let good = image(&memory);
    for at in [32, 40, 48] {
        let mut forged = good.clone();
        forge(&mut forged, at, &[good[at] ^ 1]);
        restore(&memory, &forged);
        assert_eq!(*reason(&open_loose(&memory).1), SetAsideReason::Copied, "byte {at}");
    }
    restore(&memory, &good);
    assert_eq!(told(&leftovers(open_loose(&memory).1)), truth);
}

#[test]
fn an_older_state_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    for opens in 1..=4 {
        let (file, _) = open(folder.path());
        assert_eq!(file.open_count(), opens);
        count(&file, opens * 10..opens * 10 + 2);
    }
    // Opened by a run that did not come to tell the database: not behind, so believed.
    let (file, found) = lock(folder.path()).open(&identity(), 3).unwrap();
    assert_eq!((leftovers(found).len(), file.open_count()), (8, 5));
    drop(file);
    let (file, found) = lock(folder.path()).open(&identity(), 9).unwrap();
    assert_eq!(*reason(&found), SetAsideReason::Outdated { own: 5, database: 9 });
    assert_eq!(file.open_count(), 10, "ahead of the database again");
    drop(file);
    let (file, found) = lock(folder.path()).open(&identity(), u64::MAX).unwrap();
    assert_eq!(reason(&found), &SetAsideReason::Outdated { own: 10, database: u64::MAX });
    assert_eq!(file.open_count(), i64::MAX.unsigned_abs(), "which the database can hold");
}

#[test]
fn a_file_that_ends_too_soon_is_not_believed() {
    let memory = loose();
    count(&open_loose(&memory).0, 0..40);
    let good = image(&memory);
    assert_eq!(good.len(), 4 * PAGE);
    for length in (1..good.len()).step_by(97).chain([PAGE - 1, PAGE, PAGE + 1, PAGE + 128, good.len() - 1]) {
        restore(&memory, &good[..length]);
        let (file, found) = open_loose(&memory);
        assert_eq!(*reason(&found), SetAsideReason::Truncated, "{length}");
        assert_eq!(file.figures().in_use, 0);
    }
    for length in [0, 1, 2048, 6000] {
        let folder = tempfile::tempdir().unwrap();
        count(&open(folder.path()).0, 0..40);
        File::options().write(true).open(folder.path().join("ledger")).unwrap().set_len(length).unwrap();
        assert_eq!(*reason(&open(folder.path()).1), SetAsideReason::Truncated, "{length}");
        assert_eq!(open(folder.path()).1, Found::Leftovers(Vec::new()));
    }
}

#[test]
fn every_changed_byte_of_the_header_is_found() {
    let memory = loose();
    count(&open_loose(&memory).0, 0..5);
    let good = image(&memory);
    for (at, change) in (0..PAGE).flat_map(|at| [(at, 0xff), (at, 1 << (at % 8)), (at, 1 << ((at + 3) % 8))])
    {
        let mut bad = good.clone();
        bad[at] ^= change;
        restore(&memory, &bad);
        let (file, found) = open_loose(&memory);
        let expected = match at {
            8..12 => matches!(reason(&found), SetAsideReason::UnknownVersion(version) if *version != 1),
            _ => *reason(&found) == SetAsideReason::DamagedHeader,
        };
        assert!(expected, "byte {at}: {found:?}");
        assert_eq!((file.figures().in_use, file.open_count()), (0, 1));
    }
}

#[test]
fn a_header_that_nothing_of_ours_wrote_is_refused() {
    let memory = loose();
    count(&open_loose(&memory).0, 0..5);
    let good = image(&memory);
    let impossible: [(usize, &[u8]); 9] = [
        (0, b"PLGL"),
        (64, &0_u32.to_le_bytes()),
        (64, &100_u32.to_le_bytes()),
        (64, &(u32::MAX - 4095).to_le_bytes()),
        (68, &u32::MAX.to_le_bytes()),
        (68, &(1_u32 << 29).to_le_bytes()),
        (56, &u64::MAX.to_le_bytes()),
        (96, &[0xff]),
        (75, &[0xff]),
    ];
    for (at, value) in impossible {
        let mut bad = good.clone();
        forge(&mut bad, at, value);
        restore(&memory, &bad);
        assert!(matches!(open_loose(&memory).1, Found::SetAside { .. }), "byte {at}: {value:?}");
    }
}

#[test]
fn every_changed_byte_of_a_record_in_use_is_found() {
    let memory = loose();
    let truth = count(&open_loose(&memory).0, 0..3);
    let good = image(&memory);
    for (at, change) in
        (0..3 * 256).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit)).chain([(at, 0xff), (at, 0xa5)]))
    {
        let mut bad = good.clone();
        bad[PAGE + at] ^= change;
        restore(&memory, &bad);
        let (file, found) = open_loose(&memory);
        let record = u32::try_from(at / 256).unwrap();
        assert_eq!(*reason(&found), SetAsideReason::DamagedRecord(record), "byte {at} {change}");
        assert_eq!(file.figures().in_use, 0);
    }
    restore(&memory, &good);
    assert_eq!(told(&leftovers(open_loose(&memory).1)), truth);
}

#[test]
fn a_record_in_another_place_or_file_is_found() {
    let (one, two) = (loose(), loose());
    count(&open_loose(&one).0, 0..3);
    count(&open_loose(&two).0, 0..3);
    let good = image(&one);
    let foreign = image(&two);
    for (to, record) in [
        (0, &good[PAGE + 256..PAGE + 512]),
        (5, &good[PAGE..PAGE + 256]),
        (1, &foreign[PAGE + 256..PAGE + 512]),
    ] {
        let mut bad = good.clone();
        bad[PAGE + to * 256..][..256].copy_from_slice(record);
        restore(&one, &bad);
        let damaged = u32::try_from(to).unwrap();
        assert_eq!(*reason(&open_loose(&one).1), SetAsideReason::DamagedRecord(damaged));
    }
}

/// Changes a record as only who knows the format could.
fn forge_record(bytes: &mut [u8], at: usize, value: &[u8]) {
    let id = bytes[16..32].to_vec();
    let record = &mut bytes[PAGE..PAGE + 256];
    record[at..at + value.len()].copy_from_slice(value);
    let mut sum = crc32fast::Hasher::new();
    sum.update(&id);
    sum.update(&0_u32.to_ne_bytes());
    sum.update(&record[40..]);
    record[32..40].copy_from_slice(&u64::from(sum.finalize()).to_ne_bytes());
}

#[test]
fn a_description_that_describes_nothing_is_refused() {
    let memory = loose();
    count(&open_loose(&memory).0, 0..1);
    let good = image(&memory);
    let shape = |window: u8, tenant: u8, meter: u8| {
        u64::from_le_bytes([window, tenant, meter, COUNTED.bits(), 0, 0, 0, 0])
    };
    let impossible: [(usize, u64); 12] = [
        (88, shape(7, 8, 8)),
        (88, shape(0, 0, 8)),
        (88, shape(0, 7, 8)),
        (88, shape(0, 8, 0)),
        (88, shape(0, 65, 8)),
        (88, shape(0, 8, 255)),
        (88, shape(0, 8, 8) | (1 << 63)),
        (88, shape(0, 8, 8) | (16 << 24)),
        (72, (-1_000_000_i64).cast_unsigned()),
        (96, u64::from_ne_bytes(*b"Tenant-0")),
        (224, 1),
        (248, 1),
    ];
    let mut same = good.clone();
    forge_record(&mut same, 88, &shape(0, 8, 8).to_ne_bytes());
    assert!(same == good, "the forger knows the format");
    for (at, value) in impossible {
        let mut bad = good.clone();
        forge_record(&mut bad, at, &value.to_ne_bytes());
        restore(&memory, &bad);
        assert_eq!(*reason(&open_loose(&memory).1), SetAsideReason::DamagedRecord(0), "{at} {value:x}");
    }
}

#[test]
fn a_crash_between_two_steps_loses_and_invents_nothing() {
    let memory = loose();
    // Made, named, never opened.
    let id = LockedFile::over(memory.try_clone().unwrap()).unwrap().id();
    let locked = LockedFile::over(memory.try_clone().unwrap()).unwrap().with_segment_bytes(1);
    assert_eq!((locked.id(), locked.open_count()), (id, 0));
    let (file, found) = locked.open(&identity(), 0).unwrap();
    assert_eq!(found, Found::New);
    let truth = count(&file, 0..EACH as u64);
    let before = image(&memory);
    // A segment is reserved, but the header does not count it yet; what lies there is nobody's.
    for (tail, length) in [(0, PAGE), (0, 100), (0xa5, PAGE), (0xa5, 3 * PAGE)] {
        let grown = [before.clone(), vec![tail; length]].concat();
        restore(&memory, &grown);
        let (file, found) = open_loose(&memory);
        assert_eq!(told(&leftovers(found)), truth);
        let more = count(&file, 100..110);
        drop(file);
        assert_eq!(told(&leftovers(open_loose(&memory).1)), [&truth[..], &more[..]].concat());
    }
    // The header counts it already.
    restore(&memory, &before);
    let (file, _) = open_loose(&memory);
    let record = file.record(&slot(100), END, booked(&slot(100))).unwrap();
    // A record is described but not in use yet, or its word not zero yet.
    let mut grown = image(&memory);
    drop((record, file));
    grown[2 * PAGE + 24..][..8].fill(0);
    grown[2 * PAGE..][..24].fill(0xa5);
    restore(&memory, &grown);
    let (file, found) = open_loose(&memory);
    assert_eq!(told(&leftovers(found)), truth);
    let word = file.record(&slot(101), END, booked(&slot(101))).unwrap();
    assert_eq!(word.cells(), [0; 3], "a word begins at nothing whatever lay there");
}

#[test]
fn garbage_behind_the_end_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let truth = count(&open(folder.path()).0, 0..EACH as u64);
    let path = folder.path().join("ledger");
    let bytes = [fs::read(&path).unwrap(), vec![0xa5; 3 * PAGE]].concat();
    File::options().write(true).open(&path).unwrap().write_all_at(&bytes, 0).unwrap();
    let (file, found) = open(folder.path());
    assert_eq!(told(&leftovers(found)), truth);
    let more = count(&file, 50..80);
    drop(file);
    assert_eq!(told(&leftovers(open(folder.path()).1)), [truth, more].concat());
}

#[test]
fn a_released_record_is_used_again_when_nobody_holds_it() {
    let memory = loose();
    let (file, _) = open_loose(&memory);
    let first = file.record(&slot(1), END, booked(&slot(1))).unwrap();
    let second = file.record(&slot(2), END, booked(&slot(2))).unwrap();
    first.overrun(5);
    first.release();
    first.release();
    assert_eq!(file.figures().in_use, 1);
    second.release();
    assert_eq!(file.figures().in_use, 0);
    let held: Vec<Record> =
        (2..100).map(|seq| file.record(&slot(seq), END, booked(&slot(seq))).unwrap()).collect();
    first.overrun(1);
    assert_eq!(first.totals().used, 6, "as long as it is held it is nobody else's");
    assert!(held.iter().all(|word| word.totals().used == 0));
    let capacity = file.figures().capacity;
    drop((first, second));
    let free = capacity - held.len();
    let more: Vec<Record> = (0..free as u64)
        .map(|n| file.record(&slot(1000 + n), END, booked(&slot(1000 + n))).unwrap())
        .collect();
    assert_eq!(file.figures().capacity, capacity, "its place is used again");
    assert!(more.iter().all(|word| word.cells() == [0; 3]));
    for record in more.iter().chain(&held[1..]) {
        record.release();
    }
    // Dropping alone frees nothing.
    drop((more, held));
    assert_eq!(file.figures().in_use, 1);
    drop(file);
    assert_eq!(told(&leftovers(open_loose(&memory).1)).len(), 1);
}

#[test]
fn words_stay_where_they_are_while_the_file_grows() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = open(folder.path());
    let held: Vec<Record> = (0..2000)
        .map(|seq| {
            let word = file.record(&slot(seq), END, booked(&slot(seq))).unwrap();
            word.overrun(seq);
            word
        })
        .collect();
    let places: Vec<*const Word> = held.iter().map(|record| std::ptr::from_ref::<Word>(record)).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| held.iter().for_each(|word| word.overrun(1)));
        }
        scope.spawn(|| {
            (5000..5200).for_each(|seq| drop(file.record(&slot(seq), END, booked(&slot(seq))).unwrap()))
        });
    });
    for ((seq, word), place) in (0..).zip(&held).zip(places) {
        assert_eq!(word.totals().used, seq + 2);
        assert!(std::ptr::eq(&raw const **word, place));
    }
    // The file may go first: the words stay.
    drop(file);
    held[7].overrun(1);
    assert_eq!(held[7].totals().used, 10);
    drop(held);
    assert_eq!(leftovers(open(folder.path()).1).len(), 2200);
}

#[test]
fn a_file_that_cannot_grow_says_so_and_goes_on() {
    let memory = loose();
    let (file, _) = open_loose(&memory);
    let held: Vec<Record> =
        (0..EACH as u64).map(|seq| file.record(&slot(seq), END, booked(&slot(seq))).unwrap()).collect();
    rustix::fs::fcntl_add_seals(&memory, SealFlags::GROW).unwrap();
    assert!(matches!(file.record(&slot(99), END, booked(&slot(99))), Err(FileError::Unusable { .. })));
    held[3].overrun(1);
    held[4].release();
    drop(held);
    assert_eq!(file.record(&slot(99), END, booked(&slot(99))).unwrap().cells(), [0; 3]);
    assert_eq!(file.figures().in_use, EACH);
}

#[test]
fn distrust_sets_the_leftovers_aside() {
    let folder = tempfile::tempdir().unwrap();
    count(&open(folder.path()).0, 0..20);
    let (file, found) = open(folder.path());
    let left = leftovers(found);
    let held = file.record(&slot(50), END, booked(&slot(50))).unwrap();
    assert!(matches!(file.distrust(SetAsideReason::BehindDatabase), Err(FileError::Held)));
    held.release();
    let id = file.id();
    let found = file.distrust(SetAsideReason::BehindDatabase).unwrap();
    assert_eq!(found, Found::SetAside { reason: SetAsideReason::BehindDatabase, slots: 20 });
    assert_eq!((file.id(), file.open_count(), file.figures().in_use), (id, 3, 0));
    assert_eq!(aside(folder.path()).len(), 1);
    assert!(matches!(LedgerFile::lock(folder.path()), Err(FileError::InUse(_))));
    // What is left of the file before does nothing to this one.
    let truth = count(&file, 0..20);
    file.forget(&left);
    held.release();
    held.overrun(1);
    drop(held);
    assert_eq!(file.figures().in_use, 20);
    let more = count(&file, 20..40);
    drop(file);
    assert_eq!(told(&leftovers(open(folder.path()).1)), [truth, more].concat());
}

#[test]
fn the_leftovers_of_another_file_free_nothing_here() {
    let (one, two) = (loose(), loose());
    count(&open_loose(&one).0, 0..5);
    count(&open_loose(&two).0, 5..10);
    let others = leftovers(open_loose(&one).1);
    let (file, found) = open_loose(&two);
    file.forget(&others);
    assert_eq!(file.figures().in_use, 5);
    file.forget(&leftovers(found));
    assert_eq!(file.figures().in_use, 0);
}

#[test]
fn distrust_without_a_folder_forgets_the_leftovers() {
    let memory = loose();
    count(&open_loose(&memory).0, 0..20);
    let (file, found) = open_loose(&memory);
    let held = file.record(&slot(50), END, booked(&slot(50))).unwrap();
    held.release();
    file.distrust(SetAsideReason::BehindDatabase).unwrap();
    assert_eq!((file.open_count(), file.figures().in_use), (3, 0));
    file.forget(&leftovers(found));
    let truth = count(&file, 100..200);
    held.overrun(1);
    drop(held);
    let more = count(&file, 200..300);
    drop(file);
    assert_eq!(told(&leftovers(open_loose(&memory).1)), [truth, more].concat());
}

#[test]
fn one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let in_use = || match LedgerFile::lock(folder.path()) {
        Err(error @ FileError::InUse(_)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let locked = lock(folder.path());
    let expected = "another plangate process is using this folder; give each node its own data_dir";
    assert_eq!(in_use(), format!("{}: {expected}", folder.path().display()));
    let (file, _) = locked.open(&identity(), 0).unwrap();
    in_use();
    let record = file.record(&slot(1), END, booked(&slot(1))).unwrap();
    drop(file);
    in_use();
    drop(record);
    lock(folder.path());
}

#[test]
fn only_a_regular_file_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let ledger = folder.join("ledger");
        (folder, ledger)
    };
    let refused = |folder: &Path| {
        let error = LedgerFile::lock(folder).unwrap_err();
        assert!(matches!(error, FileError::NotAFile(_)), "{error:?}");
    };
    let (directory, ledger) = place("directory");
    fs::create_dir(ledger).unwrap();
    refused(&directory);
    let (device, ledger) = place("device");
    std::os::unix::fs::symlink("/dev/zero", ledger).unwrap();
    refused(&device);
    let (link, ledger) = place("link");
    fs::write(link.join("file"), "mine").unwrap();
    std::os::unix::fs::symlink("file", ledger).unwrap();
    refused(&link);
    assert_eq!(fs::read(link.join("file")).unwrap(), b"mine");
    let (pipe, ledger) = place("pipe");
    rustix::fs::mknodat(CWD, &ledger, FileType::Fifo, Mode::RWXU, 0).unwrap();
    refused(&pipe);
    let (socket, ledger) = place("socket");
    let _listener = std::os::unix::net::UnixListener::bind(ledger).unwrap();
    refused(&socket);
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    // The second can be made by nobody, whatever their rights.
    for path in [folder.path().join("file"), folder.path().join("file/below"), "/proc/self".into()] {
        let error = LedgerFile::lock(&path).unwrap_err();
        assert!(matches!(error, FileError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
        assert!(error.to_string().contains(": cannot be used: "), "{error}");
    }
}

#[test]
fn names_that_do_not_fit_are_refused_and_the_longest_fit() {
    let folder = tempfile::tempdir().unwrap();
    let long = |node: usize, database: usize| Identity {
        node: "n".repeat(node),
        database: "d".repeat(database),
        ..identity()
    };
    for bad in [long(256, 1), long(1, 129)] {
        let error = lock(folder.path()).open(&bad, 0).unwrap_err();
        assert!(matches!(error, FileError::NameTooLong { .. }), "{error:?}");
    }
    let truth = {
        let (file, found) = lock(folder.path()).open(&long(255, 128), 0).unwrap();
        assert_eq!(found, Found::New);
        count(&file, 0..2)
    };
    assert_eq!(told(&leftovers(lock(folder.path()).open(&long(255, 128), 0).unwrap().1)), truth);
}

#[test]
fn the_longest_ids_and_the_most_units_come_back() {
    let memory = loose();
    let (file, _) = open_loose(&memory);
    let bucket = BucketKey {
        tenant: TenantId::parse(&"t".repeat(63)).unwrap(),
        meter: MeterId::parse(&"m".repeat(63)).unwrap(),
        span: Span::Grant,
        start: UnixMillis(i64::MIN),
        epoch: Version(u64::MAX),
    };
    let key = SlotKey { bucket, incarnation: Incarnation(Uuid::max()), seq: u64::MAX };
    let record = file.record(&key, UnixMillis(i64::MAX), booked(&key)).unwrap();
    record.overrun(u64::MAX);
    record.refund(u64::MAX);
    record.seal();
    let totals = record.totals();
    drop((record, file));
    let left = leftovers(open_loose(&memory).1);
    assert_eq!((&left[0].slot, left[0].end, left[0].totals), (&key, UnixMillis(i64::MAX), totals));
}

#[test]
fn memory_alone_is_a_file_too() {
    fn is_shareable<T: Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    let file = LedgerFile::anonymous();
    let truth = count(&file, 0..5000);
    assert_eq!(truth.len(), 5000);
    assert_eq!((file.figures().in_use, file.figures().capacity, file.figures().bytes), (5000, 8192, 2 << 20));
    let record = file.record(&slot(1), END, booked(&slot(1))).unwrap();
    is_shareable(&file);
    is_shareable(&record);
    assert!(format!("{record:?}").len() < 300);
    record.release();
    assert_eq!(file.open_count(), 0);
    file.close_clean().unwrap();
    assert!(matches!(file.record(&slot(2), END, booked(&slot(2))), Err(FileError::Closed)));
}

#[test]
fn this_machine_has_a_boot_id() {
    assert!(boot_id().is_some());
    assert_eq!(boot_id(), boot_id());
}

#[derive(Debug, Clone)]
enum Step {
    Record,
    Spend(usize, u64),
    Refund(usize, u64),
    Seal(usize),
    Release(usize),
    Reopen { forget: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Record),
        6 => (any::<usize>(), 0..1000_u64).prop_map(|(at, units)| Step::Spend(at, units)),
        2 => (any::<usize>(), 0..1000_u64).prop_map(|(at, units)| Step::Refund(at, units)),
        1 => any::<usize>().prop_map(Step::Seal),
        2 => any::<usize>().prop_map(Step::Release),
        1 => (0..5_usize).prop_map(|forget| Step::Reopen { forget }),
    ]
}

proptest! {
    #[test]
    fn anything_is_opened_as_nothing(bytes in prop::collection::vec(any::<u8>(), 1..20_000), magic: bool) {
        let memory = loose();
        memory.write_all_at(&bytes, 0).unwrap();
        if magic {
            memory.write_all_at(b"plgledgr\x01\0\0\0", 0).unwrap();
        }
        let (file, found) = open_loose(&memory);
        prop_assert!(matches!(found, Found::SetAside { .. }), "{:?}", found);
        prop_assert_eq!(file.figures().in_use, 0);
        let truth = count(&file, 0..40);
        drop(file);
        prop_assert_eq!(told(&leftovers(open_loose(&memory).1)), truth);
    }

    #[test]
    fn flips_anywhere_never_make_less_of_what_was_counted(
        flips in prop::collection::vec((0..3 * PAGE, 0..8_u8), 1..4),
    ) {
        let memory = loose();
        let truth = count(&open_loose(&memory).0, 0..20);
        let mut bytes = image(&memory);
        for (at, bit) in &flips {
            bytes[*at] ^= 1 << bit;
        }
        restore(&memory, &bytes);
        match open_loose(&memory).1 {
            Found::SetAside { .. } => {}
            // In what is free nothing is kept.
            found => prop_assert_eq!(told(&leftovers(found)), truth),
        }
    }

    #[test]
    fn the_file_remembers_what_a_model_does(steps in prop::collection::vec(step(), 1..120)) {
        let memory = loose();
        let (mut file, _) = open_loose(&memory);
        let mut held: Vec<(u64, Record)> = Vec::new();
        let mut lost: Vec<(SlotKey, Totals)> = Vec::new();
        let mut model = std::collections::BTreeMap::<u64, Totals>::new();
        let mut seq = 0;
        for step in steps {
            let of = |at: usize| at.checked_rem(held.len());
            match step {
                Step::Record => {
                    held.push((seq, file.record(&slot(seq), END, booked(&slot(seq))).unwrap()));
                    model.insert(seq, Totals { used: 0, refunded: 0, sealed: false });
                    seq += 1;
                }
                Step::Spend(at, units) => if let Some((seq, word)) = of(at).map(|at| &held[at]) {
                    let totals = model.get_mut(seq).unwrap();
                    word.spend(units, false);
                    totals.used += if totals.sealed { 0 } else { units };
                },
                Step::Refund(at, units) => if let Some((seq, word)) = of(at).map(|at| &held[at]) {
                    let totals = model.get_mut(seq).unwrap();
                    let units = units.min(totals.net());
                    word.refund(units);
                    totals.refunded += units;
                },
                Step::Seal(at) => if let Some((seq, word)) = of(at).map(|at| &held[at]) {
                    word.seal();
                    model.get_mut(seq).unwrap().sealed = true;
                },
                Step::Release(at) => if let Some(at) = of(at) {
                    let (seq, word) = held.swap_remove(at);
                    word.release();
                    model.remove(&seq);
                },
                Step::Reopen { forget } => {
                    lost.extend(held.drain(..).map(|(seq, word)| (slot(seq), word.totals())));
                    lost.sort_by_key(|(slot, _)| slot.seq);
                    drop(file);
                    let (next, found) = open_loose(&memory);
                    let mut left = leftovers(found);
                    left.sort_by_key(|left| left.slot.seq);
                    prop_assert_eq!(told(&left), lost.clone());
                    let forget = forget.min(left.len());
                    next.forget(&left[..forget]);
                    for (slot, _) in lost.drain(..forget) {
                        model.remove(&slot.seq);
                    }
                    file = next;
                }
            }
            for (seq, word) in &held {
                prop_assert_eq!(word.check(), Some(model[seq]));
            }
            for (slot, totals) in &lost {
                prop_assert_eq!(*totals, model[&slot.seq]);
            }
            prop_assert_eq!(file.figures().in_use, model.len());
        }
    }
}
