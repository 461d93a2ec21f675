//! Request bodies that are kept to be sent again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use smallvec::SmallVec;
use tonic::Status;

use super::Buffers;

/// A request body that several attempts read, each from its start.
///
/// The attempt that is ahead pulls from the source. What it pulls is kept until the call is committed to one attempt: by
/// [`Self::commit`], or because the next frame does not fit. That frame is never kept: it goes to the attempt that asked for
/// it, which has read all the others and so has sent the most. When the attempt of a committed call has read what was kept, the
/// source is handed over to it: from then on nothing is shared, and nothing locked.
#[derive(Debug)]
pub(super) struct ReplayBuffer(Arc<ReplayShared>);

/// One attempt's view of a request body that is kept to be sent again.
#[derive(Debug)]
pub struct ReplayBody {
    shared: Arc<ReplayShared>,
    id: usize,
    /// Handed over: the call is committed to this attempt, and nothing is kept any more.
    source: Option<Source>,
}

#[derive(Debug)]
struct ReplayShared {
    state: Mutex<ReplayState>,
    /// Apart from the state, because the source keeps it as its waker and the state keeps the source.
    signal: Arc<Signal>,
    /// The signal, as the source takes it.
    waker: Waker,
}

#[derive(Debug)]
struct ReplayState {
    buffers: Arc<Buffers>,
    /// What is kept; before it, `passed` frames were let go, all of them read by the attempt that the call is committed to.
    frames: VecDeque<BufferedFrame>,
    passed: usize,
    held: usize,
    /// Pulled from the source before any attempt asked, and too large to be kept.
    overflow: VecDeque<BufferedFrame>,
    source: Source,
    committed: Option<usize>,
    /// How many frames each attempt has read; none when it is gone.
    read: SmallVec<[Option<usize>; 2]>,
    driver: Option<Waker>,
}

