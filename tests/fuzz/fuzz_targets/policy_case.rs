//! Any bytes as a file of cases: no panic, and a report that is bounded and the same in every form.

#![no_main]

#[path = "../input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| input::case(bytes));
