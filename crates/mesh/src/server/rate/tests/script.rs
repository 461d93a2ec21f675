//! The script on a real Redis, by a clock of the test's.

use std::fmt::Write as _;

use meshwork_testkit::Redis;

use super::model::Model;
use super::{OPERATIONS, another_time, rates, some_debt, some_tokens};
use crate::random::Random;
use crate::server::rate::redis::SCRIPT;

/// So many operations are one call: a script may run for seconds at most.
const BATCH: usize = 4000;

/// The script as it is shipped, but for its clock and for the expiry, which is written down instead: the keys of a test
/// whose clock jumps would expire by the clock that doesn't. It runs a batch of operations, each given as its count of keys,
/// its time, and the number and the arguments of each key; it answers in one piece of text, with a line for each.
fn batched() -> String {
    let replaced = |text: String, from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from} stands in the script once");
        text.replace(from, to)
    };
    let body = replaced(SCRIPT.to_owned(), "local time = redis.call('TIME')\n", "");
    let body = replaced(body, "redis.call('PEXPIRE', key, ", "redis.call('HSET', key, 'x', ");
    format!(
        "local function decide(KEYS, ARGV, time)\n{body}\nend
        local words, out = string.gmatch(ARGV[1], '%S+'), {{}}
        for n in words do
          local time, keys, args = {{ words(), words() }}, {{}}, {{}}
          for i = 1, tonumber(n) do
            keys[i] = words()
            for j = 1, 5 do args[#args + 1] = words() end
          end
          local reply = decide(keys, args, time)
          for i = 1, #reply do reply[i] = string.format('%.0f', reply[i]) end
          reply[#reply + 1] = redis.call('HGET', keys[1], 'x') or '0'
          out[#out + 1] = table.concat(reply, ' ')
        end
        return table.concat(out, '\\n')"
    )
}

#[test]
fn rl_1_a_million_operations_of_the_script_agree_with_the_model() {
    let redis = Redis::private(&[]);
    let mut connection = redis.connection();
    let script = batched();
    let random = Random::seeded(2);
    let rates = rates();
    let mut models: Vec<(Model, u128)> = rates.iter().map(|rate| (Model::new(rate), 0)).collect();
    let mut now = 1_700_000_000_000_000;
    // All of them take half a minute: `cargo xtask test --full`.
    let operations = if std::env::var_os("MESHWORK_TEST_FULL").is_some() { OPERATIONS } else { OPERATIONS / 10 };
    for batch in 0..operations / BATCH {
        let (mut operations, mut expected) = (String::new(), String::new());
        for _ in 0..BATCH {
            let first = random.below(rates.len());
            now = another_time(&random, &rates[first], now);
            let count = [1, 1, 1, 2, 3][random.below(5)];
            write!(operations, "{count} {} {} ", now / 1_000_000, now % 1_000_000).unwrap();
            let asked: [_; 3] = std::array::from_fn(|step| {
                let place = (first + step) % rates.len();
                let rate = &rates[place];
                let (at, tokens) = (now / rate.unit(), some_tokens(&random, rate).min(rate.burst()));
                let (model, debt) = (&models[place].0, some_debt(&random, rate));
                (place, (tokens, debt), at, model.ask(tokens, debt, at), model.ask(0, debt, at))
            });
            let asked = &asked[..count];
            let allowed = asked.iter().all(|(.., (reply, _), _)| reply.allowed);
            write!(expected, "{} ", u8::from(allowed)).unwrap();
            for (place, (tokens, debt), at, (reply, taken), (untouched, full)) in asked {
                let rate = &rates[*place];
                let (capacity, count, cost, unit) = (rate.capacity(), rate.count(), rate.cost(*tokens), rate.unit());
                write!(operations, "{place} {capacity} {count} {cost} {unit} {debt} ").unwrap();
                let left = if allowed { *taken } else { *full };
                let (model, expiry) = &mut models[*place];
                let reset = model.wait_for_full(left.0, left.1, *at);
                write!(expected, "{} {reset} {} ", reply.retry_after, left.0).unwrap();
                let written = (allowed && *tokens > 0) || untouched.changed;
                model.keep(left, written, false);
                if left.0 == u128::from(capacity) {
                    *expiry = 0;
                } else if written {
                    *expiry = (reset * u128::from(unit)).div_ceil(1000) + 1000;
                }
            }
            writeln!(expected, "{}", models[first].1).unwrap();
        }
        let reply = connection.command(&["EVAL", &script, "0", &operations]);
        let differs = reply.lines().zip(expected.lines()).enumerate().find(|(_, (got, expected))| got != expected);
        assert_eq!(differs, None, "batch {batch}: operation, (script, model)");
        assert_eq!(reply.lines().count(), BATCH);
    }
}
