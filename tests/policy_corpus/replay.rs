//! What the fuzz targets run, over the corpus of broken folders, their own seeds, and a few thousand cheap mutations.

use std::{fs, path::Path};

use crate::{corpus, entry::parse, input, root};

/// A small generator of numbers: the same each time, so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound.max(1)
    }
}

/// What has a meaning in YAML, or in policy files.
const PIECES: [&[u8]; 48] = [
    b"\n",
    b" ",
    b"  ",
    b"\t",
    b"\r\n",
    b":",
    b": ",
    b",",
    b"[",
    b"]",
    b"{",
    b"}",
    b"{}",
    b"[]",
    b"\"",
    b"'",
    b"#",
    b"&a ",
    b"*a",
    b"!!str ",
    b"<<: ",
    b"|\n",
    b">\n",
    b"? ",
    b"- ",
    b"---\n",
    b"...\n",
    b"%YAML 1.2\n",
    b"~",
    b"null",
    b"true",
    b"0",
    b"-1",
    b"9007199254740992",
    b"1e99",
    b"unlimited",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\\",
    b"/",
    b"//",
    b"{*rest}",
    b"%2f",
    b"GET /",
    b"extends: free\n",
    b"\n# file: plans/x.yaml\n",
];

fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        let to = (at + numbers.below(12)).min(bytes.len());
        match numbers.below(5) {
            0 => drop(bytes.drain(at..to)),
            1 => {
                let part = bytes[at..to].to_vec();
                let place = numbers.below(bytes.len() + 1);
                bytes.splice(place..place, part);
            }
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
            _ => drop(bytes.splice(at..at, PIECES[numbers.below(PIECES.len())].iter().copied())),
        }
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = root().join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds for {target}");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Seeds that are worth more than a look: what is large takes its time, and little is learnt from its mutations.
const MOST_MUTATED: usize = 4_000;

fn replay(seeds: &[Vec<u8>], times: usize, target: fn(&[u8])) {
    seeds.iter().for_each(|seed| target(seed));
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let small: Vec<_> = seeds.iter().filter(|seed| seed.len() < MOST_MUTATED).collect();
    for _ in 0..times {
        let mut bytes = small[numbers.below(small.len())].clone();
        mutate(&mut bytes, &mut numbers);
        target(&bytes);
    }
}

#[test]
fn folders_and_their_mutations_are_reported_on() {
    let mut all = seeds("policy_folder");
    for path in corpus() {
        let entry = parse(&fs::read_to_string(path).unwrap());
        let texts: Vec<String> =
            entry.texts().map(|(name, text)| format!("# file: {name}\n{text}\n")).collect();
        all.push(texts.concat().into_bytes());
    }
    replay(&all, 2_000, input::folder);
}

#[test]
fn cases_and_their_mutations_are_decided() {
    let mut all = seeds("policy_case");
    for path in corpus().iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("cases"))) {
        let entry = parse(&fs::read_to_string(path).unwrap());
        all.extend(
            entry.texts().filter(|(name, _)| name.starts_with("cases/")).map(|(_, text)| text.into_bytes()),
        );
    }
    for entry in fs::read_dir(root().join("policies/cases")).unwrap() {
        all.push(fs::read(entry.unwrap().path()).unwrap());
    }
    replay(&all, 1_500, input::case);
    assert!(Path::new(&root().join("tests/fuzz/README.md")).is_file());
}
