use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use proptest::prelude::*;
use smallvec::SmallVec;
use tonic::Status;
use tonic::body::Body;

use crate::client::retry::Buffers;
use crate::client::retry::replay::{ReplayBody, ReplayBuffer};

/// Each chunk comes after so many polls that found nothing.
struct Slow(Vec<(u8, Bytes)>);

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.first_mut() {
            None => Poll::Ready(None),
            Some((0, _)) => Poll::Ready(Some(Ok(Frame::data(self.0.remove(0).1)))),
            Some((wait, _)) => {
                *wait -= 1;
                Poll::Pending
            }
        }
    }
}

fn step(body: &mut ReplayBody, got: &mut Vec<u8>) -> Poll<bool> {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(frame)) => {
            got.extend_from_slice(&frame.unwrap().into_data().unwrap());
            Poll::Ready(false)
        }
        Poll::Ready(None) => Poll::Ready(true),
        Poll::Pending => Poll::Pending,
    }
}

proptest! {
    /// Whatever the order in which attempts come, read and go, whoever may still read sees the source from its start, and
    /// no more is kept than the limit.
    #[test]
    fn a6_every_surviving_attempt_sees_the_bytes_of_the_source(
        chunks in prop::collection::vec((0_u8..3, prop::collection::vec(any::<u8>(), 0..20)), 0..12),
        steps in prop::collection::vec((0_usize..4, 0_u8..10), 0..120),
        limit in 0_usize..120,
    ) {
        let buffers = Arc::new(Buffers::new(limit, 100));
        let whole: Vec<u8> = chunks.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let source = chunks.into_iter().map(|(wait, bytes)| (wait, bytes.into())).collect();
        let source = Body::new(Slow(source));
        let replay = ReplayBuffer::new(buffers.clone(), SmallVec::new(), Some(source), None);
        let mut readers = Vec::new();
        for (which, what) in steps {
            match what {
                0 if readers.len() < 4 => readers.push((replay.reader(), Vec::new(), true)),
                1 if !replay.is_spent() && which < readers.len() => {
                    prop_assert!(replay.commit(readers[which].0.0));
                }
                _ => {}
            }
            if let Some((reader, got, _)) = readers.get_mut(which) {
                let _ = step(&mut reader.1, got);
                prop_assert!(whole.starts_with(got));
            }
            prop_assert!(buffers.used() <= limit.min(100));
        }
        if replay.is_spent() || !readers.is_empty() {
            let winner = replay_winner(&replay);
            for (reader, got, _) in &mut readers {
                if winner.is_some_and(|winner| winner != reader.0) {
                    prop_assert!(step(&mut reader.1, got).is_pending());
                    continue;
                }
                // More than the polls that the source leaves without an answer; a commit on the way ends it for others.
                let ended = (0..100).any(|_| step(&mut reader.1, got) == Poll::Ready(true));
                match replay_winner(&replay) {
                    Some(winner) if winner != reader.0 => prop_assert!(!ended),
                    _ => prop_assert_eq!((ended, &*got), (true, &whole)),
                }
            }
        }
        drop(readers);
        drop(replay);
        prop_assert_eq!(buffers.used(), 0);
    }
}

fn replay_winner(replay: &ReplayBuffer) -> Option<usize> {
    match replay.poll_committed(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(winner) => Some(winner),
        Poll::Pending => None,
    }
}

#[test]
fn a_dropped_replay_drops_its_source() {
    struct Held(#[expect(dead_code, reason = "counted by its references")] Arc<()>);
    impl http_body::Body for Held {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            // Keeps the waker, as a channel does.
            let waker = cx.waker().clone();
            std::mem::forget(waker);
            Poll::Pending
        }
    }
    let held = Arc::new(());
    let source = Body::new(Held(held.clone()));
    let replay = ReplayBuffer::new(Arc::default(), SmallVec::new(), Some(source), None);
    let (_, mut body) = replay.reader();
    assert!(step(&mut body, &mut Vec::new()).is_pending());
    drop(replay);
    assert_eq!(Arc::strong_count(&held), 2);
    drop(body);
    assert_eq!(Arc::strong_count(&held), 1);
}

