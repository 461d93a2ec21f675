//! The chart and the manifests of Kubernetes, judged as text; that they work on a cluster is tested on one.
//!
//! * what is rendered: [`golden`] for people, [`schemas`] for Kubernetes, [`refused`] for values that make no sense;
//! * what is written about it: [`values`], the schema and the README, by [`comments`];
//! * what pods may do: [`restricted`], [`edges`] by [`policies`], [`peers`], [`rights`], [`privacy`];
//! * how they run: [`workloads`], [`upgrades`], [`connections`] of PostgreSQL, and [`settings`], held against the binary;
//! * the chart without Helm: [`manifests`], and [`made`] secrets.
//!
//! Rules are tested against planted breaks beside them, so that a green run means that they looked.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod chart;
mod comments;
mod connections;
mod edges;
mod golden;
mod made;
mod manifests;
mod objects;
mod peers;
mod policies;
mod policies_tests;
mod privacy;
mod programs;
mod refused;
mod restricted;
mod rights;
mod schemas;
mod settings;
mod upgrades;
mod values;
mod workloads;
mod workloads_tests;
