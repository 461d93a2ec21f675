//! What lies in the remote tier is judged: whether it may be answered, and if not, why.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::envelope::{Content, Envelope};
use crate::link::are_current;
use crate::local::{Tags, Times};
use crate::observer::Miss;
use crate::position::Wanted;
use crate::remote::{Remote, Stored, Unreachable};
use crate::typed::{Fresh, TypedCache, unix_ms};
use crate::value::{LoadError, Value};

/// Clocks of processes differ: nothing is taken to be fresh for longer than this beyond its time.
const MAX_SKEW: Duration = Duration::from_secs(10);

/// The judgement.
pub(crate) enum Judged<V> {
    /// It may be answered.
    Valid(Fresh<V>),
    /// It may not.
    Miss {
        /// Why.
        why: Miss,
        /// It may stand in while the source of truth fails.
        stale: Option<Fresh<V>>,
    },
    /// It is current, but its position is of another history than the reader's: which of the two is later can't be told.
    Incomparable,
}

impl<V> Judged<V> {
    fn miss(why: Miss) -> Self {
        Self::Miss { why, stale: None }
    }
}

/// What a first look at the remote tier has shown: the judgement, and what lay there.
pub(crate) type Looked<V> = Result<(Judged<V>, Option<Stored>), Unreachable>;

/// Asks the remote tier what lies at a key, and judges it.
pub(crate) async fn look<V: Value, E: LoadError>(
    cache: &TypedCache<V, E>,
    remote: &dyn Remote,
    tags: &Arc<Tags>,
    wanted: Wanted,
    key: &str,
) -> Looked<V> {
    let asked = Instant::now();
    let stored = remote.get(V::KIND, key).await?;
    let judged = judge(cache, remote, tags, wanted, asked, stored.as_ref()).await;
    Ok((judged, stored))
}

/// Judges what the remote tier gave when it was asked at `asked`.
pub(crate) async fn judge<V: Value, E: LoadError>(
    cache: &TypedCache<V, E>,
    remote: &dyn Remote,
    tags: &Arc<Tags>,
    wanted: Wanted,
    asked: Instant,
    stored: Option<&Stored>,
) -> Judged<V> {
    let Some(stored) = stored else { return Judged::miss(Miss::Absent) };
    let envelope = match Envelope::decode(stored, V::SCHEMA) {
        Ok(envelope) => envelope,
        Err(error) => {
            tracing::debug!(kind = V::KIND, %error, "what lies in the shared cache can't be read, and is loaded anew");
            return Judged::miss(Miss::Undecodable);
        }
    };
    let value = match &envelope.content {
        Content::Tombstone => return Judged::miss(Miss::Tombstone),
        Content::Absent => None,
        Content::Value(bytes) => match V::decode(bytes) {
            Some(value) => Some(Arc::new(value)),
            None => return Judged::miss(Miss::Undecodable),
        },
    };
    let now_ms = unix_ms();
    if now_ms >= envelope.hard_ms {
        return Judged::miss(Miss::Expired);
    }
    // Its tags are looked at last: they may cost a question.
    if !envelope.tags.iter().map(|(tag, _)| tag).eq(tags.names()) {
        return Judged::miss(Miss::Invalidated);
    }
    match are_current(remote, tags, &envelope.tags).await {
        Err(_) => return Judged::miss(Miss::Bypassed),
        Ok(false) => return Judged::miss(Miss::Invalidated),
        Ok(true) => {}
    }
    let fresh = Fresh {
        times: times(cache, &envelope, value.is_none(), now_ms, asked),
        value,
        version: envelope.version,
        position: envelope.position,
    };
    if now_ms >= envelope.soft_ms {
        return Judged::Miss { why: Miss::Expired, stale: fresh.value.is_some().then_some(fresh) };
    }
    match (wanted, envelope.position) {
        (Wanted::Recent, _) => Judged::Valid(fresh),
        (Wanted::AtLeast(asked), Some(position)) if position.covers(&asked) => Judged::Valid(fresh),
        (Wanted::AtLeast(asked), Some(position)) if position.history != asked.history => Judged::Incomparable,
        (Wanted::AtLeast(_), _) => Judged::miss(Miss::NotFresh),
    }
}

/// The times of an envelope by this process' clock.
fn times<V: Value, E: LoadError>(
    cache: &TypedCache<V, E>,
    envelope: &Envelope,
    is_negative: bool,
    now_ms: u64,
    asked: Instant,
) -> Times {
    let now = Instant::now();
    let options = &cache.options;
    let ttl = if is_negative { options.negative_ttl } else { options.ttl };
    let in_ms = |at: u64| Duration::from_millis(at.saturating_sub(now_ms));
    let soft = now + in_ms(envelope.soft_ms).min(ttl.mul_f64(1.1) + MAX_SKEW);
    let age = Duration::from_millis(now_ms.saturating_sub(envelope.created_ms));
    Times {
        born: now.checked_sub(age).unwrap_or(now),
        seen: asked,
        soft,
        hard: soft.max(now + in_ms(envelope.hard_ms).min(ttl.mul_f64(1.1) + options.stale + MAX_SKEW)),
        load: Duration::from_micros(envelope.load_us.into()),
    }
}