/// The source calls whoever asked last; when that one goes, or is held up elsewhere, others must still be called.
#[test]
fn an_attempt_that_waits_is_called_when_the_one_that_asked_last_is_gone() {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let frames = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
    let source = Body::new(http_body_util::StreamBody::new(frames));
    let replay = ReplayBuffer::new(Arc::default(), SmallVec::new(), Some(source), None);
    let ((_, mut one), (_, mut two)) = (replay.reader(), replay.reader());
    let mut waiting = tokio_test::task::spawn(());
    assert!(waiting.enter(|cx, _| Pin::new(&mut one).poll_frame(cx)).is_pending());
    assert!(step(&mut two, &mut Vec::new()).is_pending());
    drop(two);
    sender.send(Ok::<_, Status>(Frame::data(Bytes::from_static(b"next")))).unwrap();
    assert!(waiting.is_woken());
}

#[test]
fn after_the_commit_the_source_belongs_to_the_attempt_and_calls_no_other() {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let frames = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
    let source = Body::new(http_body_util::StreamBody::new(frames));
    let buffers = Arc::new(Buffers::default());
    let replay = ReplayBuffer::new(buffers.clone(), SmallVec::new(), Some(source), None);
    let ((winner, mut one), (_, mut two)) = (replay.reader(), replay.reader());
    let (mut first, mut second) = (tokio_test::task::spawn(()), tokio_test::task::spawn(()));
    sender.send(Ok::<_, Status>(Frame::data(Bytes::from_static(b"kept ")))).unwrap();
    let mut got = Vec::new();
    // The other reads it first: what was kept comes before what the source brings.
    assert!(step(&mut two, &mut Vec::new()).is_ready());
    replay.commit(winner);
    assert_eq!(step(&mut one, &mut got), Poll::Ready(false));
    assert!(second.enter(|cx, _| Pin::new(&mut two).poll_frame(cx)).is_pending());
    assert!(first.enter(|cx, _| Pin::new(&mut one).poll_frame(cx)).is_pending());
    sender.send(Ok(Frame::data(Bytes::from_static(b"and more")))).unwrap();
    assert!(first.is_woken() && !second.is_woken());
    assert_eq!(step(&mut one, &mut got), Poll::Ready(false));
    drop(sender);
    assert_eq!(step(&mut one, &mut got), Poll::Ready(true));
    assert_eq!(step(&mut one, &mut got), Poll::Ready(true));
    assert_eq!((got.as_slice(), buffers.used(), replay.is_spent()), (&b"kept and more"[..], 0, true));
}

/// A source that panics must look neither like an end nor like one that takes its time.
#[test]
fn a_source_that_panicked_is_an_error_for_all_attempts() {
    struct Panics;
    impl http_body::Body for Panics {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            panic!("the caller's body")
        }
    }
    let replay = ReplayBuffer::new(Arc::default(), SmallVec::new(), Some(Body::new(Panics)), None);
    let ((_, mut one), (_, mut two)) = (replay.reader(), replay.reader());
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step(&mut one, &mut Vec::new())));
    assert!(polled.is_err() && replay.is_spent());
    match Pin::new(&mut two).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Err(status))) => assert_eq!(status.code(), tonic::Code::Internal),
        other => panic!("{other:?}"),
    }
}

/// Whoever sends an attempt may poll on for a moment after its end, on another thread.
#[test]
fn an_attempt_that_is_over_pulls_nothing_and_commits_the_call_to_nothing() {
    let source = Body::new(Slow(vec![(0, Bytes::from_static(b"more than is kept"))]));
    let replay = ReplayBuffer::new(Arc::new(Buffers::new(4, 4)), SmallVec::new(), Some(source), None);
    let (over, mut one) = replay.reader();
    assert!(!replay.retire(over));
    assert!(step(&mut one, &mut Vec::new()).is_pending());
    assert!(!replay.is_spent(), "another attempt may follow");
    let (next, mut two) = replay.reader();
    let mut got = Vec::new();
    assert_eq!(step(&mut two, &mut got), Poll::Ready(false));
    assert_eq!(step(&mut two, &mut got), Poll::Ready(true));
    assert_eq!(got, b"more than is kept");
    assert!(replay.retire(next), "the call is committed to it");
}

#[test]
fn a_call_is_committed_to_one_attempt_only() {
    let source = Body::new(Slow(vec![(0, Bytes::from_static(b"more than is kept"))]));
    let replay = ReplayBuffer::new(Arc::new(Buffers::new(4, 4)), SmallVec::new(), Some(source), None);
    let ((answered, _one), (ahead, mut two)) = (replay.reader(), replay.reader());
    assert_eq!(step(&mut two, &mut Vec::new()), Poll::Ready(false));
    assert!(!replay.commit(answered), "it could not send the rest");
    assert!(replay.commit(ahead));
}
