//! Requests that don't come: headers without a message, or a part of one.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use meshwork_api::meshwork::orders::v1::GetOrderRequest;
use meshwork_api::meshwork::products::v1::GetProductRequest;
use tokio::task::JoinSet;

use super::wire::{Started, Wire, answer, framed, head_of, send_all};
use super::world::{Account, Scene, an_order_of, method, sign_in};

/// How long a stream that was ended rests before it is opened again.
const REST: Duration = Duration::from_millis(400);
/// The size that gRPC allows for a message unless told otherwise.
const LARGEST: usize = 4 << 20;

/// How much of a request comes.
#[derive(Clone, Copy, Debug)]
enum Sent {
    /// No byte of the body.
    Nothing,
    /// The five bytes in front of a message.
    Prefix,
    /// Those, and half of the message.
    Half,
    /// The message, but not the end of the stream.
    NoEnd,
    /// One byte each 100 ms.
    Drip,
    /// A message of 4 MiB but for its last byte.
    AlmostAll,
}

/// A stream that is opened again as often as the shop ends it.
#[derive(Clone)]
struct Slot {
    path: &'static str,
    token: Option<String>,
    timeout: Option<&'static str>,
    message: Bytes,
    sent: Sent,
}

/// The calls that need no account.
fn of_nobody(scene: &Scene, sent: Sent) -> [Slot; 2] {
    let name = scene.world.products[0].clone();
    let product = framed(&GetProductRequest { name });
    let slot = |path, message| Slot { path, token: None, timeout: None, message, sent };
    [slot(method::GET_PRODUCT, product), slot(method::SIGN_IN, framed(&sign_in("nobody@example.com")))]
}

/// The calls of a customer.
fn of_customer(scene: &Scene, account: &Account, sent: Sent) -> [Slot; 2] {
    let order = framed(&GetOrderRequest { name: account.order.clone(), ..GetOrderRequest::default() });
    let create = framed(&an_order_of(&scene.world.products[0]));
    let token = Some(account.token.clone());
    let slot = |path, message| Slot { path, token: token.clone(), timeout: None, message, sent };
    [slot(method::GET_ORDER, order), slot(method::CREATE_ORDER, create)]
}

/// 200 streams without a body on one connection, by nobody; and by three more addresses, so that rate limits by address
/// aren't all that holds.
pub(crate) async fn no_body_by_nobody(scene: Scene) {
    let slots = of_nobody(&scene, Sent::Nothing);
    hold(&scene, 4, &slots, 200).await;
}

/// The same by one account, to orders.
pub(crate) async fn no_body_by_an_account(scene: Scene) {
    let account = scene.world.account();
    let slots = of_customer(&scene, &account, Sent::Nothing);
    hold(&scene, 1, &slots, 200).await;
}

/// Messages that stop after their prefix, in their middle, or whole without the end of the stream.
pub(crate) async fn no_end(scene: Scene) {
    let account = scene.world.account();
    let slots: Vec<_> = [Sent::Prefix, Sent::Half, Sent::NoEnd]
        .into_iter()
        .flat_map(|sent| of_nobody(&scene, sent).into_iter().chain(of_customer(&scene, &account, sent)))
        .collect();
    hold(&scene, 3, &slots, 120).await;
}

/// One byte each 100 ms: something comes all the time, and never enough.
pub(crate) async fn drip(scene: Scene) {
    let account = scene.world.account();
    let slots: Vec<_> =
        of_nobody(&scene, Sent::Drip).into_iter().chain(of_customer(&scene, &account, Sent::Drip)).collect();
    hold(&scene, 3, &slots, 120).await;
}

/// Messages announced as 4 MiB, of which one byte doesn't come: 100 of them are 400 MiB to somebody who keeps them.
pub(crate) async fn almost_all(scene: Scene) {
    let name = "x".repeat(LARGEST - 5);
    let message = framed(&GetProductRequest { name });
    let slot = Slot { path: method::GET_PRODUCT, token: None, timeout: None, message, sent: Sent::AlmostAll };
    hold(&scene, 2, &[slot], 50).await;
}

/// Bodies that don't come within the caller's own deadline of a second.
pub(crate) async fn deadlines(scene: Scene) {
    let account = scene.world.account();
    let slots: Vec<_> = of_nobody(&scene, Sent::Nothing)
        .into_iter()
        .chain(of_customer(&scene, &account, Sent::Half))
        .map(|slot| Slot { timeout: Some("1S"), ..slot })
        .collect();
    hold(&scene, 3, &slots, 120).await;
}

/// Holds `count` streams from each of some addresses, which take turns with `slots`.
async fn hold(scene: &Scene, addresses: usize, slots: &[Slot], count: usize) {
    let mut connections = JoinSet::new();
    for _ in 0..addresses {
        let (scene, slots, from) = (scene.clone(), slots.to_vec(), scene.world.address());
        connections.spawn(async move { hold_from(&scene, from, &slots, count).await });
    }
    while connections.join_next().await.is_some() {}
}

async fn hold_from(scene: &Scene, from: Ipv4Addr, slots: &[Slot], count: usize) {
    while scene.lasts() {
        let Some(wire) = scene.wire(from).await else { continue };
        let mut streams = JoinSet::new();
        for slot in slots.iter().cycle().take(count) {
            streams.spawn(again_and_again(scene.clone(), wire.clone(), slot.clone()));
        }
        // All end with the connection, or with the attack.
        while streams.join_next().await.is_some() {}
    }
}

async fn again_and_again(scene: Scene, wire: Wire, slot: Slot) {
    while scene.lasts() && !wire.is_over() {
        let outcome = scene.within(once(&wire, &slot)).await;
        match outcome {
            Some(outcome) => scene.tally.answer(&outcome),
            None => scene.tally.note("held"),
        }
        scene.within(tokio::time::sleep(REST)).await;
    }
}

async fn once(wire: &Wire, slot: &Slot) -> Result<super::wire::Answer, h2::Error> {
    let head = head_of(slot.path, slot.token.as_deref(), slot.timeout);
    let Started { answer: response, mut body } = wire.start(head, false).await?;
    let message = &slot.message;
    let sending = async {
        match slot.sent {
            Sent::Nothing => Ok(()),
            Sent::Prefix => send_all(&mut body, message.slice(..5), false).await,
            Sent::Half => send_all(&mut body, message.slice(..5 + (message.len() - 5) / 2), false).await,
            Sent::NoEnd => send_all(&mut body, message.clone(), false).await,
            Sent::AlmostAll => send_all(&mut body, message.slice(..message.len() - 1), false).await,
            Sent::Drip => {
                for at in 0..message.len() - 1 {
                    send_all(&mut body, message.slice(at..=at), false).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }
        }
    };
    // The stream stays open for the answer, whether all was sent or not.
    let keep = async {
        if sending.await.is_err() {
            return;
        }
        std::future::pending::<()>().await;
    };
    let reading = answer(response);
    tokio::pin!(reading);
    tokio::select! {
        outcome = &mut reading => return outcome,
        () = keep => {}
    }
    reading.await
}
