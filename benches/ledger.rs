//! The ledger.
fn main(){}
