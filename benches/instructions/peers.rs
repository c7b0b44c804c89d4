//! The client and the upstream: bytes that are made beforehand, over blocking sockets of a thread that is not counted.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use http::HeaderMap;

use super::{plane::Plane, world::PATH};

/// What a small API answers: 96 bytes of JSON.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nserver: upstream\r\ndate: Mon, 23 Nov 2026 06:00:00 GMT\r\n\
    content-type: application/json\r\ncontent-length: 96\r\n\r\n\
    {\"id\":\"0192f0c1-7f1e-7d3a-9b1e-2f3c4d5e6f70\",\"text\":\"a message of ordinary length\",\"likes\":1234}";

/// One connection on each side. Each request is sent when the last one is answered.
pub struct Peers {
    client: TcpStream,
    listener: TcpListener,
    upstream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Peers {
    pub fn new(plane: &Plane) -> Self {
        let client = TcpStream::connect(plane.address).unwrap();
        client.set_nodelay(true).unwrap();
        let listener = plane.upstream.try_clone().unwrap();
        Self { client, listener, upstream: None, buffer: Vec::new() }
    }

    /// One request that reaches the upstream.
    pub fn forwarded(&mut self, request: &[u8]) {
        self.client.write_all(request).unwrap();
        let upstream = self.upstream.get_or_insert_with(|| self.listener.accept().unwrap().0);
        read(upstream, &mut self.buffer);
        upstream.write_all(ANSWER.as_bytes()).unwrap();
        read(&mut self.client, &mut self.buffer);
        self.expect("HTTP/1.1 200 ");
    }

    /// One request that is refused.
    pub fn refused(&mut self, request: &[u8]) {
        self.client.write_all(request).unwrap();
        read(&mut self.client, &mut self.buffer);
        self.expect("HTTP/1.1 429 ");
    }

    fn expect(&self, begin: &str) {
        assert!(self.buffer.starts_with(begin.as_bytes()), "{}", String::from_utf8_lossy(&self.buffer));
    }
}

/// Reads one message: a head, and as much behind it as the head says.
fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    let mut some = [0; 4096];
    while !is_whole(buffer) {
        let count = stream.read(&mut some).unwrap();
        assert!(count > 0, "closed after `{}`", String::from_utf8_lossy(buffer));
        buffer.extend_from_slice(&some[..count]);
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}

/// A request as it is sent.
pub fn text(headers: &HeaderMap) -> Vec<u8> {
    let mut text = format!("GET {PATH} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        text.extend_from_slice(format!("{name}: ").as_bytes());
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}
