use meshwork_api::{OrderName, ProductName, UserName};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use super::*;

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn name() -> OrderName {
    "orders/7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d".parse().unwrap()
}

fn anna() -> UserName {
    "users/anna".parse().unwrap()
}

fn euro(minor: i64) -> Money {
    Money { currency: "EUR".to_owned(), minor }
}

fn line(product: &str, quantity: i64, unit_price: Money) -> Line {
    Line { product: ProductName::new(product).unwrap(), quantity, display_name: product.to_owned(), unit_price }
}

fn create() -> Command {
    Command::Create { customer: anna(), lines: vec![line("tea", 2, euro(420)), line("cup", 1, euro(1200))] }
}

fn reject() -> Command {
    Command::Reject { reason: "too few".to_owned() }
}

fn fail_allocation() -> Command {
    Command::FailAllocation { reason: "gone".to_owned() }
}

fn cancel() -> Command {
    Command::Cancel { reason: "changed my mind".to_owned() }
}

fn ship() -> Command {
    Command::Ship { tracking_number: "TRACK-1".to_owned() }
}

const ASK_AGAIN: Command = Command::AskAgain { at_most: 1 };

/// The order after commands, each of which must make something happen.
fn after(commands: &[Command]) -> Order {
    let mut order = None;
    for (seconds, command) in (0..).zip(commands) {
        let events = decide(order.as_ref(), command).unwrap();
        assert!(!events.is_empty(), "{command:?} made nothing happen");
        for event in &events {
            order = evolve(order, &name(), event, START + Duration::seconds(seconds));
        }
    }
    order.unwrap()
}

/// Every state that an order can be in, with what the rules tell apart inside a state.
fn every_order() -> Vec<(&'static str, Order)> {
    use Command::{Confirm, Deliver, RecordAllocation};
    vec![
        ("pending", after(&[create()])),
        ("asked", after(&[create(), ASK_AGAIN])),
        ("confirmed", after(&[create(), Confirm])),
        ("confirmed after a request", after(&[create(), ASK_AGAIN, Confirm])),
        ("confirmed and asked", after(&[create(), Confirm, ASK_AGAIN])),
        ("allocated", after(&[create(), Confirm, RecordAllocation])),
        ("rejected", after(&[create(), reject()])),
        ("cancelled", after(&[create(), cancel()])),
        ("shipped", after(&[create(), Confirm, RecordAllocation, ship()])),
        ("delivered", after(&[create(), Confirm, RecordAllocation, ship(), Deliver])),
    ]
}

/// What a command comes to.
#[derive(Debug, PartialEq)]
enum Outcome {
    Happens(OrderEvent),
    Nothing,
    Refused(OrderError),
}

fn outcome(order: &Order, command: &Command) -> Outcome {
    match decide(Some(order), command) {
        Ok(events) => match <[OrderEvent; 1]>::try_from(events) {
            Ok([event]) => Outcome::Happens(event),
            Err(events) => {
                assert_eq!(events, []);
                Outcome::Nothing
            }
        },
        Err(error) => Outcome::Refused(error),
    }
}

