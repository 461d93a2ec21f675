//! HTTP/2 by hand, for what no client library sends: frames in a wrong order, on wrong streams, and of wrong lengths.

use std::net::Ipv4Addr;
use std::time::Duration;

use meshwork_api::meshwork::products::v1::GetProductRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::wire::{connect, framed};
use super::world::{Scene, method};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header list, each header as a literal that isn't indexed.
fn header_list(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (name, value) in headers {
        list.push(0);
        for text in [name, value] {
            // Lengths from 127 on take another form, which nobody needs here.
            list.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
            list.extend(text.as_bytes());
        }
    }
    list
}

fn call(path: &str) -> Vec<u8> {
    header_list(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// What is sent on one connection, after the preface and the settings.
fn conversations(scene: &Scene) -> Vec<Vec<u8>> {
    let body = framed(&GetProductRequest { name: scene.world.products[0].clone() });
    let headers = |stream| frame(HEADERS, END_HEADERS, stream, &call(method::GET_PRODUCT));
    let cancel = 8_u32.to_be_bytes();
    let mut reset_and_data = Vec::new();
    let mut data_after_end = Vec::new();
    for stream in (1..40).step_by(2) {
        reset_and_data.extend(headers(stream));
        reset_and_data.extend(frame(RST_STREAM, 0, stream, &cancel));
        reset_and_data.extend(frame(DATA, END_STREAM, stream, &body));
        data_after_end.extend(headers(stream));
        data_after_end.extend(frame(DATA, END_STREAM, stream, &body));
        data_after_end.extend(frame(DATA, END_STREAM, stream, &body));
    }
    let with = |more: &[u8]| [headers(1), more.to_vec()].concat();
    let trailers = header_list(&[("x-more", "1")]);
    let pseudo = header_list(&[(":path", "/again")]);
    let upper = header_list(&[(":method", "POST"), ("X-Upper", "1")]);
    vec![
        reset_and_data,
        data_after_end,
        // Trailers without END_STREAM; with pseudo-headers; data after trailers.
        with(&[frame(DATA, 0, 1, &body), frame(HEADERS, END_HEADERS, 1, &trailers)].concat()),
        with(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &pseudo)),
        with(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers), frame(DATA, END_STREAM, 1, &body)].concat()),
        // A list that isn't HPACK, one without a path, one with capitals, and one that isn't continued but interrupted.
        frame(HEADERS, END_HEADERS, 1, &[0xff; 60]),
        frame(HEADERS, END_HEADERS, 1, &header_list(&[(":method", "POST"), (":scheme", "http")])),
        frame(HEADERS, END_HEADERS, 1, &upper),
        [frame(HEADERS, 0, 1, &call(method::GET_PRODUCT)), frame(DATA, 0, 1, &body)].concat(),
        frame(CONTINUATION, END_HEADERS, 1, &trailers),
        // Wrong streams and wrong lengths; windows of nothing and of too much.
        frame(HEADERS, END_HEADERS, 2, &call(method::GET_PRODUCT)),
        frame(DATA, END_STREAM, 0, &body),
        with(&frame(RST_STREAM, 0, 1, &[0])),
        with(&frame(WINDOW_UPDATE, 0, 1, &0_u32.to_be_bytes())),
        with(&[frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()), frame(PING, 0, 0, &[0; 8])].concat()),
        frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        // A frame that announces 16 MiB and goes no further.
        [vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1], vec![0; 1000]].concat(),
    ]
}

/// DATA after RST_STREAM, and more of what HTTP/2 forbids.
pub(crate) async fn wrong_frames(scene: Scene) {
    let conversations = conversations(&scene);
    let mut callers = JoinSet::new();
    for first in 0..3 {
        let (scene, from, conversations) = (scene.clone(), scene.world.address(), conversations.clone());
        callers.spawn(async move {
            for said in conversations.iter().cycle().skip(first * 5) {
                if !scene.lasts() {
                    return;
                }
                match converse(&scene, from, said).await {
                    Ok(what) => scene.tally.note(what),
                    Err(_) => scene.tally.note("broken"),
                }
            }
        });
    }
    while callers.join_next().await.is_some() {}
}

async fn converse(scene: &Scene, from: Ipv4Addr, said: &[u8]) -> std::io::Result<&'static str> {
    let mut stream: TcpStream = connect(from, scene.world.gateway).await?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), said].concat()).await?;
    let mut answer = vec![0; 16 << 10];
    // Some answers end the connection, others don't.
    let quiet = Duration::from_millis(120);
    while let Ok(read) = tokio::time::timeout(quiet, stream.read(&mut answer)).await {
        if read? == 0 {
            return Ok("closed");
        }
    }
    Ok("kept open")
}
