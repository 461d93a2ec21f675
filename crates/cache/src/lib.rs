//! A typed cache in two tiers.