/// The table of events.md §4.1: every command in every state.
#[test]
fn every_command_in_every_state_comes_to_what_the_table_says() {
    use Outcome::{Happens, Nothing, Refused};
    for (state, order) in every_order() {
        let refused = |action| Refused(OrderError::State { state: order.state, action });
        let cancelled = |reason: &str| Happens(OrderEvent::Cancelled { reason: reason.to_owned() });
        let rejected = |reason: &str| Happens(OrderEvent::Rejected { reason: reason.to_owned() });
        let expected = [
            (create(), Refused(OrderError::Exists)),
            (
                Command::Confirm,
                match state {
                    "pending" | "asked" => Happens(OrderEvent::Confirmed),
                    _ => Nothing,
                },
            ),
            (
                reject(),
                match state {
                    "pending" | "asked" => rejected("too few"),
                    _ => Nothing,
                },
            ),
            (
                Command::RecordAllocation,
                match state {
                    state if state.starts_with("confirmed") => Happens(OrderEvent::Allocated),
                    _ => Nothing,
                },
            ),
            (
                fail_allocation(),
                match state {
                    state if state == "allocated" || state.starts_with("confirmed") => cancelled("gone"),
                    _ => Nothing,
                },
            ),
            (
                ASK_AGAIN,
                match state {
                    "pending" => Happens(OrderEvent::ReservationRequested { attempt: 1, confirmed: false }),
                    "asked" => rejected("the inventory did not answer in time"),
                    // As often as before it was confirmed, whether or not that was needed.
                    "confirmed" | "confirmed after a request" => {
                        Happens(OrderEvent::ReservationRequested { attempt: 2, confirmed: true })
                    }
                    "confirmed and asked" => cancelled("the inventory did not allocate the order's pieces in time"),
                    _ => Nothing,
                },
            ),
            (
                cancel(),
                match state {
                    "cancelled" => Nothing,
                    "shipped" | "delivered" | "rejected" => refused("cancelled"),
                    _ => cancelled("changed my mind"),
                },
            ),
            (
                ship(),
                match state {
                    state if state.starts_with("confirmed") => Refused(OrderError::NotAllocated),
                    "allocated" => Happens(OrderEvent::Shipped { tracking_number: "TRACK-1".to_owned() }),
                    "shipped" | "delivered" => Nothing,
                    _ => refused("shipped"),
                },
            ),
            (
                Command::Ship { tracking_number: "OTHER".to_owned() },
                match state {
                    state if state.starts_with("confirmed") => Refused(OrderError::NotAllocated),
                    "allocated" => Happens(OrderEvent::Shipped { tracking_number: "OTHER".to_owned() }),
                    _ => refused("shipped"),
                },
            ),
            (
                Command::Deliver,
                match state {
                    "shipped" => Happens(OrderEvent::Delivered),
                    "delivered" => Nothing,
                    _ => refused("delivered"),
                },
            ),
        ];
        for (command, expected) in expected {
            assert_eq!(outcome(&order, &command), expected, "{command:?}, {state}");
        }
    }
}

#[test]
fn an_order_that_does_not_exist_can_only_be_placed() {
    assert!(decide(None, &create()).is_ok());
    let others = [
        Command::Confirm,
        reject(),
        Command::RecordAllocation,
        fail_allocation(),
        ASK_AGAIN,
        cancel(),
        ship(),
        Command::Deliver,
    ];
    for command in others {
        assert_eq!(decide(None, &command), Err(OrderError::Missing), "{command:?}");
    }
}

#[test]
fn an_order_tells_what_happened_to_it() {
    let order = after(&[create(), Command::Confirm, Command::RecordAllocation, ship(), Command::Deliver]);
    assert_eq!((order.name, order.customer, order.total), (name(), anna(), euro(2040)));
    assert_eq!((order.state, order.version, order.tracking_number.as_str()), (State::Delivered, 5, "TRACK-1"));
    let at = |seconds| START + Duration::seconds(seconds);
    assert_eq!((order.created_at, order.allocated_at, order.updated_at), (at(0), Some(at(2)), at(4)));
    assert_eq!(after(&[create(), reject()]).state_reason, "too few");
    assert_eq!(after(&[create(), cancel()]).state_reason, "changed my mind");
    assert_eq!(after(&[create(), ASK_AGAIN]).reservation_requests, 1);
}

#[test]
fn an_order_has_all_its_requests_in_each_state_and_no_number_twice() {
    const ASK: Command = Command::AskAgain { at_most: 3 };
    /// The numbers of the requests until the order ends, and its end.
    fn asked(mut order: Order) -> (Vec<u32>, Order) {
        let mut numbers = Vec::new();
        while order.is_waiting() {
            let [event] = <[OrderEvent; 1]>::try_from(decide(Some(&order), &ASK).unwrap()).unwrap();
            if let OrderEvent::ReservationRequested { attempt, confirmed } = &event {
                assert_eq!((*attempt, *confirmed), (order.next_request(3), order.state == State::Confirmed));
                numbers.push(*attempt);
            }
            order = evolve(Some(order), &name(), &event, START).unwrap();
        }
        (numbers, order)
    }
    let (numbers, end) = asked(after(&[create()]));
    assert_eq!((numbers, end.state), (vec![1, 2, 3], State::Rejected));
    for before in 0..=3 {
        let commands = [vec![create()], vec![ASK; before], vec![Command::Confirm]].concat();
        let (numbers, end) = asked(after(&commands));
        assert_eq!((numbers, end.state), (vec![4, 5, 6], State::Cancelled), "{before} before it was confirmed");
        assert_eq!(end.state_reason, "the inventory did not allocate the order's pieces in time");
    }
}

