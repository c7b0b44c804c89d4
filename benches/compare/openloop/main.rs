//! Sends requests at random instants of a fixed mean rate and takes each one's time from the instant it was due.
//!
//! An open loop: who sends the next request only after the last answer (a closed loop) does not see the requests that a
//! slow gateway kept from being sent. Arrivals are a Poisson process, cut into one for each connection; a connection whose
//! last answer is late sends as soon as it can, and that wait counts. The same seed gives the same arrivals.
//!
//! Usage: `openloop ADDRESS REQUESTS RATE SECONDS WARMUP CONNECTIONS STATUS SEED`; REQUESTS is a file of whole requests, each
//! ended by a zero byte, taken in turn. Prints one line of JSON, times in microseconds. Requests of the first WARMUP seconds
//! are sent, too, but not counted. Standard library only: built by `rustc -O`.

use std::fmt::Display;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What one run is made of.
struct Plan {
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    rate: f64,
    seconds: f64,
    warmup: f64,
    connections: usize,
    status: u16,
    seed: u64,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    micros: Vec<f64>,
    failed: u64,
}

fn main() -> ExitCode {
    match plan().map(run) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(2)
        }
    }
}

fn plan() -> std::result::Result<Plan, String> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [address, file, rate, seconds, warmup, connections, status, seed] = given.as_slice() else {
        return Err("usage: openloop ADDRESS REQUESTS RATE SECONDS WARMUP CONNECTIONS STATUS SEED".to_owned());
    };
    let bytes = std::fs::read(file).map_err(|error| format!("`{file}`: {error}"))?;
    let requests: Vec<Vec<u8>> =
        bytes.split(|byte| *byte == 0).filter(|one| !one.is_empty()).map(<[u8]>::to_vec).collect();
    let plan = Plan {
        address: parsed(address)?,
        requests,
        rate: parsed(rate)?,
        seconds: parsed(seconds)?,
        warmup: parsed(warmup)?,
        connections: parsed(connections)?,
        status: parsed(status)?,
        seed: parsed(seed)?,
    };
    if plan.requests.is_empty() || plan.connections == 0 || plan.rate <= 0.0 {
        return Err("no requests, no connections or no rate".to_owned());
    }
    Ok(plan)
}

fn parsed<T: FromStr>(text: &str) -> std::result::Result<T, String>
where
    T::Err: Display,
{
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

fn run(plan: Plan) -> String {
    let plan = Arc::new(plan);
    // Every connection is open before the first request is due.
    let start = Instant::now() + Duration::from_millis(300);
    let threads: Vec<_> = (0..plan.connections)
        .map(|index| {
            let plan = Arc::clone(&plan);
            thread::Builder::new().stack_size(64 * 1024).spawn(move || connection(&plan, index, start))
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        match thread.map(|thread| thread.join()) {
            Ok(Ok(seen)) => {
                all.micros.extend(seen.micros);
                all.failed += seen.failed;
            }
            _ => all.failed += 1,
        }
    }
    all.micros.sort_by(f64::total_cmp);
    format!(
        "{{\"requests\":{},\"failed\":{},\"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"max\":{:.1}}}",
        all.micros.len(),
        all.failed,
        quantile(&all.micros, 0.5),
        quantile(&all.micros, 0.9),
        quantile(&all.micros, 0.99),
        quantile(&all.micros, 0.999),
        quantile(&all.micros, 1.0),
    )
}

/// The smallest value that `part` of all values do not exceed.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn connection(plan: &Plan, index: usize, start: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut random = Random::new(plan.seed.wrapping_mul(1_000_003).wrapping_add(index as u64));
    let mean = plan.connections as f64 / plan.rate;
    let mut due = random.exponential() * mean;
    let Ok(mut stream) = open(plan.address) else {
        seen.failed += 1;
        return seen;
    };
    let mut buffer = vec![0; 16 * 1024];
    let mut turn = index;
    while due < plan.warmup + plan.seconds {
        let at = start + Duration::from_secs_f64(due);
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let request = &plan.requests[turn % plan.requests.len()];
        turn += plan.connections;
        match stream.write_all(request).and_then(|()| answer(&mut stream, &mut buffer)) {
            Ok(status) if status == plan.status => {
                if due >= plan.warmup {
                    seen.micros.push(at.elapsed().as_secs_f64() * 1e6);
                }
            }
            Ok(_) => seen.failed += 1,
            Err(_) => {
                seen.failed += 1;
                match open(plan.address) {
                    Ok(again) => stream = again,
                    Err(_) => return seen,
                }
            }
        }
        due += random.exponential() * mean;
    }
    seen
}

fn open(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// Reads one answer with a length to its end and returns its status.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<u16> {
    let malformed = || Error::from(ErrorKind::InvalidData);
    let mut held = 0;
    let head = loop {
        let read =
            stream.read(buffer.get_mut(held..).filter(|rest| !rest.is_empty()).ok_or_else(malformed)?)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        held += read;
        if let Some(end) = buffer[..held].windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = std::str::from_utf8(&buffer[..head]).map_err(|_| malformed())?;
    let status = text.get(9..12).and_then(|digits| digits.parse().ok()).ok_or_else(malformed)?;
    let length: usize = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(malformed)?;
    let mut left = (head + length).checked_sub(held).ok_or_else(malformed)?;
    while left > 0 {
        let space = left.min(buffer.len());
        let read = stream.read(&mut buffer[..space])?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        left -= read;
    }
    Ok(status)
}

/// SplitMix64: small, and good enough for arrival times.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// Exponentially distributed with mean one.
    fn exponential(&mut self) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        -(1.0 - unit).ln()
    }
}
