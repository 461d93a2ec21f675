use proptest::prelude::*;

use crate::client::retry::Throttle;
use crate::policy::RetryThrottling;

proptest! {
    /// The model counts in thousandths of a token, exactly, without the limits of the machine's numbers.
    #[test]
    fn a6_the_throttle_is_its_model(max in 1_u32..=1000, ratio in 1_u32..5000, steps in prop::collection::vec(any::<bool>(), 0..300)) {
        let throttle = Throttle::new(RetryThrottling { max_milli_tokens: max * 1000, milli_token_ratio: ratio });
        let most = i64::from(max) * 1000;
        let mut model = most;
        for failed in steps {
            if failed {
                model = (model - 1000).max(0);
                prop_assert_eq!(throttle.failure(), 2 * model > most);
            } else {
                model = (model + i64::from(ratio)).min(most);
                throttle.success();
            }
            prop_assert_eq!(i64::from(throttle.milli_tokens()), model);
            prop_assert_eq!(throttle.allows(), 2 * model > most);
        }
    }
}