#[derive(Debug)]
enum Source {
    Live(tonic::body::Body),
    Ended,
    Failed(Status),
    /// Taken out to be polled; to be found only when that panicked, which must not look like an end.
    Panicked,
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match std::mem::replace(self, Self::Panicked) {
            Self::Live(mut body) => {
                let polled = Pin::new(&mut body).poll_frame(cx);
                *self = match &polled {
                    Poll::Pending | Poll::Ready(Some(Ok(_))) => Self::Live(body),
                    Poll::Ready(Some(Err(status))) => Self::Failed(status.clone()),
                    Poll::Ready(None) => Self::Ended,
                };
                polled
            }
            Self::Ended => {
                *self = Self::Ended;
                Poll::Ready(None)
            }
            Self::Failed(status) => {
                *self = Self::Failed(status.clone());
                Poll::Ready(Some(Err(status)))
            }
            Self::Panicked => Poll::Ready(Some(Err(Status::internal("the request's body panicked")))),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum BufferedFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl BufferedFrame {
    pub(super) fn new(frame: Frame<Bytes>) -> Self {
        match frame.into_data() {
            Ok(data) => Self::Data(data),
            Err(frame) => Self::Trailers(frame.into_trailers().unwrap_or_default()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(trailers) => trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl ReplayBuffer {
    /// Keeps what was read of `source` already, and what comes.
    pub(super) fn new(
        buffers: Arc<Buffers>,
        first: SmallVec<[BufferedFrame; 2]>,
        source: Option<tonic::body::Body>,
        failed: Option<Status>,
    ) -> Self {
        let source = match (source, failed) {
            (_, Some(status)) => Source::Failed(status),
            (Some(source), None) => Source::Live(source),
            (None, None) => Source::Ended,
        };
        let mut state = ReplayState {
            buffers,
            frames: VecDeque::new(),
            passed: 0,
            held: 0,
            overflow: VecDeque::new(),
            source,
            committed: None,
            read: SmallVec::new(),
            driver: None,
        };
        for frame in first {
            if let Err(frame) = state.keep(frame) {
                state.overflow.push_back(frame);
            }
        }
        let signal = Arc::<Signal>::default();
        let waker = Waker::from(Arc::clone(&signal));
        Self(Arc::new(ReplayShared { state: Mutex::new(state), signal, waker }))
    }

    /// Another attempt's view, and its number.
    pub(super) fn reader(&self) -> (usize, ReplayBody) {
        let mut state = self.0.lock();
        let id = state.read.len();
        state.read.push(Some(0));
        (id, ReplayBody { shared: self.0.clone(), id, source: None })
    }

    /// Waits until the call is committed to an attempt.
    pub(super) fn poll_committed(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.0.lock();
        if let Some(id) = state.committed {
            return Poll::Ready(id);
        }
        if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The data that is kept, in one piece.
    pub(super) fn buffered(&self) -> Vec<u8> {
        let state = self.0.lock();
        let data = state.frames.iter().filter_map(|frame| match frame {
            BufferedFrame::Data(data) => Some(&data[..]),
            BufferedFrame::Trailers(_) => None,
        });
        data.collect::<Vec<_>>().concat()
    }

    /// Whether no further attempt can be made from it.
    pub(super) fn is_spent(&self) -> bool {
        let state = self.0.lock();
        state.committed.is_some() || matches!(state.source, Source::Failed(_) | Source::Panicked)
    }

    /// The attempt is over and reads no more, though whoever sends it may not know that yet. Whether the call is committed to
    /// it: then no other can be answered.
    pub(super) fn retire(&self, id: usize) -> bool {
        let mut state = self.0.lock();
        if state.committed == Some(id) {
            return true;
        }
        if let Some(read) = state.read.get_mut(id) {
            *read = None;
        }
        false
    }

    /// Commits the call to an attempt, unless it is committed to another: the others get nothing any more. Whether it is
    /// committed to this one.
    pub(super) fn commit(&self, id: usize) -> bool {
        let mut state = self.0.lock();
        if state.committed.is_none() {
            state.commit(id);
        }
        state.committed == Some(id)
    }
}

impl ReplayShared {
    fn lock(&self) -> MutexGuard<'_, ReplayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReplayState {
    /// Keeps a frame, or gives it back when it does not fit.
    fn keep(&mut self, frame: BufferedFrame) -> Result<(), BufferedFrame> {
        if !self.overflow.is_empty() || !self.buffers.reserve(self.held, frame.len()) {
            return Err(frame);
        }
        self.held += frame.len();
        self.frames.push_back(frame);
        Ok(())
    }

    fn commit(&mut self, id: usize) {
        self.committed = Some(id);
        match self.read.get(id).copied().flatten() {
            Some(read) => while self.passed < read && self.pass().is_some() {},
            None => self.clear(),
        }
    }

    /// Lets go of the oldest frame.
    fn pass(&mut self) -> Option<BufferedFrame> {
        let frame = self.frames.pop_front()?;
        self.passed += 1;
        let len = frame.len();
        self.held -= len;
        self.buffers.release(len);
        Some(frame)
    }

    /// Nobody will read any more.
    fn clear(&mut self) {
        self.frames.clear();
        self.buffers.release(std::mem::take(&mut self.held));
        self.overflow.clear();
        if let Source::Live(_) = self.source {
            self.source = Source::Ended;
        }
    }

    /// The next frame of what is here already.
    fn kept(&mut self, id: usize) -> Option<BufferedFrame> {
        let read = self.read.get(id).copied().flatten()?;
        let frame = if read < self.passed + self.frames.len() {
            if self.committed.is_some() { self.pass() } else { self.frames.get(read - self.passed).cloned() }
        } else {
            let frame = self.overflow.pop_front();
            if frame.is_some() && self.committed.is_none() {
                self.commit(id);
            }
            frame
        };
        if frame.is_some() {
            self.advance(id);
        }
        frame
    }

    /// Whether the attempt with this reader goes on.
    fn is_reading(&self, id: usize) -> bool {
        self.read.get(id).is_some_and(Option::is_some)
    }

    fn advance(&mut self, id: usize) {
        if let Some(Some(read)) = self.read.get_mut(id) {
            *read += 1;
        }
    }

    /// The next frame of the source, for a call that isn't committed.
    fn pull(&mut self, id: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match self.source.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => BufferedFrame::new(frame),
            other => return other,
        };
        if let Err(frame) = self.keep(frame.clone()) {
            self.commit(id);
            // Frames let go count as passed, so that the reader stays at the end.
            self.passed += 1;
            self.advance(id);
            return Poll::Ready(Some(Ok(frame.into_frame())));
        }
        self.advance(id);
        Poll::Ready(Some(Ok(frame.into_frame())))
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { shared, id, source } = &mut *self;
        if let Some(source) = source {
            return source.poll_frame(cx);
        }
        let mut state = shared.lock();
        let free = match state.committed {
            Some(winner) if winner == *id => false,
            None if state.is_reading(*id) => true,
            // Whoever drives the call is about to drop this attempt.
            None | Some(_) => return Poll::Pending,
        };
        let frame = match state.kept(*id) {
            Some(frame) => Some(Ok(frame.into_frame())),
            None if !free => {
                let own = source.insert(std::mem::replace(&mut state.source, Source::Ended));
                drop(state);
                shared.signal.forget(*id);
                return own.poll_frame(cx);
            }
            None => {
                // Before the poll: the source may call at once.
                shared.signal.wait(*id, cx.waker());
                match state.pull(*id, &mut Context::from_waker(&shared.waker)) {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        let driver = if free && state.committed.is_some() { state.driver.take() } else { None };
        let several = state.read.len() > 1;
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        if several {
            // Others may wait for what is here now.
            shared.signal.wake_others(*id);
        }
        Poll::Ready(frame)
    }
}

impl Drop for ReplayBody {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(read) = state.read.get_mut(self.id) {
            *read = None;
        }
        if state.committed == Some(self.id) {
            state.clear();
        }
        drop(state);
        self.shared.signal.forget(self.id);
    }
}

impl Drop for ReplayState {
    fn drop(&mut self) {
        self.buffers.release(self.held);
    }
}

/// Wakes all attempts that wait for the source: any of them may be held up elsewhere and not ask again.
#[derive(Debug, Default)]
struct Signal(Mutex<SmallVec<[(usize, Waker); 2]>>);

impl Signal {
    fn lock(&self) -> MutexGuard<'_, SmallVec<[(usize, Waker); 2]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, id: usize, waker: &Waker) {
        let mut waiting = self.lock();
        match waiting.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => old.clone_from(waker),
            None => waiting.push((id, waker.clone())),
        }
    }

    fn forget(&self, id: usize) {
        self.lock().retain(|(other, _)| *other != id);
    }

    /// Wakes all but one, whose waker stays for its next wait.
    fn wake_others(&self, id: usize) {
        let mut others: SmallVec<[Waker; 2]> = SmallVec::new();
        self.lock().retain(|(other, waker)| {
            if *other != id {
                others.push(waker.clone());
            }
            *other == id
        });
        for waker in others {
            waker.wake();
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.lock());
        for (_, waker) in waiting {
            waker.wake();
        }
    }
}