#[test]
fn a_history_that_does_not_begin_with_the_creation_makes_no_order() {
    assert_eq!(fold(&name(), [(&OrderEvent::Confirmed, START), (&OrderEvent::Allocated, START)]), None);
    assert_eq!(fold(&name(), []), None);
}

#[test]
fn an_order_without_lines_or_in_two_currencies_or_too_dear_is_refused() {
    let yen = Money { currency: "JPY".to_owned(), minor: 500 };
    let place = |lines| decide(None, &Command::Create { customer: anna(), lines });
    assert_eq!(place(vec![]), Err(OrderError::Total));
    let mixed = vec![line("tea", 1, euro(1)), line("cup", 1, euro(1)), line("rice", 1, yen)];
    assert_eq!(place(mixed), Err(OrderError::Currencies { line: 2 }));
    assert_eq!(place(vec![line("tea", 2, euro(i64::MAX / 2 + 1))]), Err(OrderError::Total));
    let dear = || line("tea", 1, euro(i64::MAX));
    assert!(place(vec![dear()]).is_ok());
    assert_eq!(place(vec![dear(), line("cup", 1, euro(1))]), Err(OrderError::Total));
}

#[test]
fn d12_a_total_is_agreed_on_in_amount_and_currency() {
    let lines = [line("tea", 2, euro(420)), line("cup", 1, euro(1200))];
    assert_eq!(agree(&lines, &euro(2040)), Ok(()));
    let other_currency = Money { currency: "USD".to_owned(), minor: 2040 };
    for seen in [euro(2039), euro(0), euro(i64::MAX), other_currency] {
        assert_eq!(agree(&lines, &seen), Err(OrderError::TotalChanged { total: euro(2040) }), "{seen:?}");
    }
    // What can't be ordered at all is refused as ever.
    assert_eq!(agree(&[], &euro(0)), Err(OrderError::Total));
}

#[test]
fn only_what_can_change_no_more_is_final() {
    for (state, order) in every_order() {
        let moves = [Command::Confirm, Command::RecordAllocation, cancel(), ship(), Command::Deliver];
        let moves = moves.iter().any(|command| matches!(outcome(&order, command), Outcome::Happens(_)));
        assert_eq!(order.state.is_final(), !moves, "{state}");
    }
}

fn any_line() -> impl Strategy<Value = Line> {
    const HUGE: i64 = 1 << 50;
    let quantity = prop_oneof![4 => 1..=1_000_000_i64, 1 => Just(HUGE)];
    let price = prop_oneof![4 => 0..=100_000_000_i64, 1 => Just(HUGE)];
    ("[a-z]{1,8}", quantity, price, prop_oneof![9 => Just("EUR"), 1 => Just("JPY")]).prop_map(
        |(product, quantity, minor, currency)| line(&product, quantity, Money { currency: currency.to_owned(), minor }),
    )
}

fn any_command() -> impl Strategy<Value = Command> {
    let text = "[a-z]{0,5}";
    prop_oneof![
        prop::collection::vec(any_line(), 0..4).prop_map(|lines| Command::Create { customer: anna(), lines }),
        Just(Command::Confirm),
        text.prop_map(|reason| Command::Reject { reason }),
        Just(Command::RecordAllocation),
        text.prop_map(|reason| Command::FailAllocation { reason }),
        (0..4_u32).prop_map(|at_most| Command::AskAgain { at_most }),
        text.prop_map(|reason| Command::Cancel { reason }),
        "[a-b]".prop_map(|tracking_number| Command::Ship { tracking_number }),
        Just(Command::Deliver),
    ]
}

/// A history made of commands that come in any order, some of them refused, and the order step by step.
fn history(commands: &[Command]) -> (Vec<(OrderEvent, OffsetDateTime)>, Vec<Order>) {
    let (mut events, mut orders) = (Vec::new(), Vec::<Order>::new());
    for (seconds, command) in (0..).zip(commands) {
        let at = START + Duration::seconds(seconds);
        for event in decide(orders.last(), command).unwrap_or_default() {
            orders.extend(evolve(orders.last().cloned(), &name(), &event, at));
            events.push((event, at));
        }
    }
    (events, orders)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn versions_are_contiguous_and_the_fold_of_a_history_is_the_order(
        commands in prop::collection::vec(any_command(), 0..30),
    ) {
        let (events, orders) = history(&commands);
        let versions: Vec<_> = orders.iter().map(|order| order.version).collect();
        prop_assert_eq!(versions, (1..).take(events.len()).collect::<Vec<i64>>());
        for (length, order) in (1..).zip(&orders) {
            let folded = fold(&name(), events[..length].iter().map(|(event, at)| (event, *at)));
            prop_assert_eq!(folded.as_ref(), Some(order));
        }
    }

    #[test]
    fn a_final_order_never_changes(
        before in prop::collection::vec(any_command(), 0..30),
        command in any_command(),
    ) {
        let (_, orders) = history(&before);
        if let Some(order) = orders.last().filter(|order| order.state.is_final()) {
            prop_assert_eq!(decide(Some(order), &command).unwrap_or_default(), []);
        }
    }

    #[test]
    fn silence_ends_every_order_that_waits(
        before in prop::collection::vec(any_command(), 1..30),
        at_most in 0..5_u32,
    ) {
        let (_, orders) = history(&before);
        let Some(mut order) = orders.last().cloned() else { return Ok(()) };
        for _ in 0..=at_most {
            for event in decide(Some(&order), &Command::AskAgain { at_most }).unwrap() {
                order = evolve(Some(order), &name(), &event, START).unwrap();
            }
        }
        prop_assert!(!order.is_waiting(), "{order:?}");
        // What needs nobody's answer is left alone.
        prop_assert_eq!(decide(Some(&order), &Command::AskAgain { at_most }), Ok(Vec::new()));
    }

    #[test]
    fn states_only_go_forward(commands in prop::collection::vec(any_command(), 0..30)) {
        let (_, orders) = history(&commands);
        for pair in orders.windows(2) {
            let moved = match pair[0].state {
                State::Pending => pair[1].state != State::Shipped && pair[1].state != State::Delivered,
                State::Confirmed => matches!(pair[1].state, State::Confirmed | State::Shipped | State::Cancelled),
                State::Shipped => pair[1].state == State::Delivered,
                State::Rejected | State::Delivered | State::Cancelled => false,
            };
            prop_assert!(moved, "{:?} to {:?}", pair[0].state, pair[1].state);
            let shipped = matches!(pair[1].state, State::Shipped | State::Delivered);
            prop_assert!(!shipped || pair[1].allocated_at.is_some(), "shipped before its pieces were allocated");
        }
    }

    #[test]
    fn a_command_on_its_own_result_makes_nothing_happen(
        before in prop::collection::vec(any_command(), 1..30),
        command in any_command(),
    ) {
        let (_, orders) = history(&before);
        let Some(order) = orders.last() else { return Ok(()) };
        let Ok(events) = decide(Some(order), &command) else { return Ok(()) };
        let result = events.iter().try_fold(order.clone(), |order, event| evolve(Some(order), &name(), event, START));
        // Asking again counts: it is the one command that is meant each time.
        if !matches!(command, Command::AskAgain { .. }) {
            prop_assert_eq!(decide(result.as_ref(), &command), Ok(Vec::new()));
        }
    }

    #[test]
    fn a_total_is_the_sum_over_the_lines_or_there_is_no_order(lines in prop::collection::vec(any_line(), 0..5)) {
        let exact: i128 = lines.iter().map(|line| i128::from(line.quantity) * i128::from(line.unit_price.minor)).sum();
        let currency = lines.first().map(|line| line.unit_price.currency.clone());
        let stray = lines.iter().position(|line| Some(&line.unit_price.currency) != currency.as_ref());
        let decided = decide(None, &Command::Create { customer: anna(), lines: lines.clone() });
        match (currency, stray, i64::try_from(exact)) {
            (Some(_), Some(line), _) => prop_assert_eq!(decided, Err(OrderError::Currencies { line })),
            (Some(currency), None, Ok(minor)) => {
                let total = Money { currency, minor };
                prop_assert_eq!(decided, Ok(vec![OrderEvent::Created { customer: anna(), lines, total }]));
            }
            _ => prop_assert_eq!(decided, Err(OrderError::Total)),
        }
    }
}
